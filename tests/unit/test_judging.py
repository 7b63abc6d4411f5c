"""What an answer means, when a partner is left alone, how fast it is asked: tables, and properties of the schedule."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.breaking import Breaker
from agents.faults import Fault
from agents.judging import AttemptVerdict, is_undeliverable, judge, parked_wait
from agents.limiting import Bucket
from agents.parcels import Batch, Parcel
from agents.retrying import Attempt, Backoff, next_delay
from streams.events import Failing
from streams.failures import THRESHOLD
from streams.written import WrittenNotice
from tests.unit.fakes import NOON, written_notice

OTHERS = (401, 402, 403, 404, 405, 406, 408, 409, 411, 412, 414, 415, 418, 421, 423, 425, 426, 428, 431, 451, 499)


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        *((Attempt(status), AttemptVerdict.ACCEPTED) for status in (200, 202, 204, 299)),
        *((Attempt(status, "no"), AttemptVerdict.REFUSED) for status in (400, 413, 422)),
        (Attempt(410, "gone"), AttemptVerdict.SUSPEND),
        *((Attempt(status, "no"), AttemptVerdict.FAILED) for status in (*OTHERS, 500, 501, 502, 503, 504, 599, 999)),
        *((Attempt(status, "no"), AttemptVerdict.RETRY) for status in (100, 199, 300, 301, 302, 307, 308, 429)),
        (Attempt(429, "slow down", "7"), AttemptVerdict.RETRY),
        (Attempt(503, "later", "7"), AttemptVerdict.RETRY),
        (Attempt(500, "later", "7"), AttemptVerdict.FAILED),
        (Attempt(None, "no answer", fault=Fault.TIMEOUT), AttemptVerdict.FAILED),
        *((Attempt(None, "x", fault=fault), AttemptVerdict.RETRY) for fault in set(Fault) - {Fault.TIMEOUT}),
        (Attempt(None, "the secret is sealed with another key"), AttemptVerdict.RETRY),
    ],
)
def test_what_an_answer_means(attempt: Attempt, verdict: AttemptVerdict) -> None:
    assert judge(attempt) is verdict


def test_no_connection_in_time_is_no_fault_of_a_notice() -> None:
    assert judge(Attempt(None, "x", fault=Fault.TIMEOUT), reached=False) is AttemptVerdict.RETRY


@pytest.mark.parametrize(
    ("refusals", "minutes", "others_taken", "undeliverable"),
    [
        (3, 15, True, True),
        (9, 900, True, True),
        (2, 900, True, False),  # twice is not enough, however long ago
        (3, 14.9, True, False),  # nor is it in a short time
        (9, 900, False, False),  # and never while the endpoint takes no other of the action
    ],
)
def test_when_a_notice_is_refused_for_good(
    refusals: int, minutes: float, others_taken: bool, undeliverable: bool
) -> None:
    failing = Failing(
        lane=0, offset=0, failures=refusals + 4, refusals=refusals, first_refused_at=NOON, others_taken=others_taken
    )
    assert is_undeliverable(failing, NOON + timedelta(minutes=minutes)) is undeliverable


def test_what_was_never_refused_is_never_undeliverable() -> None:
    failing = Failing(lane=0, offset=0, failures=50, refusals=0, others_taken=True)
    assert not is_undeliverable(failing, NOON + timedelta(days=99))


def test_the_waits_of_a_parked_notice_grow() -> None:
    def wait(failures: int) -> float:
        return parked_wait(Failing(lane=0, offset=0, failures=failures, refusals=0, others_taken=True), Backoff())

    assert [wait(failures) for failures in (1, 2, 3, 4, 9, 99)] == [60, 120, 240, 480, 3600, 3600]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0.01, 10), st.floats(10, 100_000))
def test_there_is_always_a_next_attempt_and_never_in_the_past(
    number: int, jitter: float, base: float, cap: float
) -> None:
    delay = next_delay(Attempt(None, "x"), number, Backoff(base, cap), jitter, NOON)
    assert base / 10 <= delay <= cap


@given(st.text(max_size=40) | st.integers(-10, 10**12).map(str), st.integers(1, 50))
def test_a_retry_after_is_heeded_within_bounds(value: str, number: int) -> None:
    backoff = Backoff(1.0, 3600.0)
    own = next_delay(Attempt(503, "x"), number, backoff, 0.5, NOON)
    asked = next_delay(Attempt(503, "x", value), number, backoff, 0.5, NOON)
    assert own <= asked <= 3600.0 or asked == own


class ManyLanes(RuleBasedStateMachine):
    """Lanes of one partner that ask the breaker, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.under_way = 0
        self.in_a_row = 0
        self.last_retry_at = 0.0

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def attempt(self) -> None:
        wait = self.breaker.wait(self.now)
        if wait == 0:
            if self.in_a_row >= THRESHOLD:
                assert self.now >= self.breaker.retry_at
            self.breaker.begin()
            self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(delay=st.floats(0.1, 50))
    def fail(self, delay: float) -> None:
        self.under_way -= 1
        self.in_a_row += 1
        self.breaker.failed(self.now + delay)

    @precondition(lambda self: self.under_way)
    @rule()
    def answer(self) -> None:
        self.under_way -= 1
        self.in_a_row = 0
        self.breaker.answered()
        assert self.breaker.wait(self.now) == 0

    @precondition(lambda self: self.under_way)
    @rule()
    def abandon(self) -> None:
        self.under_way -= 1
        self.breaker.abandoned()

    @invariant()
    def somebody_may_always_go_on(self) -> None:
        """Now, or later, or when the attempt that is under way ends."""
        wait = self.breaker.wait(self.now)
        assert (wait is None) <= (self.under_way > 0)
        assert wait is None or wait >= 0


