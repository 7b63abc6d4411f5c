"""What tests of the agents put in the place of the log, the partner and the clock."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.directory import Directory
from agents.poison import Received
from agents.retrying import Attempt
from agents.webhooks import Answer, Payload, body_of
from streams.cloudevents import Envelope, decode
from streams.errors import LogUnavailable
from streams.events import ConsentToggled, Notice, Partner, PartnerChanged
from streams.kinds import Action
from streams.records import Message, Position, Record, TopicPartition, record
from streams.topics import ALL, PARTNERS
from streams.written import WrittenNotice, written

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(slots=True)
class FakeClock:
    """Time that moves when it is told to."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class MemoryLog:
    """An `Appender` that keeps everything, and fails as often as it is told to."""

    records: list[Record] = field(default_factory=list)
    failures: int = 0
    ends: dict[TopicPartition, int] = field(default_factory=lambda: defaultdict(int))

    async def append(self, records: Sequence[Record]) -> list[Position]:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("told to fail")
        self.records.extend(records)
        positions = []
        for item in records:
            tp = TopicPartition(item.topic, item.partition or 0)
            positions.append(Position(*tp, self.ends[tp]))
            self.ends[tp] += 1
        return positions

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return {tp: end for tp, end in self.ends.items() if tp.topic == topic}

    async def partitions(self, topic: str) -> int:
        return next(spec.partitions for spec in ALL if spec.name == topic)

    def events(self, topic: str) -> list[Envelope]:
        return [decode(item.value, item.headers) for item in self.records if item.topic == topic]


@dataclass(frozen=True, slots=True)
class Request:
    url: str
    secrets: tuple[str, ...]
    webhook_id: str
    notices: tuple[WrittenNotice, ...]
    single: bool


@dataclass(slots=True)
class FakeSender:
    """A partner that answers what a test wants, in turn; the last answer is given for ever."""

    answers: list[Answer]
    requests: list[Request] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None

    payloads: dict[bytes, tuple[tuple[WrittenNotice, ...], bool]] = field(default_factory=dict)

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        body, media_type = body_of(notices, single=single)
        self.payloads[body] = (tuple(notices), single)
        return Payload(body, media_type, gzip)

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: datetime) -> Answer:
        notices, single = self.payloads[payload.body]
        self.requests.append(Request(url, tuple(secrets), webhook_id, notices, single))
        await asyncio.sleep(0)
        self.before_answer()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


OK = Answer(Attempt(200), 1.0)
DOWN = Answer(Attempt(None, "connection refused"), 1.0)


def notice(number: int = 0, action: Action = Action.ERASE) -> Notice:
    return Notice(
        id=f"n{number}",
        cause_id="c",
        toggle_id="t",
        action=action,
        subject=f"user:{number}",
        purpose="ai",
        occurred_at=NOON,
        issued_at=NOON,
        receive_by=NOON,
        complete_by=NOON,
    )


def written_notice(number: int = 0, action: Action = Action.ERASE) -> WrittenNotice:
    return written(notice(number, action))


def partner(name: str = "p", **changes: Any) -> PartnerChanged:
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "url": "https://p.example/hook",
        "purposes": ("ai",),
        "lane": 0,
        "secrets": [{"scheme": "v1", "sealed": "x"}],
        "created_at": NOON,
        "updated_at": NOON,
    }
    return PartnerChanged.model_validate(fields | changes)


async def announce(log: MemoryLog, directory: Directory, whom: Partner) -> None:
    """Register or change a partner, as the gateway does and the log tells it."""
    item = record(PARTNERS.name, Envelope(f"{whom.id}-{whom.revision}", NOON, whom))
    (position,) = await log.append([item])
    directory.take([message(item, position.offset)], position.offset + 1)


def message(item: Record, offset: int = 0) -> Message:
    """A record as it stands in the log."""
    return Message(item.topic, item.partition or 0, offset, NOON.timestamp(), item.headers, item.key, item.value)


def received(toggle_id: str, toggle: ConsentToggled, offset: int, topic: str = "rescind.toggles") -> Received:
    """A toggle as the consent agent gets it; when it became durable follows from where it stands."""
    return Received(Envelope(toggle_id, NOON, toggle), topic, 0, offset, NOON + timedelta(seconds=offset))


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)
