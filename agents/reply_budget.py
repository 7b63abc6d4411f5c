"""What the replies of partners may take of a process's memory: one budget for all of its lanes.

An attempt reserves, before its request goes out, what the longest reply to it may take. So a reply that has begun is
read to its end, whoever else replies meanwhile.
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
#: One partner holds at most one part in so many of it.
_PARTS = 4
#: Of the budget so much is for small replies alone, and up to how many bytes a reply is small: four partners whose
#: replies are large and slow hold up no fifth one whose replies are not.
SPARE, SMALL = 16 * 1024 * 1024, 1024 * 1024


def reply_cap(notices: int) -> int:
    """How many bytes of a reply to a request of so many notices are read, unpacked."""
    return _BASE + notices * (EVIDENCE_CAP + _ITEM)


class Reservation:
    """Some bytes of a budget, asked for or held, until `end`, which is also what leaving its `with` block does."""

    def __init__(self, budget: ReplyBudget, partner: str, size: int) -> None:
        self.partner = partner
        self.size = size
        self.granted = asyncio.Event()
        self._budget = budget

    def end(self) -> None:
        """Give it back, or ask for it no more. To do so twice changes nothing."""
        self._budget.end(self)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class ReplyBudget:
    """First come, first served. A partner that holds its share of it waits for itself alone. What does not fit into the
    rest holds up those who came later, so that it does not starve; but what is spared for small replies goes on.

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
        """A reservation of so many bytes, or of a whole share if that is less. It is granted at once, or later."""
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
        #: Partners one of whose reservations waits: what they ask for later waits behind it.
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
        """`blocked` tells whether one that came before does not."""
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
