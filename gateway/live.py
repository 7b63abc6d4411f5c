"""The overview as it changes: looked at once for all who watch, and only while somebody does.

Each look is compared with the one before; a row that changed is rendered once, and gets the look's number. So whoever
watches is sent the rows whose number is higher than the last that it has seen, and a listener more costs no question
to the ledger, and no rendering.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson

from gateway.drawing import course, share
from gateway.pages import rendered
from ledger import Board, LagState, LedgerReader, PartnerLag
from streams.clock import Clock
from streams.errors import StorageUnusable

#: Hours of the line of what was open.
HOURS = 24
#: Seconds after which something is said even if nothing changed: so that whoever has gone is noticed.
_QUIET = 15.0
#: Looks take no more than a tenth of the time, however many partners there are, and however busy the machine.
_PATIENCE = 10
_SEVERITY = {LagState.STOP: 0, LagState.STALL: 1, LagState.WARN: 2, LagState.OK: 3}


@dataclass(frozen=True, slots=True)
class Piece:
    """Something rendered; `known` is what it was rendered from, and `look` the number of the look that it is of."""

    look: int
    known: Any
    html: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The overview at one look. `epoch` tells the looks of one gateway from those of another."""

    epoch: str
    look: int
    rows: Mapping[str, Piece]
    order: Piece
    summary: Piece
    _encoded: dict[int, bytes] = field(default_factory=dict, compare=False)

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.look}"

    def since(self, look: int) -> bytes:
        """The event that brings a page of that look up to date; encoded once for all who need the same."""
        if look not in self._encoded:
            rows = {partner: row.html for partner, row in self.rows.items() if row.look > look}
            news: dict[str, Any] = {"rows": rows}
            if self.order.look > look:
                news["order"] = self.order.known
            if self.summary.look > look:
                news["summary"] = self.summary.html
            self._encoded[look] = b"id: %s\ndata: %s\n\n" % (self.cursor.encode(), orjson.dumps(news))
        return self._encoded[look]


class Live:
    """`every` is in seconds: how old what is shown may be, where looks are quick."""

    def __init__(self, ledger: LedgerReader, clock: Clock, every: float = 2.0) -> None:
        self._ledger = ledger
        self._clock = clock
        self._epoch = uuid4().hex[:8]
        self._seen: Seen | None = None
        self._turn = asyncio.Lock()
        self._shared: asyncio.Task[Seen] | None = None
        self._until, self._took = 0.0, 0.0
        self.every = every
        #: How often the ledger was asked, and how many listen now.
        self.looks = self.listeners = 0

    async def fresh(self) -> Seen:
        """As of now: for whoever loads the page."""
        # Whoever goes away meanwhile must not let the next one in beside the thread.
        return await asyncio.shield(asyncio.create_task(self._in_turn()))

    async def shared(self) -> Seen:
        """As of a moment ago, the same for all who ask at about the same time."""
        now = asyncio.get_running_loop().time()
        if self._shared is None or (self._shared.done() and now >= self._until):
            self._until = now + max(self.every, _PATIENCE * self._took)
            self._shared = asyncio.create_task(self.fresh())
        # Whoever goes away takes nothing from the others.
        return await asyncio.shield(self._shared)

    async def events(
        self, cursor: str, still: Callable[[], Awaitable[bool]], stopping: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events from a cursor on, until the session is over or the service stops."""
        self.listeners += 1
        try:
            async with aclosing(self._events(cursor, still, stopping)) as inner:
                async for event in inner:
                    yield event
        finally:
            self.listeners -= 1

    # -- inside

    async def _events(
        self, cursor: str, still: Callable[[], Awaitable[bool]], stopping: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        epoch, _, look = cursor.rpartition("-")
        last = int(look) if epoch == self._epoch and look.isdecimal() else -1
        said = checked = loop.time()
        yield b"retry: 2000\n\n"
        while not stopping.is_set():
            try:
                if loop.time() - checked >= _QUIET:
                    if not await still():
                        yield b"event: over\ndata: -\n\n"
                        return
                    checked = loop.time()
                seen = await self.shared()
            except StorageUnusable as error:
                yield b"event: trouble\ndata: %s\n\n" % orjson.dumps(str(error))
                said = loop.time()
            else:
                if seen.look > last:
                    yield seen.since(last)
                    last, said = seen.look, loop.time()
            if loop.time() - said >= _QUIET:
                yield b": still here\n\n"
                said = loop.time()
            await _either(stopping, self.every)

    async def _in_turn(self) -> Seen:
        async with self._turn:
            began = asyncio.get_running_loop().time()
            seen = await asyncio.to_thread(self._look)
            self._took = asyncio.get_running_loop().time() - began
            return seen

    def _look(self) -> Seen:
        # By one thread at a time.
        self.looks += 1
        now = self._clock()
        board = self._ledger.board(now, HOURS)
        before, look = self._seen, self.looks
        known = before.rows if before is not None else {}
        rows = {row.partner: _row(known.get(row.partner), look, board, row, now) for row in by_need(board.rows)}
        summary = _summary(None if before is None else before.summary, look, board)
        names = list(rows)
        order = before.order if before is not None and before.order.known == names else Piece(look, names, "")
        changed = look in {piece.look for piece in (*rows.values(), order, summary)}
        if before is None or changed:
            self._seen = Seen(self._epoch, look, rows, order, summary)
        else:
            # Nothing is new, so who has seen the look before has seen this one.
            self._seen = before
        return self._seen


def by_need(rows: list[PartnerLag]) -> list[PartnerLag]:
    """Who needs attention first, first."""

    def need(row: PartnerLag) -> tuple[int, float, str]:
        since = row.oldest_open_at.timestamp() if row.oldest_open_at is not None else float("inf")
        return _SEVERITY[row.state], since, row.partner

    return sorted(rows, key=need)


def _row(before: Piece | None, look: int, board: Board, row: PartnerLag, now: datetime) -> Piece:
    oldest, opened = board.oldest.get(row.partner), board.opened[row.partner]
    used = 0.0
    if oldest is not None:
        used = share((now - oldest.issued_at).total_seconds(), (oldest.due_at - oldest.issued_at).total_seconds())
    # Ages grow by themselves, on the page too. How full a bar is, is told by the fiftieth.
    known = (replace(row, oldest_open_seconds=None, kinds=()), oldest, opened, round(used / 2))
    if before is not None and before.known == known:
        return before
    html = rendered(
        "row.html", row=row, oldest=oldest, opened=opened, used=used, course=course(opened, 96, 24), now=now
    )
    return Piece(look, known, html)


def _summary(before: Piece | None, look: int, board: Board) -> Piece:
    states = Counter(row.state for row in board.rows)
    counted = {state: states[state] for state in sorted(LagState, key=_SEVERITY.__getitem__)}
    overdue, at_risk = (sum(getattr(row, name) for row in board.rows) for name in ("overdue", "at_risk"))
    known = (board.totals, overdue, counted, at_risk)
    if before is not None and before.known == known:
        return before
    return Piece(
        look, known, rendered("summary.html", totals=board.totals, overdue=overdue, at_risk=at_risk, states=counted)
    )


async def _either(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
