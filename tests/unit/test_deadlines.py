"""The deadlines agents over real ledgers, a log in memory and a time that the test owns."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.alerting import Message, Outcome
from agents.deadlines import GRACE, Deadlines
from ledger import Ledger, alarms
from ledger.watching import Reached
from streams.cloudevents import Envelope
from streams.deadlines import Deadline, DeadlineReached, EscalationClaimed, EscalationEnded, Step, Told
from streams.errors import LedgerBehind
from streams.escalations import Rule, rules
from streams.events import Acknowledged, AckStatus, BatchDelivered, Notice, NoticesIssued, PartnerChanged
from streams.events import (
    Outcome as Answer,
)
from streams.kinds import Action
from streams.records import Position, Record, TopicPartition, record
from streams.topics import ACKNOWLEDGEMENTS, DEADLINES, DELIVERIES, NOTICES, PARTNERS
from tests.unit.fakes import partner
from tests.unit.gateway.harness import NOON, MemoryLog, TestClock, at
from tests.unit.test_ledger import dump

RECEIVE, COMPLETE, EXTENDED = Deadline.RECEIVE, Deadline.COMPLETE, Deadline.EXTENDED


@dataclass
class FakeAlerts:
    """Operators who are told, or not."""

    outcomes: list[Outcome] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    async def tell(self, rule: Rule, message: Message) -> Outcome:
        self.ids.append(message.id)
        self.told.append((rule.target, message.title, message.text))
        await asyncio.sleep(0)
        return self.outcomes.pop(0) if self.outcomes else Outcome(Told.SENT)


class Scene:
    """Two ledgers of one log. Notices are to be received after 100 minutes, and completed after 1,000."""

    def __init__(self, directory: Path) -> None:
        self.clock = TestClock()
        self.log = MemoryLog(self.clock)
        self.alerts = FakeAlerts()
        self.numbers = itertools.count(1)
        self.ledgers = [Ledger.open(directory / f"{name}.sqlite") for name in ("a", "b")]
        for ledger in self.ledgers:
            self.log.project_into(ledger)
        self.registered("p")

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()

    def deadlines(self, which: int = 0, log: Any = None) -> Deadlines:
        """As after a start."""
        return Deadlines(
            log or self.log, self.ledgers[which], self.clock, lambda: f"id-{next(self.numbers)}", self.alerts
        )

    def happened(self, topic: str, data: Any, partition: int | None = None) -> None:
        self.log.put([record(topic, Envelope(f"e-{next(self.numbers)}", self.clock.now, data), partition)])

    def registered(self, name: str, **changes: Any) -> None:
        fields = {"status": "active", "revision": 1, **changes}
        self.happened(PARTNERS.name, PartnerChanged.model_validate(partner(name).model_dump() | fields))

    def issued(self, *numbers: int, name: str = "p", **changes: Any) -> None:
        notices = tuple(
            Notice.model_validate(
                {
                    "id": f"n{number}", "cause_id": "c", "toggle_id": "t", "action": Action.ERASE,
                    "subject": f"user:{number}", "purpose": "ai", "occurred_at": NOON, "issued_at": NOON,
                    "receive_by": at(100), "complete_by": at(1000),
                } | changes
            )
            for number in numbers
        )  # fmt: skip
        self.happened(NOTICES.name, NoticesIssued(partner=name, lane=0, notices=notices), 0)

    def delivered(self, first: int, last: int) -> None:
        data = BatchDelivered(
            partner="p", lane=0, first_offset=first, last_offset=last, notices=1, webhook_id=f"m{first}-{last}",
            attempt=1, status_code=200, duration_ms=1, delivered_at=self.clock.now,
        )  # fmt: skip
        self.happened(DELIVERIES.name, data)

    def answered(self, number: int, status: AckStatus = AckStatus.COMPLETED, **fields: Any) -> None:
        outcome = Answer.DELETED if status is AckStatus.COMPLETED else None
        data = Acknowledged(
            notice_id=f"n{number}", partner="p", subject=f"user:{number}", status=status, outcome=outcome,
            occurred_at=self.clock.now, via="api", **fields,
        )  # fmt: skip
        self.happened(ACKNOWLEDGEMENTS.name, data)

    async def look(self, minutes: float, which: int = 0) -> None:
        self.clock.now = at(minutes) + GRACE
        await self.deadlines(which).look()

    async def escalate(self, text: str, minutes: float, which: int = 0) -> None:
        self.clock.now = at(minutes) + GRACE
        await self.deadlines(which).escalate(rules(text), 3600)

    def told(self) -> list[tuple[Deadline, Step, tuple[str, ...]]]:
        found = [event.data for event in self.log.events(DEADLINES.name)]
        return [(data.deadline, data.step, data.notices) for data in found if isinstance(data, DeadlineReached)]

    def reminders(self) -> list[tuple[tuple[str, int | None], ...]]:
        """Of each pack of reminders, which reminders they are."""
        packs = [event.data for event in self.log.events(NOTICES.name)]
        return [
            tuple((each.id, each.reminder) for each in pack.notices)
            for pack in packs
            if isinstance(pack, NoticesIssued) and pack.again is not None
        ]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


# -- what the log is told


async def test_a_notice_that_is_not_taken_is_at_risk_and_then_late(scene: Scene) -> None:
    scene.issued(1)
    for minutes in (79.9, 80, 81, 99.9, 100, 101):
        await scene.look(minutes)
    assert scene.told() == [(RECEIVE, Step.AT_RISK, ("n1",)), (RECEIVE, Step.BREACHED, ("n1",))]


async def test_a_notice_that_is_not_completed_goes_through_all_steps_once(scene: Scene) -> None:
    scene.issued(1)
    scene.delivered(0, 0)
    for minutes in range(0, 1200, 50):
        await scene.look(minutes, which=minutes // 50 % 2)
    assert scene.told() == [
        (COMPLETE, step, ("n1",)) for step in (Step.REMINDER_1, Step.AT_RISK, Step.REMINDER_2, Step.BREACHED)
    ]
    assert scene.reminders() == [(("n1", 1),), (("n1", 2),)]


async def test_a_reminder_says_how_far_it_was_checked_for_reversals(scene: Scene) -> None:
    scene.issued(1)
    scene.issued(2)
    scene.delivered(0, 1)
    await scene.look(600)
    packs = [event.data for event in scene.log.events(NOTICES.name)]
    assert [pack.checked for pack in packs if isinstance(pack, NoticesIssued)] == [None, None, 2]


async def test_one_that_was_answered_comes_to_no_step(scene: Scene) -> None:
    scene.issued(1, 2)
    scene.delivered(0, 0)
    scene.answered(1)
    scene.answered(2, AckStatus.IN_PROGRESS, expected_by=at(5000))
    await scene.look(1000)
    assert scene.told() == [(COMPLETE, Step.BREACHED, ("n2",))]


async def test_what_was_told_in_time_is_no_breach_though_it_comes_a_moment_later(scene: Scene) -> None:
    scene.issued(1)
    scene.delivered(0, 0)
    scene.clock.now = at(1000)
    await scene.deadlines().look()
    scene.answered(1)
    await scene.look(1000)
    assert Step.BREACHED not in [step for _, step, _ in scene.told()]


async def test_many_are_told_together_and_each_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.deadlines._PAGE", 700)
    for start in range(0, 2400, 800):
        scene.issued(*range(start, start + 800))
    scene.registered("q")
    scene.issued(5000, name="q")
    await asyncio.gather(*(scene.deadlines(which).look() for which in (0, 1)))
    assert scene.told() == []
    scene.clock.now = at(100) + GRACE
    await scene.deadlines().look()
    told = [(len(notices), step) for _, step, notices in scene.told()]
    assert told == [(700, Step.BREACHED)] * 3 + [(300, Step.BREACHED), (1, Step.BREACHED)]
    assert len({each for *_, notices in scene.told() for each in notices}) == 2401


async def test_two_ledgers_at_once_count_a_breach_once(scene: Scene) -> None:
    scene.issued(1, 2)
    scene.clock.now = at(100) + GRACE
    scene.log.projecting = False
    looks = [asyncio.ensure_future(scene.deadlines(which).look()) for which in (0, 1)]
    await asyncio.gather(*looks)
    assert len(scene.told()) == 2
    scene.log.project()
    counts, _ = scene.ledgers[0].deadlines_told()
    assert counts == {("p", RECEIVE, Step.BREACHED): 2}
    assert len({event.id for event in scene.log.events(DEADLINES.name)}) == 1


async def test_a_ledger_that_is_behind_says_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.looking._CATCH_UP", 0.0)
    scene.issued(1)
    scene.log.projecting = False
    scene.answered(1)
    with pytest.raises(LedgerBehind):
        await scene.look(1000)
    assert scene.told() == []


async def test_an_extended_deadline_has_its_own_steps(scene: Scene) -> None:
    scene.issued(1, extended_complete_by=at(2000), watch={"at_risk": 0.8, "remind": []})
    scene.delivered(0, 0)
    await scene.look(800)
    scene.answered(1, AckStatus.IN_PROGRESS, extend=True, detail="many copies")
    for minutes in (1000, 1599, 1600, 1999, 2000, 3000):
        await scene.look(minutes)
    assert [(deadline, step) for deadline, step, _ in scene.told()] == [
        (COMPLETE, Step.AT_RISK), (EXTENDED, Step.AT_RISK), (EXTENDED, Step.BREACHED)
    ]  # fmt: skip


# -- reminders


async def test_only_what_was_delivered_and_counts_still_is_reminded_of(scene: Scene) -> None:
    scene.issued(1)
    scene.issued(2, subject="user:9")
    scene.delivered(0, 1)
    scene.issued(3)
    scene.issued(4, subject="user:9", action=Action.RESUME, issued_at=at(1))
    await scene.look(500)
    deadline, step, notices = scene.told()[-1]
    assert (deadline, step, set(notices)) == (COMPLETE, Step.REMINDER_1, {"n1", "n2", "n3"})
    assert scene.reminders() == [(("n1", 1),)]


async def test_a_partner_that_is_held_is_not_reminded(scene: Scene) -> None:
    scene.issued(1)
    scene.delivered(0, 0)
    scene.registered("p", status="paused", revision=2)
    await scene.look(500)
    assert scene.reminders() == []


async def test_two_ledgers_at_once_remind_once(scene: Scene) -> None:
    scene.issued(*range(10))
    scene.delivered(0, 0)
    scene.clock.now = at(500) + GRACE
    scene.log.projecting = False
    looks = [asyncio.ensure_future(scene.deadlines(which).look()) for which in (0, 1)]
    while len(scene.told()) < 2:
        await asyncio.sleep(0.001)
    scene.log.projecting = True
    scene.log.project()
    await asyncio.gather(*looks)
    assert scene.reminders() == [tuple((f"n{number}", 1) for number in range(10))]


async def test_a_choice_that_comes_meanwhile_is_said_behind_the_reminder(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.issued(1)
    scene.delivered(0, 0)
    ledger = scene.ledgers[0]
    to_remind = ledger.to_remind

    def meanwhile(*given: Any) -> Any:
        found = to_remind(*given)
        scene.issued(2, subject="user:1", action=Action.RESUME, issued_at=at(400))
        return found

    monkeypatch.setattr(ledger, "to_remind", meanwhile)
    await scene.look(500)
    assert scene.reminders() == [(("n1", 1),), (("n2", None),)]


async def test_the_timeline_tells_of_it(scene: Scene) -> None:
    scene.issued(1)
    scene.delivered(0, 0)
    for minutes in (500, 800, 900, 1000):
        await scene.look(minutes)
    await scene.escalate("breached=https://a.example/secret", 1000)
    scene.alerts.outcomes = [Outcome(Told.UNSURE, "no answer in time")]
    await scene.escalate("breached=mailto:ops@a.example", 1000.1)
    for ledger in scene.ledgers:
        told = [(each.kind, each.summary) for each in ledger.timeline("user:1")][2:]
        assert told == [
            ("reminded", "p is reminded to stop and delete."),
            ("at_risk", "p must complete it soon."),
            ("reminded", "p is reminded to stop and delete."),
            ("breached", "p did not complete it in time."),
            ("escalated", "Operators were told of p, by webhook at a.example."),
            ("escalated", "Operators were maybe told of p, by mail to ops@a.example."),
        ]


# -- operators

HOOK = "https://hooks.example/s3cret"


async def test_operators_are_told_how_many_and_no_subject(scene: Scene) -> None:
    scene.issued(1, 2, 3)
    await scene.look(80)
    await scene.escalate(f"at_risk={HOOK} breached={HOOK}", 80)
    await scene.look(100)
    scene.answered(1)
    await scene.escalate(f"at_risk={HOOK} breached={HOOK}", 100)
    assert scene.alerts.told == [
        (HOOK, "p: 3 notices will soon be past receive-by",
         "The next deadline is at 2026-01-01T13:40:00Z. See `rescind status`, or the dashboard."),
        (HOOK, "p: 2 notices past receive-by",
         "New since the last message: 3. The oldest was due at 2026-01-01T13:40:00Z. See `rescind status`, or the"
         " dashboard."),
    ]  # fmt: skip
    stored = b"".join(item.value or b"" for item in scene.log.records if item.topic == DEADLINES.name)
    assert b"s3cret" not in stored
    assert b"user:" not in stored


async def test_nobody_is_told_twice_and_news_wait_for_the_next_hour(scene: Scene) -> None:
    scene.issued(1)
    scene.issued(2, receive_by=at(110))
    await scene.look(100)
    for which in (0, 1, 0):
        await scene.escalate(f"breached={HOOK}", 100, which)
    await scene.look(110)
    await scene.escalate(f"breached={HOOK}", 110)
    assert [title for _, title, _ in scene.alerts.told] == ["p: 1 notice past receive-by"]
    for _ in range(2):
        await scene.escalate(f"breached={HOOK}", 125)
    assert [title for _, title, _ in scene.alerts.told][1:] == ["p: 2 notices past receive-by"]


async def test_each_partner_clock_and_rule_has_messages_of_its_own(scene: Scene) -> None:
    scene.registered("q")
    scene.issued(1)
    scene.issued(2, name="q")
    scene.issued(3, complete_by=at(90))
    await scene.look(100)
    await scene.escalate(f"breached={HOOK} breached=mailto:ops@a.example", 100)
    titles = sorted((target[:6], title) for target, title, _ in scene.alerts.told)
    assert titles == [
        (way, title)
        for way in ("https:", "mailto")
        for title in ("p: 1 notice past complete-by", "p: 2 notices past receive-by", "q: 1 notice past receive-by")
    ]
    assert len(set(scene.alerts.ids)) == 6


async def test_what_is_late_for_hours_is_told_to_somebody_else_if_it_still_is(scene: Scene) -> None:
    scene.issued(1, 2)
    await scene.look(100)
    rule = "breached+PT4H=mailto:boss@a.example"
    await scene.escalate(rule, 339)
    assert scene.alerts.told == []
    scene.answered(1)
    await scene.escalate(rule, 341)
    assert [title for _, title, _ in scene.alerts.told] == ["p: 1 notice past receive-by, 4 h and more"]
    await scene.escalate(rule, 500)
    assert len(scene.alerts.told) == 1


async def test_what_was_settled_meanwhile_is_told_to_nobody(scene: Scene) -> None:
    scene.issued(1)
    await scene.look(100)
    scene.answered(1)
    await scene.escalate(f"breached={HOOK} breached+PT4H={HOOK}", 500)
    assert scene.alerts.told == []


@pytest.mark.parametrize(("outcome", "times"), [(Told.FAILED, 2), (Told.UNSURE, 1), (Told.SENT, 1)])
async def test_what_nobody_got_is_told_again_in_the_next_hour(scene: Scene, outcome: Told, times: int) -> None:
    scene.issued(1)
    await scene.look(100)
    scene.alerts.outcomes = [Outcome(outcome, "refused")]
    for minutes in (100, 101, 119, 121, 122, 181):
        await scene.escalate(f"breached={HOOK}", minutes)
    assert len(scene.alerts.told) == times
    ended = [each.data for each in scene.log.events(DEADLINES.name) if isinstance(each.data, EscalationEnded)]
    assert [each.outcome for each in ended] == [outcome, Told.SENT][:times]
    _, counts = scene.ledgers[1].deadlines_told()
    assert sum(count for name, count in counts.items() if name != "claimed") == counts["claimed"] == times


async def test_a_server_that_is_down_is_left_in_peace_and_holds_up_nobody(scene: Scene) -> None:
    scene.registered("q")
    scene.issued(1)
    scene.issued(2, name="q")
    await scene.look(100)
    down = "https://down.example/"

    class Alerts(FakeAlerts):
        async def tell(self, rule: Rule, message: Message) -> Outcome:
            await super().tell(rule, message)
            return Outcome(Told.FAILED if rule.target == down else Told.SENT)

    scene.alerts = Alerts()
    await scene.escalate(f"breached={down} breached={HOOK}", 100)
    targets = [target for target, *_ in scene.alerts.told]
    assert (targets.count(down), targets.count(HOOK)) == (1, 2)


class Slow(FakeAlerts):
    """Operators whose server takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def tell(self, rule: Rule, message: Message) -> Outcome:
        self.asked.set()
        await self.answer.wait()
        return await super().tell(rule, message)


