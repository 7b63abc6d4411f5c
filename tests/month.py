"""A month of a platform and its partners, without HTTP and without waiting: users toggle, the pure parts decide and
pack, simulated partners take, refuse, answer, lose and repeat. All of it goes into a log in memory.

What users did and what partners took and said is kept besides, as they would tell it themselves: so a model can be
made that knows nothing of decisions, packs, and ledgers.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from agents.consent import States, take
from agents.packing import pack
from agents.poison import Received
from ledger import Entry
from streams import ids
from streams.cloudevents import Envelope
from streams.events import (
    Acknowledged,
    AcknowledgedItem,
    AckStatus,
    Actor,
    Again,
    BatchDelivered,
    BatchFailed,
    ConsentToggled,
    Data,
    Failing,
    Notice,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    Outcome,
    PartnerRegistered,
    RefusalReason,
    ReplyAcknowledged,
    SealedSecret,
)
from streams.kinds import Action, Choice
from streams.partitioning import partition_of
from streams.records import TopicPartition
from streams.signing import Scheme
from streams.topics import ACKNOWLEDGEMENTS, DECISIONS, DELIVERIES, NOTICES, PARTNERS, TOGGLES, UNDELIVERABLE

START = datetime(2026, 1, 1, tzinfo=UTC)
_BY = Actor(key="retries", role="service")
END = START + timedelta(days=30)
KINDS = ("user", "blog")
#: How many purposes there are for each partner: every purpose has five, of which one hears of one kind only.
PARTNERS_OF_A_PURPOSE = 5
DONE = {Action.ERASE: Outcome.DELETED, Action.STOP: Outcome.SUPPRESSED, Action.RESUME: Outcome.RESUMED}
SPREAD = {spec.name: spec.partitions for spec in (TOGGLES, DECISIONS, DELIVERIES, ACKNOWLEDGEMENTS)}


class Habit(StrEnum):
    PROMPT = "prompt"  #: takes at once, and says in its reply that all is done
    LATER = "later"  #: says that it received, that it works on it, and after days that it is done
    REFUSING = "refusing"  #: refuses a third, with a reason
    FLAKY = "flaky"  #: fails first, for hours; and says everything twice
    LOSING = "losing"  #: half of its answers are lost
    SILENT = "silent"  #: takes, and never says a word
    DOWN = "down"  #: takes nothing any more from the twentieth day on
    PICKY = "picky"  #: its endpoint refuses one notice in ten for good
    CONTRARY = "contrary"  #: says one thing, and later another
    CONFUSED = "confused"  #: answers others' notices, and something else than it was asked


@dataclass(frozen=True)
class Toggled:
    """What a user did, and when it was accepted."""

    at: datetime
    id: str
    toggle: ConsentToggled


@dataclass(frozen=True)
class Said:
    """What a partner said, in the order in which it did."""

    at: datetime
    by: str
    notice: str
    status: AckStatus
    outcome: Outcome | None
    reason: RefusalReason | None


@dataclass
class Month:
    """The log by topic and partition, and what users and partners know of themselves."""

    log: dict[tuple[str, int], list[Entry]] = field(default_factory=lambda: defaultdict(list))
    partners: dict[str, PartnerRegistered] = field(default_factory=dict)
    toggled: list[Toggled] = field(default_factory=list)
    #: Every notice that was put into a lane.
    issued: dict[str, tuple[str, Notice]] = field(default_factory=dict)
    #: When a partner's endpoint took a notice, and when it refused it for good.
    taken: dict[str, datetime] = field(default_factory=dict)
    rejected: dict[str, datetime] = field(default_factory=dict)
    #: When it parked one.
    parked: dict[str, datetime] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)

    def append(self, topic: str, key: str | int, identity: str, data: Data, at: datetime) -> int:
        """`key`, or a partition. The offset."""
        partition = key if isinstance(key, int) else partition_of(key.encode(), SPREAD[topic])
        entries = self.log[topic, partition]
        entries.append(Entry(topic, partition, len(entries), at, Envelope(identity, at, data)))
        return len(entries) - 1

    @property
    def size(self) -> int:
        return sum(map(len, self.log.values()))

    def read(
        self, chance: random.Random, most: int = 500, begin: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[list[Entry]]:
        """All of it, or all from some offsets on, in batches: each partition in its order, and now this one ahead, now
        that one."""
        starts = begin or {}
        rest = {
            place: itertools.islice(entries, starts.get(TopicPartition(*place), 0), None)
            for place, entries in self.log.items()
        }
        while rest:
            batch: list[Entry] = []
            for place in chance.sample(sorted(rest), min(len(rest), chance.randint(1, 4))):
                some = list(itertools.islice(rest[place], chance.randint(1, most)))
                batch += some
                if not some:
                    del rest[place]
            yield batch


def simulated(seed: int, *, partners: int, subjects: int, toggles: int) -> Month:
    """A month in which so many toggles come from so many subjects."""
    simulation = _Simulation(seed, partners, subjects)
    simulation.run(toggles)
    return simulation.month


class _Simulation:
    def __init__(self, seed: int, partners: int, subjects: int) -> None:
        self.month = Month()
        self._chance = random.Random(seed)
        self._purposes = [f"purpose-{number}" for number in range(max(1, partners // PARTNERS_OF_A_PURPOSE))]
        self._subjects = [f"{KINDS[number % 2]}:{number}" for number in range(subjects)]
        self._habits: dict[str, Habit] = {}
        self._states: States = {}
        #: What is still to happen.
        self._agenda: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._numbers = itertools.count()
        #: Until when a lane is busy with what stands before.
        self._busy: dict[int, datetime] = {}
        for number in range(partners):
            self._register(number)

    def _register(self, number: int) -> None:
        name = f"partner-{number:03d}"
        habit = list(Habit)[number % len(Habit)]
        wide = number % 7 == 0
        partner = PartnerRegistered(
            id=name,
            name=name,
            url="https://partner.example/",
            purposes=(self._purposes[number // PARTNERS_OF_A_PURPOSE % len(self._purposes)],),
            subject_kinds=("blog",) if number % PARTNERS_OF_A_PURPOSE == 4 else (),
            lane=2 * number,
            more_lanes=(2 * number + 1,) if wide else (),
            batch_size=1 + number % 9,
            receive_within=(12 + number % 24) * 3600,
            complete_within=(2 + number % 12) * 86_400,
            secrets=(SealedSecret(scheme=Scheme.V1, sealed="x"),),
            created_at=START,
            updated_at=START,
        )
        self._habits[name] = habit
        self.month.partners[name] = partner
        self.month.append(PARTNERS.name, 0, f"registered-{name}", partner, START)

    # -- time

    def _later(self, at: datetime, do: Callable[[datetime], None]) -> None:
        if at < END:
            heapq.heappush(self._agenda, (at, next(self._numbers), do))

    def run(self, toggles: int) -> None:
        for number in range(toggles):
            self._later(START + (END - START) * (number + self._chance.random()) / toggles, self._toggle)
        while self._agenda:
            at, _, do = heapq.heappop(self._agenda)
            do(at)

    def _after(self, at: datetime, *, hours: float) -> datetime:
        """Within twice as many hours, to the microsecond."""
        return at + timedelta(microseconds=self._chance.randrange(int(hours * 7_200_000_000)) + 1)

    # -- users

    def _toggle(self, at: datetime) -> None:
        chance = self._chance
        if self.month.toggled and chance.random() < 0.03:
            again = chance.choice(self.month.toggled)  # a platform that got no answer
            self._accept(Toggled(at, again.id, again.toggle))
            return
        late = timedelta(days=chance.choice([0, 0, 0, 0, 3]) * chance.random())
        number = int(len(self._subjects) * chance.random() ** 3)  # some toggle a lot, back and forth
        toggle = ConsentToggled(
            subject=self._subjects[number],
            purpose=self._purposes[(number + chance.randrange(2)) % len(self._purposes)],
            choice=chance.choice([Choice.OPT_OUT, Choice.OPT_OUT, Choice.OPT_IN]),
            occurred_at=at - late,
            retroactive=chance.random() < 0.7,
        )
        self._accept(Toggled(at, f"toggle-{len(self.month.toggled)}", toggle))

    def _accept(self, toggled: Toggled) -> None:
        self.month.toggled.append(toggled)
        subject = toggled.toggle.subject
        offset = self.month.append(TOGGLES.name, subject, toggled.id, toggled.toggle, toggled.at)
        received = Received(
            Envelope(toggled.id, toggled.at, toggled.toggle), TOGGLES.name, partition_of(subject.encode(), 8), offset,
            toggled.at,
        )  # fmt: skip
        changes, decisions = take(self._states, [received])
        self._states |= changes
        for decision in decisions:
            self.month.append(DECISIONS.name, subject, decision.id, decision.data, toggled.at)
        for envelope in pack(decisions, list(self.month.partners.values())):
            assert isinstance(envelope.data, NoticesIssued)
            self._issue(envelope.id, envelope.data, toggled.at)

    # -- partners

    def _issue(self, identity: str, data: NoticesIssued, at: datetime) -> None:
        for notice in data.notices:
            self.month.issued[notice.id] = (data.partner, notice)
        offset = self.month.append(NOTICES.name, data.lane, identity, data, at)
        habit = self._habits[data.partner]
        begin = max(at, self._busy.get(data.lane, at))
        if habit is Habit.DOWN and begin > START + timedelta(days=20):
            self._busy[data.lane] = END
            self._later(begin + timedelta(hours=1), partial(self._fail, data, offset, 1))
            return
        for attempt in range(1, 4 if habit is Habit.FLAKY and self._chance.random() < 0.3 else 1):
            begin = self._after(begin, hours=2 * attempt)
            self._later(begin, partial(self._fail, data, offset, attempt))
        begin = self._busy[data.lane] = self._after(begin, hours=0.01)
        self._later(begin, partial(self._take, data, offset))

    def _fail(self, data: NoticesIssued, offset: int, attempt: int, now: datetime) -> None:
        failed = BatchFailed(
            partner=data.partner, lane=data.lane, first_offset=offset, last_offset=offset, notices=len(data.notices),
            webhook_id=ids.webhook_id(data.lane, offset), attempt=attempt, status_code=503, error="HTTP 503",
            duration_ms=1, failed_at=now, next_attempt_at=now + timedelta(hours=1),
        )  # fmt: skip
        identity = ids.derive("failed", str(data.lane), str(offset), str(attempt))
        self.month.append(DELIVERIES.name, data.partner, identity, failed, now)

    def _take(self, data: NoticesIssued, offset: int, now: datetime) -> None:
        habit = self._habits[data.partner]
        refused = [each for each in data.notices if habit is Habit.PICKY and self._chance.random() < 0.1]
        taken = [each for each in data.notices if each not in refused]
        for notice in refused:
            self._leave(data, notice, offset, now)
        delivered = BatchDelivered(
            partner=data.partner, lane=data.lane, first_offset=offset, last_offset=offset, notices=len(data.notices),
            webhook_id=ids.webhook_id(data.lane, offset), attempt=1, status_code=200, duration_ms=1, delivered_at=now,
            undelivered=tuple(each.id for each in refused),
        )  # fmt: skip
        identity = ids.derive("delivered", str(data.lane), str(offset))
        self.month.append(DELIVERIES.name, data.partner, identity, delivered, now)
        for notice in taken:
            self.month.taken[notice.id] = now
        if habit is Habit.PROMPT:
            self._reply(data.partner, taken, now)
        else:
            for notice in taken:
                self._plan(data.partner, habit, notice, now)

    def _leave(self, data: NoticesIssued, notice: Notice, offset: int, now: datetime) -> None:
        """Park a notice that its partner does not take, and that it may never take."""
        failing = Failing(
            lane=data.lane, offset=offset, failures=1, refusals=1, first_refused_at=now, others_taken=True
        )
        parked = NoticeParked(
            partner=data.partner, lane=data.lane, offset=offset, notice_id=notice.id, subject=notice.subject,
            status_code=422, detail="HTTP 422", failing=failing, parked_at=now, retry_at=now + timedelta(hours=1),
        )  # fmt: skip
        self.month.append(UNDELIVERABLE.name, 0, ids.derive("parked", notice.id), parked, now)
        if self._chance.random() < 0.3:
            self.month.parked[notice.id] = now
            return
        again = NoticesIssued(
            partner=data.partner, lane=data.lane, notices=(notice,), again=Again(how="retry", by=_BY), failing=failing
        )
        later = self.month.append(NOTICES.name, data.lane, ids.derive("retry", notice.id), again, now)
        self.month.rejected[notice.id] = now
        undeliverable = NoticeUndeliverable(
            partner=data.partner, lane=data.lane, offset=later, notice_id=notice.id, subject=notice.subject,
            status_code=422, detail="HTTP 422", refused_at=now,
        )  # fmt: skip
        self.month.append(UNDELIVERABLE.name, 0, ids.derive("undeliverable", notice.id), undeliverable, now)

    def _reply(self, partner: str, taken: list[Notice], now: datetime) -> None:
        items = []
        for notice in taken:
            outcome = DONE[notice.action]
            self.month.said.append(Said(now, partner, notice.id, AckStatus.COMPLETED, outcome, None))
            identity = ids.acknowledgement_id(notice.id, partner, "completed", outcome, "", "", "")
            items.append(
                AcknowledgedItem(
                    id=identity,
                    notice_id=notice.id,
                    subject=notice.subject,
                    status=AckStatus.COMPLETED,
                    outcome=outcome,
                )
            )
        reply = ReplyAcknowledged(partner=partner, occurred_at=now, items=tuple(items))
        identity = ids.derive("replied", *(item.id for item in items))
        self.month.append(ACKNOWLEDGEMENTS.name, partner, identity, reply, now)

    def _plan(self, partner: str, habit: Habit, notice: Notice, now: datetime) -> None:
        """What a partner will say of a notice, and when."""
        chance, done = self._chance, DONE[notice.action]
        reason = chance.choice([*RefusalReason])
        soon = self._after(now, hours=3)
        days = self._after(soon, hours=24 * chance.choice([1, 3, 6]))
        steps: list[tuple[datetime, AckStatus, Outcome | None, RefusalReason | None]] = []
        finally_done = (days, AckStatus.COMPLETED, chance.choice([done, Outcome.NOT_FOUND]), None)
        match habit:
            case Habit.LATER | Habit.DOWN | Habit.PICKY | Habit.FLAKY:
                steps = [(soon, AckStatus.RECEIVED, None, None), finally_done]
                if habit is Habit.LATER:
                    steps.insert(1, (self._after(soon, hours=2), AckStatus.IN_PROGRESS, None, None))
            case Habit.REFUSING if chance.random() < 1 / 3:
                steps = [(days, AckStatus.REFUSED, None, reason)]
            case Habit.REFUSING:
                steps = [finally_done]
            case Habit.LOSING if chance.random() < 0.5:
                steps = [finally_done]
            case Habit.CONTRARY:
                again = self._after(days, hours=10)
                steps = [
                    finally_done,
                    (again, AckStatus.REFUSED, None, reason),
                    (again, AckStatus.RECEIVED, None, None),
                ]
            case Habit.CONFUSED:
                wrong = Outcome.DELETED if notice.action is Action.RESUME else Outcome.RESUMED
                steps = [(soon, AckStatus.COMPLETED, wrong, None), finally_done]
                self._later(soon, partial(self._say, "partner-000", notice, AckStatus.REFUSED, None, reason))
        for at, status, outcome, why in steps:
            for _ in range(2 if habit is Habit.FLAKY else 1):
                self._later(at, partial(self._say, partner, notice, status, outcome, why))

    def _say(
        self, by: str, notice: Notice, status: AckStatus, outcome: Outcome | None, reason: RefusalReason | None,
        now: datetime,
    ) -> None:  # fmt: skip
        self.month.said.append(Said(now, by, notice.id, status, outcome, reason))
        data = Acknowledged(
            notice_id=notice.id, partner=by, subject=notice.subject, status=status, outcome=outcome, reason=reason,
            occurred_at=now, via="api",
        )  # fmt: skip
        identity = ids.acknowledgement_id(notice.id, by, status, outcome or "", reason or "", "", "")
        self.month.append(ACKNOWLEDGEMENTS.name, data.key() or by, identity, data, now)
