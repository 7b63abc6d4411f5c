"""The gateway over a real ledger and key store, with a log in memory and a clock that the test owns."""

from __future__ import annotations

import asyncio
import itertools
import json
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

from gateway import Context, Readiness, Trial, Turns, create_app
from gateway.sessions import COOKIE
from ledger import DisclosureIndex, Entry, KeyStore, Ledger, Role
from streams.cloudevents import Envelope, decode
from streams.errors import LogUnavailable, Undecodable
from streams.events import Data, Notice, NoticesIssued, Partner, PartnerRegistered
from streams.kinds import Action
from streams.records import Message, Position, Record, TopicPartition, record
from streams.sealing import Sealer
from streams.settings import Settings
from streams.topics import ALL, DISCLOSURES, NOTICES, PARTNERS
from streams.witness import Witness

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROBLEM = "application/problem+json"
WITNESS = Witness(Fernet.generate_key().decode())


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
    """An `Appender` in memory. What is appended is projected into every ledger at once, unless
    `projecting` is off; while `failing` it takes nothing, and while `hanging` it does not even say so."""

    def __init__(self, clock: TestClock) -> None:
        self._clock = clock
        self._ends: dict[TopicPartition, int] = {}
        self._entries: list[Entry] = []
        #: With how many entries each has.
        self._ledgers: dict[Ledger, int] = {}
        self._messages: list[Message] = []
        self._indexes: dict[DisclosureIndex, int] = {}
        self.records: list[Record] = []
        self.failing = False
        self.hanging = False
        self.projecting = True
        self.counts = {topic.name: topic.partitions for topic in ALL}

    def project_into(self, ledger: Ledger) -> None:
        """From now on."""
        self._ledgers[ledger] = len(self._entries)

    def index_into(self, index: DisclosureIndex) -> None:
        self._indexes[index] = len(self._messages)

    async def append(self, records: Sequence[Record]) -> list[Position]:
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise LogUnavailable("the log takes nothing: the disk is full")
        return self.put(records)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise LogUnavailable("the log does not answer")
        return {
            TopicPartition(topic, partition): self._ends.get(TopicPartition(topic, partition), 0)
            for partition in range(self.counts[topic])
        }

    async def partitions(self, topic: str) -> int:
        if self.failing:
            raise LogUnavailable("the log does not answer")
        return self.counts[topic]

    def put(self, records: Sequence[Record]) -> list[Position]:
        positions = []
        for item in records:
            partition = item.partition
            if partition is None:
                partition = zlib.crc32(item.key or b"") % self.counts[item.topic]
            tp = TopicPartition(item.topic, partition)
            offset = self._ends.get(tp, 0)
            self._ends[tp] = offset + 1
            positions.append(Position(*tp, offset))
            self.records.append(item)
            self._entries.append(Entry(*tp, offset, self._clock.now, _decoded(item)))
            if item.topic == DISCLOSURES.name:
                self._messages.append(Message(*tp, offset, 0.0, item.headers, item.key, item.value))
        if self.projecting:
            self.project()
        return positions

    def project(self) -> None:
        """Let the ledgers catch up."""
        for ledger, known in self._ledgers.items():
            ledger.apply([entry for entry in self._entries[known:] if entry.topic != DISCLOSURES.name])
            self._ledgers[ledger] = len(self._entries)
        for index, known in self._indexes.items():
            ends = {tp: end for tp, end in self._ends.items() if tp.topic == DISCLOSURES.name}
            index.apply(self._messages[known:], ends)
            self._indexes[index] = len(self._messages)

    def events(self, topic: str) -> list[Envelope]:
        """What stands in a topic, decoded, in the order in which it was appended."""
        return [decode(item.value, item.headers) for item in self.records if item.topic == topic]


def _decoded(item: Record) -> Envelope | None:
    try:
        return decode(item.value, item.headers)
    except Undecodable:
        return None  # what the intake sets aside


async def not_sent(partner: Partner, webhook_id: str) -> Trial:
    """In the place of a partner that takes everything."""
    return Trial(
        ok=True, outcome="accepted", verdict="accepted", explanation=("It takes it.",), webhook_id=webhook_id,
        status=200, duration_ms=1.5, address="192.0.2.1:443", acknowledgements=0, reply_problem=None, reply="",
    )  # fmt: skip


@dataclass
class Gateway:
    """Everything a test of the gateway touches. `http` has no key; `as_` gives headers of one."""

    context: Context
    app: FastAPI
    http: httpx.AsyncClient
    log: MemoryLog
    ledger: Ledger
    index: DisclosureIndex
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
            "secrets": [{"scheme": "v1", "sealed": "sealed"}],
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
    directory: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    log: MemoryLog | None = None,
    raise_app_exceptions: bool = True,
    **changes: Any,
) -> AsyncIterator[Gateway]:
    """A gateway over files in a directory, with a log of its own or another's; `changes` go into its context."""
    clock = TestClock()
    ledger = Ledger.open(directory / "ledger.sqlite", patience=0.0)
    keys = KeyStore.open(directory / "keys.sqlite", patience=0.0)
    log = log or MemoryLog(clock)
    log.project_into(ledger)
    index = DisclosureIndex.open(directory / "disclosures.sqlite")
    log.index_into(index)
    readiness = [Readiness(ready=True)]
    numbers = itertools.count(1)
    context = Context(
        settings=Settings(data_dir=directory, **(settings or {})),
        ledger=ledger,
        disclosures=index,
        keys=keys,
        appender=log,
        sealer=Sealer(Fernet.generate_key().decode()),
        clock=clock,
        new_id=lambda: f"id-{next(numbers)}",
        ready=lambda: readiness[0],
        registering=Turns(directory / "registering.lock"),
        try_partner=not_sent,
        public_keys=WITNESS.public,
        catch_up=0.0,
        settle=0.0,
    )
    app = create_app(replace(context, **changes))
    transport = httpx.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://rescind.test") as http:
            yield Gateway(app.state.context, app, http, log, ledger, index, keys, clock, readiness)
    finally:
        keys.close()
        index.close()
        ledger.close()


async def logged_in(gateway: Gateway, role: Role = Role.OPERATOR, partner: str | None = None) -> str:
    """Log in as a browser does, and keep the cookie. The token that forms of this session must bring."""
    answer = await gateway.http.post("/dashboard/login", data={"key": gateway.key(role, partner)})
    assert answer.status_code == 303, answer.text
    said = gateway.context.sealer.open(gateway.http.cookies[COOKIE])
    token: str = json.loads(said)["token"]
    return token


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
