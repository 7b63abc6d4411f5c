"""`/dashboard/partners/{partner}`: one partner from near."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from gateway.context import Context, context_of
from gateway.drawing import Course, LagChart, course, lag_chart, rounded_up, share
from gateway.rooms import Room, room
from gateway.sessions import OperatorSession
from gateway.standing import PartnerPath, unknown
from ledger import Block, Closeup, Window
from streams.clocks import Clock
from streams.events import Partner
from streams.kinds import Action

router = APIRouter(include_in_schema=False, route_class=Room)
#: What the charts can be of: an hour is too few blocks to draw.
WINDOWS = (Window.DAY, Window.WEEK, Window.MONTH)
#: Acts by hand that are shown.
_ACTS = 8
#: What a page says at its top after somebody did something and was sent back to it.
SAID = {
    "paused": "Paused. What waits is held until it is resumed.",
    "tried": "What waits is tried now.",
    "resumed": "Resumed. What waits is tried now.",
    "seen": "What was not understood until now is marked as seen.",
}
#: From so many failures in a row on, one request at a time is tried.
_BREAKS = 5


@dataclass(frozen=True, slots=True)
class Charts:
    """`complete` is of final answers, `receive` of deliveries; None where nothing was measured."""

    complete: LagChart | None
    receive: LagChart | None
    open: Course
    most: int


@router.get("/dashboard/partners/{partner}")
async def show(
    request: Request, partner: PartnerPath, session: OperatorSession, window: Window = Window.DAY, said: str = ""
) -> Response:
    context = context_of(request)
    window = window if window in WINDOWS else Window.DAY
    seen = await close_up(context, partner, window)
    acts = await asyncio.to_thread(context.ledger.actions, partner, None, _ACTS)
    return room(
        request, session, "partner.html", **shown(context, seen, window), acts=acts, said=SAID.get(said),
        replay_id=context.new_id(),
    )  # fmt: skip


async def close_up(context: Context, partner: str, window: Window) -> Closeup:
    """Raises `Problem` if there never was such a partner."""
    seen = await asyncio.to_thread(context.ledger.closeup, partner, context.clock(), window)
    if seen is None:
        raise unknown(partner)
    return seen


def shown(context: Context, seen: Closeup, window: Window) -> dict[str, Any]:
    """What the pages of a partner show, be it to operators or to itself."""
    now, used = context.clock(), 0.0
    if seen.oldest is not None:
        due = (seen.oldest.due_at - seen.oldest.issued_at).total_seconds()
        used = share((now - seen.oldest.issued_at).total_seconds(), due)
    return {
        "partner": seen.partner,
        "lag": seen.lag,
        "seen": seen,
        "used": used,
        "charts": charts(seen.blocks),
        "window": window,
        "windows": WINDOWS,
        "funnel": _steps(seen),
        "clocks": [(action, *map(in_words, seen.partner.clocks_of(action))) for action in Action],
        "trying_one": seen.lag is not None and seen.lag.consecutive_failures >= _BREAKS,
        "keys": _keys(seen.partner, context),
    }


def charts(blocks: Sequence[Block]) -> Charts:
    opened = [block.open for block in blocks]
    most = rounded_up(max(opened))
    return Charts(
        lag_chart(blocks, [block.complete for block in blocks]),
        lag_chart(blocks, [block.receive for block in blocks]),
        course(opened, 1000, 240, most, margin=0),
        most,
    )


def in_words(clock: Clock) -> str:
    """`24 hours`, `1 month by the calendar of IE, Europe/Dublin`."""
    words = [_period(clock.within)]
    if clock.extension is not None:
        words.append(f"and {_period(clock.extension)} more if asked for in time")
    if clock.calendar is not None:
        words.append(f"by the calendar of {clock.calendar}")
    if clock.time_zone != "UTC":
        words.append(f"in {clock.time_zone}")
    words += clock.rules
    return ", ".join(words)


_UNITS = {"D": "day", "H": "hour", "M": "minute", "S": "second"}


def _period(period: str) -> str:
    if not period.startswith("P"):
        return period
    number, unit = period.lstrip("PT")[:-1], period[-1]
    if not number.isdecimal():
        return period
    word = {"M": "month", "Y": "year"}.get(unit, "") if "T" not in period else ""
    word = word or _UNITS[unit]
    return f"{number} {word}{'' if number == '1' else 's'}"


def _steps(seen: Closeup) -> list[tuple[str, int, float]]:
    counts = seen.funnel
    steps = (
        ("asked", counts.asked),
        ("delivered", counts.delivered),
        ("received", counts.received),
        ("completed", counts.completed),
    )
    return [(word, count, share(count, counts.asked)) for word, count in steps]


def _keys(partner: Partner, context: Context) -> list[tuple[str, str | None, Any]]:
    return [(each.scheme, each.public_key, each.expires_at) for each in partner.live_secrets(context.clock())]
