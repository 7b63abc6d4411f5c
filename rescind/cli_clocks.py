"""`rescind partners clocks`: by when a partner must have answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import print_json, say
from streams.clocks import rules_in_words
from streams.errors import InvalidInput
from streams.kinds import Action

ReceiveWithin = Annotated[str | None, typer.Option(help="By when it must have taken a notice: PT24H (the default).")]
CompleteWithin = Annotated[
    str | None, typer.Option(help="By when it must have done it: P30D (the default), P1M, '15 business days'.")
]
Extension = Annotated[str | None, typer.Option(help="How much more to complete, once, if it says why: P2M.")]
Calendar = Annotated[str | None, typer.Option(help="Whose holidays count: IE, US-CA.")]
Week = Annotated[str | None, typer.Option(help="Which days count: mon-sat; Monday to Friday by default.")]
Inclusive = Annotated[bool, typer.Option("--inclusive", help="The day of the start is the first one.")]


class Since(StrEnum):
    ACCEPTED_AT = "accepted_at"
    OCCURRED_AT = "occurred_at"


SinceWhen = Annotated[
    Since | None, typer.Option("--since", help="accepted_at (the default), or occurred_at: the person's request.")
]
TimeZone = Annotated[str | None, typer.Option(help="Where days end: Europe/Dublin; UTC by default.")]


@dataclass(frozen=True, slots=True)
class AtMost:
    """What was chosen of clocks."""

    receive: str | None
    complete: str | None
    extension: str | None
    calendar: str | None
    time_zone: str | None
    week: str | None = None
    inclusive: bool = False
    since: Since | None = None

    def clocks(self) -> dict[str, Any]:
        """The clocks as the API takes them, `receive` and `complete`. Raises `InvalidInput`."""
        days: dict[str, Any] = {"calendar": self.calendar, "time_zone": self.time_zone, "week": self.week}
        days["inclusive"] = self.inclusive or None
        if self.complete is None and (self.extension or any(days.values())):
            raise InvalidInput(
                "--extension, --calendar, --time-zone, --week and --inclusive belong to --complete-within"
            )
        if self.receive is None and self.complete is None and self.since:
            raise InvalidInput("--since belongs to --receive-within or --complete-within")
        chosen: dict[str, dict[str, Any]] = {
            "receive": {"within": self.receive, "since": self.since},
            "complete": {"within": self.complete, "extension": self.extension, **days, "since": self.since},
        }
        return {
            name: {
                field: _period(value) if isinstance(value, str) else value
                for field, value in clock.items()
                if value is not None
            }
            for name, clock in chosen.items()
            if clock["within"] is not None
        }


def clocks(
    partner: Annotated[str, typer.Argument(help="A partner's id.")],
    kind: Annotated[Action | None, typer.Option("--for", help="Only for this kind of notice.")] = None,
    receive_within: ReceiveWithin = None,
    complete_within: CompleteWithin = None,
    extension: Extension = None,
    calendar: Calendar = None,
    time_zone: TimeZone = None,
    week: Week = None,
    inclusive: Inclusive = False,
    since: SinceWhen = None,
    at_risk: Annotated[float | None, typer.Option(help="At which fraction of its time a notice is at risk.")] = None,
    remind: Annotated[
        list[float] | None, typer.Option(help="A fraction at which the partner is reminded; repeatable, up to 3.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Change a partner's clocks, and when it is reminded of them. What was issued before keeps its deadlines.

    Clocks run from the acceptance of a toggle, or with --since occurred_at from the person's request. Spans (PT24H,
    P30D, or seconds) are exact. Months and business days (Monday to Friday, or --week) end with their last day, in that
    time zone; the first does not count, but for --inclusive.
    """
    given = AtMost(receive_within, complete_within, extension, calendar, time_zone, week, inclusive, since).clocks()
    watch = {name: value for name, value in (("at_risk", at_risk), ("remind", remind)) if value}
    if not given and not watch:
        raise InvalidInput("say --receive-within, --complete-within, --at-risk or --remind")
    with Client(url or "", key) as client:
        known = client.partner(partner) if kind or watch else {}
        changes: dict[str, Any] = {"watch": (known.get("watch") or {}) | watch} if watch else {}
        if kind is None:
            changes |= {f"{name}_within": clock for name, clock in given.items()}
        elif given:
            others = known.get("clocks") or {}
            changes["clocks"] = others | {kind.value: (others.get(kind.value) or {}) | given}
        changed = client.change_partner(partner, changes)
    if as_json:
        print_json(changed)
        return
    for name, clock in given.items():
        say(f"{partner} must {name} {kind or 'what it is asked'} within {in_words(clock)}, from now on")
    if watch:
        say(f"{partner} is watched as you said, from now on")


def in_words(clock: Mapping[str, Any]) -> str:
    """A clock on one line."""
    words = [str(clock["within"])]
    if clock.get("extension"):
        words.append(f"(+ {clock['extension']})")
    if clock.get("calendar"):
        words.append(f"by the calendar of {clock['calendar']}")
    if clock.get("time_zone", "UTC") != "UTC":
        words.append(f"in {clock['time_zone']}")
    words += [f"({rule})" for rule in rules_in_words(clock)]
    return " ".join(words)


def watch_in_words(watch: Mapping[str, Any] | None) -> str:
    """How deadlines are watched, on one line."""
    if watch is None:
        return "as usual"
    return f"at risk at {watch['at_risk']}, reminded at {', '.join(map(str, watch['remind'])) or 'no time'}"


def _period(value: str) -> str | int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else value
