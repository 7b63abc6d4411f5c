"""Is it the partners who cannot be reached, or is it us? A pure decision, one for all lanes of a process.

One partner, or two, that do not connect are themselves at fault. Where three or more stop connecting at once, and
nobody connects since, the fault is taken for ours, until one connects. That holds for three partners on one host that
is down, too: from here that looks just like a network of ours that is down.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agents.faults import Fault
from agents.webhooks import Answer

log = logging.getLogger(__name__)

#: Partners that stop connecting together before the fault is ours.
ENOUGH = 3
#: Seconds within which their first failures lie, to be "at once": an idle partner notices late.
AT_ONCE = 600.0
#: Seconds after which an attempt is forgotten: longer than the longest wait between two of them.
MEMORY = 2 * 3600.0

_NOT_CONNECTED = frozenset({Fault.DNS, Fault.CONNECT, Fault.TLS, Fault.TIMEOUT, Fault.BROKEN})


@dataclass(slots=True)
class _Seen:
    """What a partner's attempts said. Times are seconds of a clock that never goes back."""

    at: float
    #: When it first failed to connect since it last did, and how often anybody had connected by then; None if it
    #: connected.
    down: tuple[float, int] | None = None
    #: Why its last attempt failed by a fault that is ours for certain, in words.
    own: str | None = None


@dataclass(slots=True)
class Connectivity:
    """Is told how each attempt at any partner ended, and says whose fault a failure was.

    >>> connectivity = Connectivity()
    >>> ours = connectivity.ended("acme", answer, loop.time())
    >>> if ours is not None:
    ...     ...  # wait, and try again; no failure of acme's, and nothing for the log
    """

    memory: float = MEMORY
    _seen: dict[str, _Seen] = field(default_factory=dict)
    #: How often anybody has connected. It orders what happened at one time.
    _connections: int = 0

    def ended(self, partner: str, answer: Answer, now: float) -> str | None:
        """Why the failure of this attempt is ours, in words; None if the partner was reached, or is at fault."""
        seen = self._seen.setdefault(partner, _Seen(now))
        if now - seen.at > self.memory:
            seen.down = None
        seen.at, seen.own = now, answer.attempt.ours
        if seen.own is not None:
            return seen.own  # it never came to the partner, and says nothing of it
        connected = _connected(answer)
        if connected:
            seen.down = None
            self._connections += 1
        if connected is not False:
            return None
        seen.down = seen.down or (now, self._connections)
        return self._common(seen, now)

    def forget(self, partner: str) -> None:
        """It is removed, or has another URL."""
        self._seen.pop(partner, None)

    def troubles(self, now: float) -> tuple[str, ...]:
        """What is wrong on our side as of now, in words, for people who look after this host. Empty if all is well."""
        certain = Counter(seen.own for seen in self._seen.values() if seen.own is not None and self._recent(seen, now))
        words = [f"{reason}: what {_partners(count)} to get waits" for reason, count in sorted(certain.items())]
        together = self._together(now)
        return (*words, *([_common(len(together))] if together else []))

    def _common(self, seen: _Seen, now: float) -> str | None:
        together = self._together(now)
        return _common(len(together)) if any(seen is each for each in together) else None

    def _together(self, now: float) -> list[_Seen]:
        """Those who cannot be connected to by our fault. Who was down before them is so by its own fault."""
        down = sorted(self._down(now), key=_since)
        for at, (first, last) in enumerate(zip(down, down[ENOUGH - 1 :], strict=False)):
            if _since(last) - _since(first) <= AT_ONCE:
                return down[at:]
        return []

    def _down(self, now: float) -> list[_Seen]:
        """Those since whose first failure nobody has connected: while another one does, the network is well."""
        return [
            seen
            for seen in self._seen.values()
            if seen.down is not None and seen.down[1] == self._connections and self._recent(seen, now)
        ]

    def _recent(self, seen: _Seen, now: float) -> bool:
        return now - seen.at <= self.memory


async def report(
    connectivity: Connectivity, *, every: float = 60.0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Log what is wrong on our side, for ever: once in so many seconds as long as it is, and when it is over."""
    was = False
    while True:
        troubles = connectivity.troubles(asyncio.get_running_loop().time())
        for trouble in troubles:
            log.error("%s; no partner is charged with it", trouble)
        if was and not troubles:
            log.warning("nothing on this host is in the way of webhooks any more")
        was = bool(troubles)
        await sleep(every if was else 1.0)


def _partners(count: int) -> str:
    return "1 partner is" if count == 1 else f"{count} partners are"


def _since(seen: _Seen) -> float:
    return float("inf") if seen.down is None else seen.down[0]


def _common(count: int) -> str:
    return f"none of the {count} partners that were tried can be connected to, so it is taken for this host's fault"


def _connected(answer: Answer) -> bool | None:
    """None if the attempt says nothing of the network: what fails on a connection that was there before may have
    failed here or there, and what was refused before it was dialled never left."""
    if answer.attempt.status is not None or answer.dialled:
        return True
    return False if answer.address is None and answer.attempt.fault in _NOT_CONNECTED else None
