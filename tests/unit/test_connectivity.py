"""Are the partners away, or are we?"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.connectivity import AT_ONCE, MEMORY, Connectivity, report
from agents.faults import Fault
from agents.retrying import Attempt
from agents.webhooks import Answer
from rescind.running.apps import readiness

OK = Answer(Attempt(200), 1.0)
BUSY = Answer(Attempt(503, "HTTP 503"), 1.0)
REFUSED = Answer(Attempt(None, "cannot connect: the connection was refused", fault=Fault.CONNECT), 1.0)
UNKNOWN = Answer(Attempt(None, "the host name cannot be resolved", fault=Fault.DNS), 1.0)
UNTRUSTED = Answer(Attempt(None, "TLS: the certificate is not valid", fault=Fault.TLS), 1.0)
UNREACHED = Answer(Attempt(None, "no connection in time", fault=Fault.TIMEOUT), 1.0)
#: It listens, and says nothing.
HANGS = Answer(Attempt(None, "no answer in time", fault=Fault.TIMEOUT), 1.0, address="192.0.2.1:443", dialled=True)
#: On a connection that was there from before.
STALE = Answer(Attempt(None, "no answer in time", fault=Fault.TIMEOUT), 1.0, address="192.0.2.1:443")
PRIVATE = Answer(Attempt(None, "not a public address", fault=Fault.ADDRESS), 1.0)
UNSIGNED = Answer(Attempt(None, "the sealing key is another"), 1.0)
NO_FILES = Answer(Attempt(None, "too many open files", fault=Fault.CONNECT, ours="no descriptors"), 1.0)

Step = tuple[float, str, Answer]


def told(steps: list[Step]) -> tuple[Connectivity, list[bool]]:
    """Whether each attempt's end was taken for our fault."""
    connectivity = Connectivity()
    return connectivity, [connectivity.ended(who, answer, at) is not None for at, who, answer in steps]


@pytest.mark.parametrize("failed", [REFUSED, UNKNOWN, UNTRUSTED, UNREACHED])
def test_three_that_stop_connecting_at_once_are_our_fault_until_one_connects(failed: Answer) -> None:
    steps: list[Step] = [
        (0, "a", OK), (1, "b", OK), (2, "c", OK),
        (10, "a", failed), (11, "b", failed), (12, "c", failed), (13, "a", failed), (14, "b", failed),
        (20, "a", OK), (21, "b", failed), (22, "c", failed),
    ]  # fmt: skip
    connectivity, ours = told(steps)
    assert ours == [False] * 5 + [True] * 3 + [False] * 3
    assert connectivity.troubles(23) == ()


@pytest.mark.parametrize(
    ("steps", "ours"),
    [
        pytest.param([(0, "a", REFUSED), (1, "a", REFUSED), (2, "a", REFUSED)], False, id="one"),
        pytest.param([(at, "ab"[at % 2], REFUSED) for at in range(20)], False, id="two"),
        pytest.param([(0, "a", REFUSED), (1, "b", REFUSED), (2, "c", REFUSED)], True, id="three-from-the-start"),
        pytest.param(
            [(0, "a", REFUSED), (1, "b", REFUSED), (2, "d", BUSY), (3, "c", REFUSED)], False, id="one-answers-503"
        ),
        pytest.param([(0, "a", REFUSED), (1, "b", REFUSED), (2, "d", HANGS), (3, "c", REFUSED)], False, id="one-hangs"),
        pytest.param(
            [(0, "a", REFUSED), (1, "b", REFUSED), (2, "d", STALE), (3, "c", REFUSED)], True, id="a-stale-connection"
        ),
        pytest.param(
            [(0, "a", PRIVATE), (1, "b", UNSIGNED), (2, "d", PRIVATE), (3, "c", REFUSED)], False, id="never-dialled"
        ),
        pytest.param(
            [(0, "a", NO_FILES), (1, "b", NO_FILES), (2, "d", NO_FILES), (3, "c", REFUSED)], False, id="ours-anyway"
        ),
        pytest.param(
            [(0, "a", REFUSED), (AT_ONCE, "b", REFUSED), (AT_ONCE + 1, "c", REFUSED)], False, id="not-at-once"
        ),
        pytest.param([(0, "a", REFUSED), (1, "b", REFUSED), (MEMORY + 2, "c", REFUSED)], False, id="long-ago"),
    ],
)
def test_the_last_failure_is_ours(steps: list[Step], ours: bool) -> None:
    assert told(steps)[1][-1] is ours