async def stopped_while_telling(scene: Scene) -> tuple[Slow, asyncio.Task[None]]:
    """Somebody who tells operators of a breach, is not answered yet, and is stopped."""
    scene.issued(1)
    await scene.look(100)
    scene.alerts = alerts = Slow()
    telling = asyncio.create_task(scene.escalate(f"breached={HOOK}", 100))
    await alerts.asked.wait()
    telling.cancel()
    return alerts, telling


async def test_a_stop_waits_for_a_message_that_is_being_sent(scene: Scene) -> None:
    alerts, telling = await stopped_while_telling(scene)
    await asyncio.sleep(0)
    alerts.answer.set()
    with pytest.raises(asyncio.CancelledError):
        await telling
    ended = [each.data for each in scene.log.events(DEADLINES.name) if isinstance(each.data, EscalationEnded)]
    assert (len(alerts.told), [each.outcome for each in ended]) == (1, [Told.SENT])


async def test_a_stop_does_not_wait_for_ever(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.escalating._LAST", 0.01)
    alerts, telling = await stopped_while_telling(scene)
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert alerts.told == []


# -- crashes


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A log under whose feet the process dies, at its `at`th call: before the call does anything, or after it."""

    def __init__(self, log: MemoryLog, at: int, *, after: bool) -> None:
        self._log = log
        self._left = at
        self._after = after

    async def _call(self, work: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        result = await work()
        if self._left == 0:
            raise Killed
        return result

    async def append(self, records: Sequence[Record]) -> list[Position]:
        found: list[Position] = await self._call(lambda: self._log.append(records))
        return found

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = await self._call(lambda: self._log.end_offsets(topic))
        return found

    async def partitions(self, topic: str) -> int:
        return await self._log.partitions(topic)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 5))
async def test_wherever_it_dies_operators_are_told_once_at_most(scene: Scene, call: int, after: bool) -> None:
    """Of an escalation's calls, 1 looks, 2 claims, 3 says what came of it."""
    scene.issued(1)
    await scene.look(100)
    dying = Dying(scene.log, call, after=after)
    with suppress(Killed):
        await scene.deadlines(0, dying).escalate(rules(f"breached={HOOK}"), 3600)
    for which in (0, 1):
        await scene.escalate(f"breached={HOOK}", 100, which)
    await scene.escalate(f"breached={HOOK}", 400)
    claims = [each.data for each in scene.log.events(DEADLINES.name) if isinstance(each.data, EscalationClaimed)]
    assert len({each.escalation for each in claims}) == 1
    assert len(scene.alerts.told) == (0 if (call, after) == (2, True) else 1)


async def test_who_dies_while_operators_are_told_does_not_tell_them_again(scene: Scene) -> None:
    scene.issued(1)
    await scene.look(100)

    class Deadly(FakeAlerts):
        async def tell(self, rule: Rule, message: Message) -> Outcome:
            await super().tell(rule, message)
            raise Killed

    scene.alerts = alerts = Deadly()
    with pytest.raises(Killed):
        await scene.escalate(f"breached={HOOK}", 100)
    scene.alerts = FakeAlerts()
    for minutes in (100, 400):
        await scene.escalate(f"breached={HOOK}", minutes, which=1)
    assert (len(alerts.told), scene.alerts.told) == (1, [])


async def test_two_ledgers_at_once_tell_operators_once(scene: Scene) -> None:
    scene.issued(1)
    await scene.look(100)
    scene.log.projecting = False
    both = [asyncio.ensure_future(scene.deadlines(which).escalate(rules(f"breached={HOOK}"), 3600)) for which in (0, 1)]
    while sum(isinstance(each.data, EscalationClaimed) for each in scene.log.events(DEADLINES.name)) < 2:
        await asyncio.sleep(0.001)
    scene.log.projecting = True
    scene.log.project()
    await asyncio.gather(*both)
    assert len(scene.alerts.told) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(1, 12))
