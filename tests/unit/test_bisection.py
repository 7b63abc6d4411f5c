"""Which notice is at fault: what is sent next, and what becomes of what fails alone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.bisection import PARKED_IN_A_ROW, Bisection, Then, bisection_of
from agents.judging import AttemptVerdict
from agents.parcels import Batch, Parcel
from streams.kinds import Action
from streams.written import WrittenNotice
from tests.unit.fakes import NOON, written_notice

REFUSED, FAILED = AttemptVerdict.REFUSED, AttemptVerdict.FAILED


def asked(number: int, subject: int | None = None, action: Action = Action.ERASE) -> WrittenNotice:
    found = written_notice(number, action)
    found.subject = f"user:{number if subject is None else subject}"
    return found


def batch(*notices: WrittenNotice, offset: int = 7) -> Batch:
    return Batch(3, offset, offset, "p", notices, (offset,) * len(notices))


def begun(*notices: WrittenNotice) -> Bisection:
    (parcel,) = batch(*notices).parcels(1000)
    return bisection_of(parcel)


def named(parcel: Parcel | None) -> list[str]:
    return [] if parcel is None else [notice.id for notice in parcel.notices]


def following(bisection: Bisection, *ahead: Parcel) -> Parcel:
    parcel = bisection.next(ahead)
    assert parcel is not None
    return parcel


def test_of_a_refused_batch_one_goes_alone_first_and_then_the_rest_by_halves() -> None:
    bisection = begun(*(asked(number) for number in range(5)))
    first = following(bisection)
    assert named(first) == ["n0"]
    bisection.took(first)
    rest = following(bisection)
    assert named(rest) == ["n1", "n2", "n3", "n4"]
    assert bisection.failed(rest, REFUSED, NOON) is Then.GO_ON
    assert named(following(bisection)) == ["n1", "n2"]


def test_while_nothing_is_taken_each_subject_is_tried_once_and_then_all_again() -> None:
    bisection = begun(asked(0, 1), asked(1, 1), asked(2, 2))
    for expected in ("n0", "n2"):
        parcel = following(bisection)
        assert named(parcel) == [expected]
        assert bisection.failed(parcel, REFUSED, NOON) is Then.WAIT
    assert bisection.next() is None
    bisection.begin_round()
    assert named(bisection.next()) == ["n0"]


def test_further_notices_of_the_lane_are_tried_too_and_are_nobodys_fault() -> None:
    bisection = begun(asked(0))
    assert bisection.failed(following(bisection), REFUSED, NOON) is Then.WAIT
    ahead = [*batch(asked(1), offset=8).parcels(1), *batch(asked(2), offset=9).parcels(1)]
    assert named(following(bisection, *ahead)) == ["n1"]
    assert bisection.failed(ahead[0], REFUSED, NOON) is Then.WAIT
    assert named(following(bisection, *ahead)) == ["n2"]
    bisection.took(ahead[1])
    # What failed before is tried once more, now that the endpoint takes others; what lies ahead comes in its turn.
    again = following(bisection, ahead[0])
    assert named(again) == ["n0"]
    assert bisection.failed(again, REFUSED, NOON) is Then.PARK
    failing = bisection.suspects["n0"].failing()
    assert (failing.failures, failing.refusals, failing.first_refused_at) == (2, 2, NOON)
    assert failing.others_taken
    bisection.remove(["n0"])
    assert bisection.over


def test_what_is_taken_at_last_is_not_parked() -> None:
    bisection = begun(asked(0), asked(1))
    bisection.failed(following(bisection), FAILED, NOON)
    bisection.took(following(bisection))
    last = following(bisection)
    assert named(last) == ["n0"]
    bisection.took(last)
    assert bisection.over


@pytest.mark.parametrize(("other", "taken"), [(Action.ERASE, True), (Action.STOP, False), (Action.RESUME, False)])
def test_only_another_of_the_same_action_says_that_a_notice_is_refused_for_its_own_sake(
    other: Action, taken: bool
) -> None:
    bisection = begun(asked(0), asked(1, action=other))
    bisection.failed(following(bisection), REFUSED, NOON)
    bisection.took(following(bisection))
    assert bisection.failed(following(bisection), REFUSED, NOON) is Then.PARK
    assert bisection.suspects["n0"].failing().others_taken is taken


def test_an_error_alone_needs_another_proof_where_a_refusal_does_not() -> None:
    for verdict, then in ((REFUSED, Then.PARK), (FAILED, Then.GO_ON)):
        bisection = begun(asked(0), asked(1))
        bisection.took(following(bisection))
        assert bisection.failed(following(bisection), verdict, NOON) is then


def test_an_error_is_no_fault_of_a_notice_before_it_came_three_times() -> None:
    bisection = begun(asked(0), asked(1))
    assert bisection.failed(following(bisection), FAILED, NOON) is Then.WAIT
    bisection.took(following(bisection))
    assert [bisection.failed(following(bisection), FAILED, NOON) for _ in range(2)] == [Then.WAIT, Then.PARK]


def test_an_endpoint_that_breaks_meanwhile_turns_no_batch_into_parked_ones() -> None:
    bisection = begun(*(asked(number) for number in range(100)))
    bisection.took(following(bisection))
    parked = 0
    while (parcel := bisection.next()) is not None:
        if bisection.failed(parcel, REFUSED, NOON) is Then.PARK:
            parked += 1
            bisection.remove(named(parcel))
    assert parked == PARKED_IN_A_ROW


def test_what_arrives_goes_ahead_only_where_nothing_of_its_subject_waits() -> None:
    bisection = begun(asked(0, 1), asked(1, 2))
    bisection.failed(following(bisection), REFUSED, NOON)
    arrived = [
        each for number, subject in ((2, 1), (3, 2), (4, 3)) for each in batch(asked(number, subject)).parcels(1)
    ]
    assert named(bisection.arrived(arrived)) == ["n4"]


def test_times_of_refusals_are_kept() -> None:
    bisection = begun(asked(0))
    for minutes, verdict in enumerate((FAILED, REFUSED, REFUSED)):
        bisection.begin_round()
        bisection.failed(following(bisection), verdict, NOON + timedelta(minutes=minutes))
    failing = bisection.suspects["n0"].failing()
    assert (failing.lane, failing.offset, failing.failures, failing.refusals) == (3, 7, 3, 2)
    assert failing.first_refused_at == NOON + timedelta(minutes=1)


subjects = st.lists(st.integers(0, 4), min_size=1, max_size=20)


@given(subjects, st.sets(st.integers(0, 19)), st.sampled_from([REFUSED, FAILED]), st.integers(0, 6))
def test_all_that_is_good_is_taken_in_order_and_only_what_is_bad_is_parked(
    about: list[int], bad: Collection[int], verdict: AttemptVerdict, broken_for: int
) -> None:
    """An endpoint that takes nothing at first, and then all but what is bad. Another subject arrives in the end."""
    bisection = begun(*(asked(number, subject) for number, subject in enumerate(about)))
    well = batch(asked(99, 99), offset=8).parcels(1)
    taken: list[str] = []
    parked: list[str] = []
    wrong = {f"n{number}" for number in bad}
    for step in range(500):
        if bisection.over:
            break
        parcel = bisection.next(() if "n99" in taken or step < broken_for else well)
        if parcel is None:
            bisection.begin_round()
            continue
        if step >= broken_for and not wrong & set(named(parcel)):
            bisection.took(parcel)
            taken += named(parcel)
        elif bisection.failed(parcel, verdict, NOON) is Then.PARK:
            bisection.remove(named(parcel))
            parked += named(parcel)
    assert bisection.over or len(wrong) > 0
    if bisection.over:
        assert set(parked) <= wrong
        assert sorted([each for each in (*taken, *parked) if each != "n99"]) == sorted(
            f"n{n}" for n in range(len(about))
        )
    for subject in set(about):
        mine = [f"n{number}" for number, each in enumerate(about) if each == subject]
        heard = [each for each in taken if each in mine]
        assert heard == sorted(heard, key=mine.index)