def test_who_was_down_before_the_others_stays_down_by_its_own_fault() -> None:
    steps: list[Step] = [(0, "a", REFUSED), (1, "b", OK), (2, "c", OK), (3, "d", OK)]
    steps += [(10, "b", UNREACHED), (11, "c", UNREACHED), (12, "d", UNREACHED), (13, "a", REFUSED), (14, "b", REFUSED)]
    assert told(steps)[1] == [False] * 6 + [True, False, True]


def test_who_fails_later_while_nobody_connects_is_ours_too_however_late() -> None:
    steps: list[Step] = [(at, who, UNREACHED) for at, who in enumerate("abc")]
    later = AT_ONCE + 100
    steps += [(later, who, UNREACHED) for who in "abc"] + [(later + 1, "idle", UNREACHED)]
    assert told(steps)[1][-1]


def test_attempts_that_ended_on_our_side_do_not_say_that_a_partner_is_down() -> None:
    connectivity, ours = told([(0, "a", NO_FILES), (1, "b", NO_FILES)])
    assert ours == [True, True]
    assert connectivity.troubles(2) == ("no descriptors: what 2 partners are to get waits",)
    connectivity.ended("a", OK, 3)
    assert connectivity.troubles(3) == ("no descriptors: what 1 partner is to get waits",)
    connectivity.ended("b", REFUSED, 4)
    assert connectivity.troubles(4) == ()


def test_what_is_long_ago_is_no_trouble_any_more() -> None:
    connectivity, _ = told([(0, "a", REFUSED), (1, "b", REFUSED), (2, "c", REFUSED)])
    (words,) = connectivity.troubles(3)
    assert words.startswith("none of the 3 partners that were tried")
    assert connectivity.troubles(MEMORY + 3) == ()


def test_a_removed_partner_is_no_evidence() -> None:
    connectivity, _ = told([(0, "a", REFUSED), (1, "b", REFUSED), (2, "c", REFUSED)])
    connectivity.forget("a")
    assert connectivity.ended("b", REFUSED, 4) is None


async def test_our_own_trouble_is_logged_once_a_minute_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    connectivity, now = Connectivity(), asyncio.get_running_loop().time()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            connectivity.ended("a", NO_FILES, now)
        elif len(waits) == 3:
            connectivity.ended("a", OK, now)
        elif len(waits) == 5:
            raise StopAsyncIteration

    with pytest.raises(StopAsyncIteration):
        await report(connectivity, sleep=sleep)
    assert waits == [1.0, 60.0, 60.0, 1.0, 1.0]
    said = "no descriptors: what 1 partner is to get waits; no partner is charged with it"
    assert caplog.messages == [said, said, "nothing on this host is in the way of webhooks any more"]


async def test_a_process_that_delivers_says_so_where_its_health_is_asked_for() -> None:
    connectivity, failure = Connectivity(), asyncio.get_running_loop().create_future()
    connectivity.ended("a", NO_FILES, asyncio.get_running_loop().time())
    found = readiness([], failure, connectivity)
    assert found.notes == ("no descriptors: what 1 partner is to get waits",)
    assert readiness([], failure).notes == ()
    failure.cancel()


_STEPS = st.lists(
    st.tuples(st.floats(0, 400), st.sampled_from("abcde"), st.sampled_from([OK, BUSY, REFUSED, UNREACHED, STALE])),
    max_size=40,
)


@given(_STEPS)
def test_over_any_history_it_is_ours_only_if_three_failed_since_anybody_connected(steps: list[Step]) -> None:
    connectivity = Connectivity()
    now = 0.0
    failed: set[str] = set()  # since somebody connected
    before: set[str] = set()  # then already
    for wait, who, answer in steps:
        now += wait
        ours = connectivity.ended(who, answer, now) is not None
        if answer.attempt.status is not None:
            before = (before | failed) - {who}
            failed = set()
            assert not ours
        elif answer is not STALE and who not in before:
            failed.add(who)
        if ours:
            assert len(failed) >= 3
            assert who in failed
        elif now <= AT_ONCE and answer in (REFUSED, UNREACHED) and who in failed:
            assert len(failed) < 3
