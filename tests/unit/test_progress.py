"""What the note of a lane's commit says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.parcels import Place
from agents.progress import LaneProgress, note_of, places_of
from streams.records import MOST_OF_NOTE, Commit

places = st.sets(st.tuples(st.integers(100, 200), st.integers(0, 999)))


@given(places.filter(lambda settled: len(settled) < 10))
def test_a_note_says_just_what_is_settled(settled: set[Place]) -> None:
    note = note_of(100, settled)
    assert places_of(Commit(100, note)) == settled
    assert note.isascii()


def test_nothing_is_said_of_what_is_committed() -> None:
    progress = LaneProgress(None)
    progress.settle({(7, 0), (8, 1), (9, 0)})
    assert progress.commit(8) == Commit(8, "0:2,1")
    assert progress.settled == {(8, 1), (9, 0)}
    assert progress.commit(10) == Commit(10, "")


def test_whoever_comes_next_knows_what_was_settled() -> None:
    progress = LaneProgress(None)
    progress.settle({(8, 1), (9, 0)})
    assert LaneProgress(progress.commit(8)).settled == {(8, 1), (9, 0)}
    assert LaneProgress(Commit(8)).settled == set()


@given(st.integers(0, 2**40), st.sets(st.integers(0, 999)), st.integers(1, 3))
def test_a_batch_of_the_largest_size_has_room_in_a_note(first: int, left_out: set[int], step: int) -> None:
    """However it stands in its lane: a notice a message, on Kafka with marks of transactions between, or all in one."""
    single = {(first + number * step, 0) for number in left_out}
    together = {(first, number) for number in left_out}
    for settled in (single, together):
        assert places_of(Commit(first, note_of(first, settled))) == settled


@pytest.mark.parametrize("step", [1, 9, 10, 99, 12_345])
def test_a_note_is_never_too_long_and_then_says_what_comes_first(step: int) -> None:
    settled = [(number * step, 0) for number in range(5_000)]
    note = note_of(0, settled)
    assert len(note) <= MOST_OF_NOTE
    said = places_of(Commit(0, note))
    assert said == set(settled[: len(said)])
    assert len(said) > 500
