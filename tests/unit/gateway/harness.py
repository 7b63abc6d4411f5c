"""The gateway over a real ledger and key store, with a log in memory and a clock that the test owns."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet
from fastapi import FastAPI

from gateway import Context, Readiness, create_app
from ledger import Entry, KeyStore, Ledger, Role
from streams.cloudevents import Envelope, decode
from streams.errors import LogUnavailable
from streams.events import Action, Data, Notice, NoticesIssued, PartnerRegistered
from streams.records import Position, Record, TopicPartition, record
from streams.sealing import Sealer
from streams.settings import Settings
from streams.topics import ALL, NOTICES, PARTNERS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROBLEM = "application/problem+json"
_PARTITIONS = {topic.name: topic.partitions for topic in ALL}


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@dataclass
class TestClock:
    """Stands still until the test moves it."""

    __test__ = False
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


class MemoryLog:
    """An `Appender` in memory. What is appended is projected into the ledger at once, unless
    `projecting` is off; while `failing` it takes nothing."""

    def __init__(self, ledger: Ledger, clock: TestClock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._ends: dict[TopicPartition, int] = {}
        self._waiting: list[Entry] = []
        self.records: list[Record] = []
        self.failing = False
        self.projecting = True

    async def append(self, records: Sequence[Record]) -> list[Position]:
        if self.failing:
            raise LogUnavailable("the log takes nothing: the disk is full")
        return self.put(records)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        if self.failing:
            raise LogUnavailable("the log does not answer")
        return {
            TopicPartition(topic, partition): self._ends.get(TopicPartition(topic, partition), 0)
            for partition in range(_PARTITIONS[topic])
        }

    def put(self, records: Sequence[Record]) -> list[Position]:
        positions = []
        for item in records:
            partition = item.partition
            if partition is None:
                partition = zlib.crc32(item.key or b"") % _PARTITIONS[item.topic]
            tp = TopicPartition(item.topic, partition)
            offset = self._ends.get(tp, 0)
            self._ends[tp] = offset + 1
            positions.append(Position(*tp, offset))
            self.records.append(item)
            self._waiting.append(Entry(*tp, offset, self._clock.now, decode(item.value, item.headers)))
        if self.projecting:
            self.project()
        return positions

    def project(self) -> None:
        """Let the ledger catch up."""
        self._ledger.apply(self._waiting)
        self._waiting.clear()

    def events(self, topic: str) -> list[Envelope]:
        """What stands in a topic, decoded, in the order in which it was appended."""
        return [decode(item.value, item.headers) for item in self.records if item.topic == topic]


@dataclass
class Gateway:
    """Everything a test of the gateway touches. `http` has no key; `as_` gives headers of one."""

    context: Context
    app: FastAPI
    http: httpx.AsyncClient
    log: MemoryLog
    ledger: Ledger
    keys: KeyStore
    clock: TestClock
    readiness: list[Readiness]
    _plain: dict[tuple[Role, str | None], str] = field(default_factory=dict)

    def key(self, role: Role, partner: str | None = None) -> str:
        """A key of a role, made once a test."""
        if (role, partner) not in self._plain:
            _, self._plain[role, partner] = self.keys.create(role, self.clock.now, partner)
        return self._plain[role, partner]

    def as_(self, role: Role, partner: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key(role, partner)}"}

    @property
    def operator(self) -> dict[str, str]:
        return self.as_(Role.OPERATOR)

    @property
    def platform(self) -> dict[str, str]:
        return self.as_(Role.PLATFORM)

    def partner(self, name: str = "acme") -> dict[str, str]:
        return self.as_(Role.PARTNER, name)

    # -- what the agents would have written

    def happened(self, topic: str, event_id: str, data: Data, partition: int | None = None) -> None:
        self.log.put([record(topic, Envelope(event_id, self.clock.now, data), partition)])

    def registered(self, name: str = "acme", /, lane: int = 0, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "id": name,
            "name": name.upper(),
            "url": f"https://{name}.example/hook",
            "purposes": ("ai-training",),
            "lane": lane,
            "sealed_secret": "sealed",
            "created_at": self.clock.now,
            "updated_at": self.clock.now,
        }
        self.happened(PARTNERS.name, f"registered-{name}", PartnerRegistered.model_validate(fields | changes))

    def issued(self, *numbers: int, partner: str = "acme", lane: int = 0) -> None:
        """Notices `n-<partner>-<number>` about `user:<number>`, due after 10 and 60 minutes."""
        now = self.clock.now
        notices = tuple(
            Notice(
                id=f"n-{partner}-{number}",
                cause_id=f"c-{number}",
                toggle_id=f"t-{number}",
                action=Action.ERASE,
                subject=f"user:{number}",
                purpose="ai-training",
                occurred_at=now,
                issued_at=now,
                receive_by=now + timedelta(minutes=10),
                complete_by=now + timedelta(minutes=60),
            )
            for number in numbers
        )
        pack = NoticesIssued(partner=partner, lane=lane, notices=notices)
        self.happened(NOTICES.name, f"pack-{partner}-{numbers[0]}", pack, partition=lane)


@asynccontextmanager
async def gateway_in(
    directory: Path, settings: Mapping[str, Any] | None = None, *, raise_app_exceptions: bool = True, **changes: Any
) -> AsyncIterator[Gateway]:
    """A gateway over files in a directory; `changes` go into its context."""
    clock = TestClock()
    ledger = Ledger.open(directory / "ledger.sqlite", patience=0.0)
    keys = KeyStore.open(directory / "keys.sqlite", patience=0.0)
    log = MemoryLog(ledger, clock)
    readiness = [Readiness(ready=True)]
    numbers = itertools.count(1)
    context = Context(
        settings=Settings(data_dir=directory, **(settings or {})),
        ledger=ledger,
        keys=keys,
        appender=log,
        sealer=Sealer(Fernet.generate_key().decode()),
        clock=clock,
        new_id=lambda: f"id-{next(numbers)}",
        ready=lambda: readiness[0],
        catch_up=0.0,
    )
    app = create_app(replace(context, **changes))
    transport = httpx.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://rescind.test") as http:
            yield Gateway(app.state.context, app, http, log, ledger, keys, clock, readiness)
    finally:
        keys.close()
        ledger.close()


def problem(response: httpx.Response, status: int, slug: str | None = None) -> dict[str, Any]:
    """The problem of an answer, which must be one: RFC 9457, with no trace of our insides."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM, response.headers["content-type"]
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= set(body)
    assert body["status"] == status
    assert all(isinstance(body[name], str) and body[name] for name in ("type", "title", "detail"))
    assert "Traceback" not in response.text
    if slug is not None:
        assert body["type"] == f"/problems/{slug}"
    return body
