"""The consent decision: a table of cases, and convergence under any order and any repeats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding import ConsentState, decide, rank
from streams import ids
from streams.cloudevents import Envelope
from streams.events import ConsentChanged, ConsentToggled, DeletionRequested
from streams.kinds import Choice

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OUT, IN = Choice.OPT_OUT, Choice.OPT_IN


def toggle(choice: Choice, minute: int = 0, version: int | None = None, *, retroactive: bool = True) -> ConsentToggled:
    return ConsentToggled(
        subject="user:1",
        purpose="ai-training",
        choice=choice,
        occurred_at=NOON + timedelta(minutes=minute),
        version=version,
        retroactive=retroactive,
    )


def state(choice: Choice, minute: int = 0, toggle_id: str = "a", *, retroactive: bool = False) -> ConsentState:
    return ConsentState(
        choice=choice,
        version=None,
        occurred_at=NOON + timedelta(minutes=minute),
        toggle_id=toggle_id,
        retroactive=retroactive,
    )


def kinds(events: tuple[Envelope, ...]) -> list[str]:
    return [type(event.data).__name__ for event in events]


@pytest.mark.parametrize(
    ("before", "taken", "expected"),
    [
        (None, toggle(OUT), ["ConsentChanged", "DeletionRequested"]),
        (None, toggle(OUT, retroactive=False), ["ConsentChanged"]),
        (None, toggle(IN), ["ConsentChanged"]),
        (state(IN), toggle(OUT, 1), ["ConsentChanged", "DeletionRequested"]),
        (state(OUT, retroactive=True), toggle(IN, 1), ["ConsentChanged"]),
        (state(OUT, retroactive=True), toggle(OUT, 1), []),
        (state(OUT, retroactive=False), toggle(OUT, 1), ["DeletionRequested"]),
        (state(OUT, retroactive=False), toggle(OUT, 1, retroactive=False), []),
        (state(IN), toggle(IN, 1), []),
        (state(IN, 5), toggle(OUT, 1), []),
    ],
)
def test_what_a_toggle_causes(before: ConsentState | None, taken: ConsentToggled, expected: list[str]) -> None:
    assert kinds(decide(before, "b", taken, NOON).events) == expected


def test_ids_follow_from_the_toggle() -> None:
    first = decide(None, "t", toggle(OUT), NOON).events
    again = decide(None, "t", toggle(OUT), NOON).events
    assert [event.id for event in first] == [event.id for event in again]
    said = ("user:1", "ai-training", "opt_out", "2026-01-01T12:00:00Z", "")
    assert [event.id for event in first] == [ids.change_id("t", *said), ids.deletion_id("t", *said)]


@pytest.mark.parametrize(
    "other",
    [
        toggle(OUT).model_copy(update={"subject": "user:2"}),
        toggle(OUT).model_copy(update={"purpose": "sharing"}),
        toggle(OUT, 1),
        toggle(OUT, version=1),
        toggle(IN),
    ],
)
def test_toggles_that_share_an_id_cause_events_of_their_own(other: ConsentToggled) -> None:
    """Two sources may both count from 1; the second one's opt-out must not be dropped as a repetition."""
    first = {event.id for event in decide(None, "1", toggle(OUT), NOON).events}
    second = {event.id for event in decide(None, "1", other, NOON).events}
    assert second
    assert not first & second


def test_a_repeated_toggle_causes_nothing_once_it_is_known() -> None:
    known = decide(None, "t", toggle(OUT), NOON).state
    again = decide(known, "t", toggle(OUT), NOON)
    assert again.state is known
    assert again.events == ()


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ((None, 9, "z"), (0, 0, "a")),  # a counted toggle outranks an uncounted one
        ((1, 9, "z"), (2, 0, "a")),  # the version decides before the time
        ((1, 0, "z"), (1, 1, "a")),  # the time decides before the id
        ((1, 0, "a"), (1, 0, "b")),  # the id decides when nothing else does
    ],
)
def test_rank(lower: tuple[int | None, int, str], higher: tuple[int | None, int, str]) -> None:
    def of(part: tuple[int | None, int, str]) -> tuple[int, datetime, str]:
        return rank(part[0], NOON + timedelta(minutes=part[1]), part[2])

    assert of(lower) < of(higher)


toggles = st.lists(
    st.builds(
        toggle,
        st.sampled_from([OUT, IN]),
        st.integers(0, 3),
        st.none() | st.integers(0, 2),
        retroactive=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(toggles, st.data())
def test_disorder_and_repeats_converge(taken: list[ConsentToggled], data: st.DataObject) -> None:
    named = [(f"t{number}", item) for number, item in enumerate(taken)]
    repeats = data.draw(st.lists(st.sampled_from(named), max_size=6))
    shuffled = data.draw(st.permutations(named + repeats))
    winner_id, winner = max(named, key=lambda pair: rank(pair[1].version, pair[1].occurred_at, pair[0]))

    ends = []
    for order in (named, shuffled):
        current: ConsentState | None = None
        for toggle_id, item in order:
            current = decide(current, toggle_id, item, NOON).state
        ends.append(current)

    assert ends[0] == ends[1]
    assert ends[0] is not None
    assert (ends[0].toggle_id, ends[0].choice) == (winner_id, winner.choice)


@given(toggles)
def test_no_event_is_caused_twice(taken: list[ConsentToggled]) -> None:
    current: ConsentState | None = None
    seen: set[str] = set()
    for toggle_id, item in [(f"t{number}", item) for number, item in enumerate(taken)] * 2:
        decision = decide(current, toggle_id, item, NOON)
        current = decision.state
        for event in decision.events:
            assert event.id not in seen
            assert isinstance(event.data, ConsentChanged | DeletionRequested)
            seen.add(event.id)
