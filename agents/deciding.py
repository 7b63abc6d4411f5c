"""The consent decision, as a pure function of a state and a toggle.

The last writer wins by rank (see `streams.ranks`) and then by id, a total order: any order of arrival, with any
repeats, ends in the same state.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from streams import ids
from streams.cloudevents import Envelope, rfc3339
from streams.events import ConsentChanged, ConsentToggled, DeletionRequested
from streams.kinds import Choice
from streams.ranks import rank_of
from streams.trusting import trusted

_changed, _requested = trusted(ConsentChanged), trusted(DeletionRequested)


class ConsentState(NamedTuple):
    """What the consent table knows of one subject and purpose: the toggle that won."""

    choice: Choice
    version: int | None
    occurred_at: datetime
    toggle_id: str
    retroactive: bool

    @property
    def rank(self) -> str:
        return rank_of(self.version, self.occurred_at, self.choice, retroactive=self.retroactive)


class Decision(NamedTuple):
    """`state` is what the table holds from now on; `events` are what the change causes, in order."""

    state: ConsentState
    events: tuple[Envelope, ...] = ()


def decide(state: ConsentState | None, toggle_id: str, toggle: ConsentToggled, accepted_at: datetime) -> Decision:
    """Take a toggle. A stale or repeated one changes nothing and causes nothing.

    Callers make `events` durable before they store `state`. So a state that knows a toggle proves that
    its events are in the log, and a crash in between repeats the same events under the same ids.
    """
    winner = newest(state, toggle_id, toggle)
    if winner is state:
        return Decision(winner)
    return Decision(winner, tuple(_consequences(state, winner, toggle, accepted_at)))


def newest(state: ConsentState | None, toggle_id: str, toggle: ConsentToggled) -> ConsentState:
    """The state after a toggle: the very same if the toggle is stale or repeated."""
    said = ConsentState(
        choice=toggle.choice,
        version=toggle.version,
        occurred_at=toggle.occurred_at,
        toggle_id=toggle_id,
        retroactive=toggle.retroactive and toggle.choice is Choice.OPT_OUT,
    )
    if state is not None and (said.rank, said.toggle_id) <= (state.rank, state.toggle_id):
        return state
    return said


def _consequences(
    before: ConsentState | None, after: ConsentState, toggle: ConsentToggled, accepted_at: datetime
) -> list[Envelope]:
    events = []
    said = _content(toggle)
    if before is None or before.choice is not after.choice:
        changed = _changed(
            subject=toggle.subject,
            purpose=toggle.purpose,
            choice=after.choice,
            previous=None if before is None else before.choice,
            retroactive=after.retroactive,
            toggle_id=after.toggle_id,
            version=after.version,
            occurred_at=after.occurred_at,
            accepted_at=accepted_at,
            rank=after.rank,
        )
        events.append(Envelope(ids.change_id(after.toggle_id, *said), accepted_at, changed))
    # Somebody who opted out for the future only, and now wants the past gone too, changes no choice.
    if after.retroactive and not (before is not None and before.retroactive):
        requested = _requested(
            subject=toggle.subject,
            purpose=toggle.purpose,
            toggle_id=after.toggle_id,
            occurred_at=after.occurred_at,
            accepted_at=accepted_at,
            rank=after.rank,
        )
        events.append(Envelope(ids.deletion_id(after.toggle_id, *said), accepted_at, requested))
    return events


def _content(toggle: ConsentToggled) -> tuple[str, ...]:
    """What tells a toggle from another one that came under the same id."""
    version = "" if toggle.version is None else str(toggle.version)
    return (toggle.subject, toggle.purpose, toggle.choice, rfc3339(toggle.occurred_at), version)