TestManyLanes = ManyLanes.TestCase


def test_a_breaker_that_is_open_lets_one_through_at_a_time() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        assert breaker.wait(10.0) == 0
        breaker.begin()
        breaker.failed(12.0)
    assert breaker.wait(10.0) == 2.0
    assert breaker.wait(12.5) == 0
    breaker.begin()
    assert breaker.wait(12.5) is None
    breaker.failed(20.0)
    assert breaker.wait(12.5) == 7.5
    breaker.begin()
    breaker.answered()
    assert breaker.wait(12.5) == 0


def test_somebody_who_wants_it_tried_ends_the_wait() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        breaker.begin()
        breaker.failed(1000.0)
    assert breaker.wait(10.0) == 990.0
    breaker.tried_now()
    assert breaker.wait(10.0) == 0


@given(st.floats(0.01, 1000), st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_a_partner_is_never_asked_more_often_than_it_allows(rate: float, pauses: list[float]) -> None:
    bucket, now, asked = Bucket(rate), 0.0, []
    for pause in pauses:
        now += pause
        now += bucket.take(now)
        asked.append(now)
    burst = max(1.0, rate)
    for first, start in enumerate(asked):
        for last in range(first, len(asked)):
            assert last - first + 1 <= burst + (asked[last] - start) * rate + 1e-6 * (last + 1)


def batch(count: int, first: int = 7, last: int = 7) -> Batch:
    return Batch(3, first, last, "p", tuple(written_notice(number) for number in range(count)), (first,) * count)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1))
def test_parcels_carry_everything_once_and_no_two_have_one_id(count: int, most: int, joined: int) -> None:
    whole = batch(count, last=7 + joined)
    todo = whole.parcels(most)
    seen: list[WrittenNotice] = []
    ids: set[str] = set()
    while todo:
        parcel = todo.pop(0)
        assert 1 <= parcel.count <= most
        assert parcel.webhook_id not in ids
        ids.add(parcel.webhook_id)
        if parcel.count > 1:
            todo = [*parcel.split((parcel.count + 1) // 2), *todo]
        else:
            seen += parcel.notices
    assert seen == list(whole.notices)


def test_ids_follow_from_what_is_carried_and_where_it_stands() -> None:
    (whole,) = batch(4).parcels(100)
    assert whole.webhook_id == batch(4).parcels(4)[0].webhook_id
    others = {
        batch(4, last=8).parcels(100)[0].webhook_id,
        batch(4, first=6).parcels(100)[0].webhook_id,
        Parcel(batch(4), (0, 1)).webhook_id,
        Parcel(batch(4), (2, 3)).webhook_id,
    }
    assert len(others | {whole.webhook_id}) == 5