async def test_wherever_it_dies_a_partner_is_reminded_once_at_most(scene: Scene, call: int, after: bool) -> None:
    """And nothing that is late goes untold."""
    scene.issued(1, 2)
    scene.delivered(0, 0)
    scene.issued(3)
    scene.clock.now = at(500) + GRACE
    with suppress(Killed):
        await scene.deadlines(0, Dying(scene.log, call, after=after)).look()
    for which in (0, 1):
        await scene.look(500, which)
    assert len(scene.reminders()) <= 1
    counts, _ = scene.ledgers[1].deadlines_told()
    assert counts == {("p", RECEIVE, Step.BREACHED): 1, ("p", COMPLETE, Step.REMINDER_1): 3}


# -- a ledger that is rebuilt


async def test_every_order_of_reading_ends_alike(scene: Scene, tmp_path: Path) -> None:
    scene.issued(1, 2, extended_complete_by=at(2000))
    scene.delivered(0, 0)
    for minutes in (500, 800, 900):
        await scene.look(minutes)
    scene.answered(1, AckStatus.IN_PROGRESS, extend=True, detail="many copies")
    for minutes in (1000, 2000):
        await scene.look(minutes)
        await scene.escalate(f"at_risk={HOOK} breached={HOOK}", minutes)
    entries = scene.log._entries
    expected = dump(tmp_path / "a.sqlite")
    topics = [NOTICES.name, DEADLINES.name, ACKNOWLEDGEMENTS.name, DELIVERIES.name, PARTNERS.name]
    for number, order in enumerate(itertools.permutations(topics)):
        path = tmp_path / f"order-{number}.sqlite"
        ledger = Ledger.open(path)
        for topic in order:
            ledger.apply([each for each in entries if each.topic == topic])
        assert dump(path) == expected, order
        ledger.close()


# -- what it costs


def test_no_question_looks_at_all_notices(scene: Scene) -> None:
    connection = scene.ledgers[0]._connection
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    database = scene.ledgers[0]._writer
    scene.issued(1)
    seen.clear()
    alarms.due(database, at(5000), (0, 0), 10)
    alarms.to_remind(database, ["n1"], Reached(COMPLETE, Step.REMINDER_1), "e")
    for step in (Step.AT_RISK, Step.BREACHED):
        for which in (RECEIVE, COMPLETE):
            alarms._standing(database, "p", which, step, 0)
    connection.set_trace_callback(None)
    plans = [[row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in seen]
    assert len([plan for plan in plans if plan]) == 7
    steps = [step for plan in plans for step in plan]
    assert any("USING INDEX notices_wake (wake_at" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]
    assert sum("action=?" in step for step in steps) == 6, "and each action is sought by itself"
