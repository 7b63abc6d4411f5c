"""How much of a process's memory the replies of partners may take: one budget for all of its lanes.

Before its request goes out, an attempt reserves as much as the longest reply to it may take. So a reply that has
begun is read to its end, whatever other partners reply meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType

from streams.events import EVIDENCE_CAP

#: Bytes of an item of a reply beside its evidence, and of a reply beside its items: of one item, escapes such as
#: `\u00fc` may triple all there is.
_ITEM, _BASE = 2 * 1024, 64 * 1024
#: Bytes for all lanes of a process.
BUDGET = 256 * 1024 * 1024
#: One partner holds at most one part of the budget, of this many.
_PARTS = 4
#: Bytes of the budget that are for small replies alone, and bytes of the largest small reply: so four partners whose
#: replies are large and slow cannot hold up a fifth one whose replies are small.
SPARE, SMALL = 16 * 1024 * 1024, 1024 * 1024


def reply_cap(notices: int) -> int:
    """How many bytes, unpacked, are read of a reply to a request with this number of notices."""
    return _BASE + notices * (EVIDENCE_CAP + _ITEM)


class Reservation:
    """Bytes of a budget, asked for or held until `end`. Leaving its `with` block ends it, too."""

    def __init__(self, budget: ReplyBudget, partner: str, size: int) -> None:
        self.partner = partner
        self.size = size
        self.granted = asyncio.Event()
        self._budget = budget

    def end(self) -> None:
        """Give the bytes back, or stop waiting for them. The second call changes nothing."""
        self._budget.end(self)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class ReplyBudget:
    """Grants reservations in the order in which they came. A partner that holds its whole share holds up nobody else. A
    reservation that does not fit holds up those after it, so that it does not starve; the spare for small replies is
    still granted.

    >>> budget = ReplyBudget()
    >>> with budget.ask("acme", reply_cap(5)) as reservation:
    ...     await reservation.granted.wait()
    ...     ...  # send the request, and read the reply
    """

    def __init__(self, size: int = BUDGET, spare: int = SPARE, small: int = SMALL) -> None:
        #: Bytes that nobody holds.
        self.left = size
        self._spare = spare
        self._small = small
        self._share = size // _PARTS
        self._held: Counter[str] = Counter()
        #: By small replies.
        self._held_by_small = 0
        #: In the order in which they came.
        self._waiting: dict[Reservation, None] = {}

    def ask(self, partner: str, size: int) -> Reservation:
        """A reservation of `size` bytes, at most of a partner's share. It is granted at once, or later."""
        reservation = Reservation(self, partner, min(size, self._share))
        self._waiting[reservation] = None
        self._grant()
        return reservation

    def end(self, reservation: Reservation) -> None:
        """See `Reservation.end`."""
        if reservation.granted.is_set():
            reservation.granted.clear()
            self._hold(reservation, -reservation.size)
        else:
            self._waiting.pop(reservation, None)
        self._grant()

    def _grant(self) -> None:
        #: Partners with a reservation that waits: their later ones wait behind it.
        late: set[str] = set()
        blocked = False
        for each in list(self._waiting):
            if each.partner in late:
                continue
            late.add(each.partner)
            if self._held[each.partner] + each.size > self._share:
                continue
            if self._fits(each, blocked):
                late.remove(each.partner)
                del self._waiting[each]
                self._hold(each, each.size)
                each.granted.set()
            elif each.size <= self._small:
                return
            else:
                blocked = True

    def _fits(self, reservation: Reservation, blocked: bool) -> bool:
        """`blocked` tells whether an earlier one does not fit."""
        size, small = reservation.size, reservation.size <= self._small
        if blocked:
            return small and size <= min(self.left, self._spare - self._held_by_small)
        spared = 0 if small else max(0, self._spare - self._held_by_small)
        return size <= self.left - spared

    def _hold(self, reservation: Reservation, size: int) -> None:
        self.left -= size
        self._held[reservation.partner] += size
        if not self._held[reservation.partner]:
            del self._held[reservation.partner]
        if reservation.size <= self._small:
            self._held_by_small += size
