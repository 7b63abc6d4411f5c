"""The consent decision: a table of cases, and convergence under any order and any repeats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding import ConsentState, decide
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
        ((None, 9, OUT, True, "z"), (0, 0, IN, False, "a")),  # a counted toggle outranks an uncounted one
        ((1, 9, OUT, True, "z"), (2, 0, IN, False, "a")),  # the version decides before the time
        ((1, 0, OUT, True, "z"), (1, 1, IN, False, "a")),  # the time decides before the choice
        ((1, 0, IN, False, "z"), (1, 0, OUT, False, "a")),  # an opt-out wins against an opt-in, whatever the ids
        ((1, 0, OUT, False, "z"), (1, 0, OUT, True, "a")),  # and one that reaches back against one that does not
        ((1, 0, OUT, True, "a"), (1, 0, OUT, True, "b")),  # the id decides when nothing else does
        ((9, 0, IN, False, "a"), (10, 0, IN, False, "a")),  # ranks are strings, and sort as their numbers do
    ],
)
def test_the_higher_rank_wins_in_either_order(
    lower: tuple[int | None, int, Choice, bool, str], higher: tuple[int | None, int, Choice, bool, str]
) -> None:
    def of(part: tuple[int | None, int, Choice, bool, str]) -> tuple[str, ConsentToggled]:
        version, minutes, choice, retroactive, identity = part
        return identity, toggle(choice, minutes, version, retroactive=retroactive)

    for first, second in ((lower, higher), (higher, lower)):
        before = decide(None, *of(first), NOON).state
        assert decide(before, *of(second), NOON).state == decide(None, *of(higher), NOON).state


def test_every_event_carries_the_rank_of_its_choice() -> None:
    decision = decide(None, "t", toggle(OUT), NOON)
    ranks = [event.data.rank for event in decision.events]  # type: ignore[attr-defined]
    assert ranks == [decision.state.rank] * 2


def rank(named: tuple[str, ConsentToggled]) -> tuple[int, datetime, int, str]:
    identity, said = named
    strength = 0 if said.choice is IN else 2 if said.retroactive else 1
    return (-1 if said.version is None else said.version, said.occurred_at, strength, identity)


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
    winner_id, winner = max(named, key=rank)

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
