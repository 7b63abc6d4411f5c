"""What the ledger keeps of partners' replies: counts that add up, the last one that was not understood, and until when
that warns."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, LagState, Ledger, Replies, ReplyNotices, UnclearReply, Window
from ledger.inspection import partner_states
from ledger.veiling import PLAIN, SECRET_BYTES, Sealed, Veil
from streams.events import Acknowledged, AckStatus, Act, BatchDelivered, OperatorActed, Outcome, ReplyProblem
from tests.unit.test_ledger import BY, NOON, acted, at, entry, failed, issued, partner

#: Whom an excerpt may name.
SUBJECT = "user:mata-hari"
VEILS: dict[str, Veil] = {"plain": PLAIN, "sealed": Sealed(bytes(range(SECRET_BYTES)))}


def reply(
    number: int,
    minutes: float,
    *,
    notices: int = 10,
    acknowledged: int = 0,
    not_understood: int = 0,
    problem: str | None = None,
) -> Entry:
    """What came back to the request `msg_<number>`, which is at its own offset of the log."""
    data = BatchDelivered(
        partner="p", lane=0, first_offset=number, last_offset=number, notices=notices, webhook_id=f"msg_{number}",
        attempt=1, status_code=200, duration_ms=1, delivered_at=at(minutes), acknowledged=acknowledged,
        not_understood=not_understood,
        reply_problem=None if problem is None else ReplyProblem(reason=problem, excerpt=f"<{problem} {SUBJECT}>"),
    )  # fmt: skip
    return entry("deliveries", number, f"delivered-{number}", data)


def seen(offset: int, minutes: float, name: str | None = "p", *, until: float | None = None) -> Entry:
    """An operator marks at `minutes` what came until then, or until `until` by the clock of the replies."""
    shown = minutes if until is None else until
    data = OperatorActed(act=Act.MARK_REPLIES_SEEN, by=BY, partner=name, seen_until=at(shown), acted_at=at(minutes))
    return entry("actions", offset, f"seen-{offset}", data)


def unclear(number: int, minutes: float, reason: str = "not JSON", *, is_open: bool = True) -> UnclearReply:
    return UnclearReply(at(minutes), reason, f"<{reason} {SUBJECT}>", f"msg_{number}", is_open)


@pytest.fixture(params=VEILS)
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite", veils=(VEILS[request.param],))) as opened:
        opened.apply([entry("partners", 0, "r", partner())])
        yield opened


def stands(ledger: Ledger, now: datetime = NOON) -> tuple[Replies, LagState]:
    (row,) = ledger.lag(now)
    return row.replies, row.state


#: What happened, and whether that is open then. A problem stands at minute 5.
PROBLEM = reply(0, 5, acknowledged=3, not_understood=2, problem="not JSON")
TABLE: dict[str, tuple[Sequence[Entry], bool]] = {
    "alone": ((), True),
    "a later reply was understood": ((reply(1, 6, acknowledged=1),), False),
    "a later one of which only a part was": (
        (reply(1, 6, acknowledged=1, not_understood=1, problem="not JSON"),),
        True,
    ),
    "a later one said nothing": ((reply(1, 6),), True),
    "an earlier one was understood, and read later": ((reply(1, 4, acknowledged=1),), True),
    "one at the same moment was understood": ((reply(1, 5, acknowledged=1),), True),
    "an operator saw it": ((seen(0, 6),), False),
    "at the very moment": ((seen(0, 5),), False),
    "an operator saw an earlier one, read later": ((seen(0, 4),), True),
    "by a clock that is behind": ((seen(0, 1, until=5),), False),
    "an earlier one, by a clock that is ahead": ((seen(0, 9, until=4),), True),
    "nothing was to be seen": ((acted(9, act=Act.MARK_REPLIES_SEEN, partner="p"),), True),
    "another one came since": ((seen(0, 6), reply(1, 7, problem="not JSON")), True),
    "of another partner": ((seen(0, 6, "q"),), True),
    "of no partner": ((seen(0, 6, None),), True),
    "another act": ((acted(6, act=Act.TRY, partner="p"),), True),
    "a later attempt failed": ((failed(1, 9),), True),
}


@pytest.mark.parametrize("case", TABLE)
def test_it_warns_until_a_later_reply_is_understood_or_somebody_has_seen_it(ledger: Ledger, case: str) -> None:
    then, is_open = TABLE[case]
    ledger.apply([PROBLEM])
    ledger.apply([replace(each, offset=0) if each.topic == "rescind.actions" else each for each in then])
    replies, _ = stands(ledger, at(10))
    assert replies.last_not_understood is not None
    assert (replies.last_not_understood.open, replies.unclear is not None) == (is_open, is_open)
    assert replies.not_understood == 1 + sum(
        isinstance(each.envelope.data, BatchDelivered) and each.envelope.data.reply_problem is not None
        for each in then
        if each.envelope is not None
    )


def test_the_state_says_what_was_not_understood_and_the_rest_is_told(ledger: Ledger) -> None:
    ledger.apply([PROBLEM, reply(1, 4, problem="cut"), reply(2, 3, notices=7)])
    (row,) = ledger.lag(at(10))
    assert (row.state, row.reason) == (LagState.WARN, "2 replies were not fully understood, the last: not JSON")
    assert row.replies == Replies(
        not_understood=2, notices=ReplyNotices(3, 2, 5 + 10 + 7), last_not_understood=unclear(0, 5)
    )
    ledger.apply([reply(3, 8, acknowledged=10), seen(0, 9)])
    (row,) = ledger.lag(at(10))
    assert row.state is LagState.OK
    assert row.replies == Replies(
        not_understood=2,
        notices=ReplyNotices(13, 2, 22),
        last_not_understood=unclear(0, 5, is_open=False),
        understood_at=at(8),
        seen_at=at(9),
    )


def test_who_only_says_nothing_is_not_warned_of(ledger: Ledger) -> None:
    ledger.apply([reply(number, number) for number in range(3)])
    assert stands(ledger, at(10)) == (Replies(notices=ReplyNotices(0, 0, 30)), LagState.OK)


def test_of_who_took_nothing_there_is_nothing_to_say(ledger: Ledger) -> None:
    ledger.apply([failed(0)])
    assert stands(ledger)[0] == Replies()


def test_each_request_tells_its_own_figures(ledger: Ledger) -> None:
    ledger.apply(
        [failed(0), reply(1, 5, acknowledged=3, not_understood=2, problem="cut"), reply(2, 6, acknowledged=10)]
    )
    found = ledger.closeup("p", at(10), Window.DAY)
    assert found is not None
    assert [
        (each.webhook_id, each.delivered, each.acknowledged, each.not_understood, each.unanswered)
        for each in found.attempts
    ] == [("msg_2", True, 10, 0, 0), ("msg_1", True, 3, 2, 5), ("msg_0", False, 0, 0, 0)]


@pytest.mark.parametrize("veil", VEILS)
def test_an_excerpt_is_sealed_and_stands_in_no_log(tmp_path: Path, veil: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger.open(path, veils=(VEILS[veil],))) as ledger:
        ledger.apply([entry("partners", 0, "r", partner()), reply(0, 5, problem=f"`{SUBJECT}` is no status")])
        assert stands(ledger)[0].last_not_understood == unclear(0, 5, f"`{SUBJECT}` is no status")
        raw = b"".join(each.read_bytes() for each in tmp_path.iterdir())
        exported = b"".join(ledger.export())
    assert [SUBJECT.encode() in each for each in (raw, exported)] == [veil == "plain"] * 2
    # Who looks after a ledger need not have its key.
    reason = partner_states(path, at(10))["p"].reason
    assert (
        reason
        == {
            "plain": f"1 reply was not fully understood: `{SUBJECT}` is no status",
            "sealed": "1 reply was not fully understood: (sealed)",
        }[veil]
    )
    assert SUBJECT not in caplog.text


def test_an_unknown_outcome_is_told_plainly(ledger: Ledger) -> None:
    def said(offset: int, code: str | None) -> Entry:
        data = Acknowledged(
            notice_id="n-p-1", partner="p", subject="user:1", status=AckStatus.COMPLETED, outcome=Outcome.UNKNOWN,
            code=code, occurred_at=at(1), via="reply",
        )  # fmt: skip
        return entry("acknowledgements", offset, f"a-{offset}", data, time=at(offset + 1))

    ledger.apply([issued(0, 1), said(0, "anonymized"), said(1, None)])
    told = [each.summary for each in ledger.timeline("user:1") if each.kind == "acknowledged"]
    assert told == [
        'p says completed with an outcome that we do not know: "anonymized"; it completes nothing.',
        "p says completed with an outcome that we do not know; it completes nothing.",
    ]
    assert ledger.notices(["n-p-1"])["n-p-1"].completed_at is None


# -- in any order


@st.composite
def happenings(draw: st.DrawFn) -> list[Entry]:
    """Replies and acts at few moments, so that some are at the same one."""
    minutes = st.integers(0, 4)
    found = []
    for number in range(draw(st.integers(1, 7))):
        notices = draw(st.integers(0, 5))
        acknowledged = draw(st.integers(0, notices))
        not_understood = draw(st.integers(0, notices - acknowledged))
        problem = f"why {number}" if not_understood or draw(st.booleans()) else None
        found.append(
            reply(
                number,
                draw(minutes),
                notices=notices,
                acknowledged=acknowledged,
                not_understood=not_understood,
                problem=problem,
            )
        )
    return found + [seen(number, draw(minutes)) for number in range(draw(st.integers(0, 2)))]


def modelled(entries: Sequence[Entry]) -> Replies:
    """What there is to say of them, by a look at all of them."""
    events = [each.envelope.data for each in entries if each.envelope is not None]
    said = [each for each in events if isinstance(each, BatchDelivered)]
    acts = [each.acted_at for each in events if isinstance(each, OperatorActed)]
    problems = sorted((each.delivered_at, each.webhook_id, each) for each in said if each.reply_problem is not None)
    understood = [each.delivered_at for each in said if each.reply_problem is None and each.acknowledged]
    counts = [(each.acknowledged, each.not_understood) for each in said]
    taken = sum(each.notices for each in said)
    acknowledged, not_understood = (sum(column) for column in zip(*counts, strict=True))
    last = None
    if problems:
        when, webhook_id, each = problems[-1]
        assert each.reply_problem is not None
        over = any(later > when for later in understood) or any(act >= when for act in acts)
        last = UnclearReply(when, each.reply_problem.reason, each.reply_problem.excerpt, webhook_id, not over)
    return Replies(
        len(problems),
        ReplyNotices(acknowledged, not_understood, taken - acknowledged - not_understood),
        last,
        max(understood, default=None),
        max(acts, default=None),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), happenings())
def test_in_any_order_and_however_often(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, entries: list[Entry]
) -> None:
    """As if each came by a lane and a log of its own, and some once more after a crash."""
    order = data.draw(st.permutations(entries))
    repeated = data.draw(st.lists(st.sampled_from(entries), max_size=3))
    ends = dict.fromkeys(("rescind.deliveries", "rescind.actions"), 0)
    path = tmp_path_factory.mktemp("ledgers") / "ledger.sqlite"
    with closing(Ledger.open(path)) as ledger:
        ledger.apply([entry("partners", 0, "r", partner())])
        for each in [*order, *repeated]:
            ledger.apply([replace(each, offset=ends[each.topic])])
            ends[each.topic] += 1
        assert stands(ledger)[0] == modelled(entries)
        found = ledger.closeup("p", NOON, Window.DAY)
    assert found is not None
    for attempt in found.attempts:
        assert attempt.acknowledged + attempt.not_understood + attempt.unanswered == attempt.notices
