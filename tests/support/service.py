"""The whole service in one process and in held time: its two apps on an embedded log, and its gateway over their
ledger. Partners are endpoints at the `Sender` seam."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet

from agents import attempts
from agents.alerting import Message, Outcome
from agents.app import Parts, acting_app, recording_app
from agents.disclosing import following
from agents.projection import Recorder
from agents.retrying import Backoff
from gateway import Context, Readiness, Turns, create_app
from ledger import KeyStore, Ledger, Role
from streams.embedded import consumer
from streams.escalations import Rule
from streams.records import TopicPartition
from streams.sealing import Sealer
from streams.settings import Settings
from streams.topics import ALL, DISCLOSURES
from streams.witness import Witness
from tests.conformance.embedded import Embedded
from tests.conformance.harness import running
from tests.support.endpoints import Endpoints
from tests.support.held_time import HeldClock, HeldTimeLoop, ladder
from tests.unit.gateway.harness import not_sent

NOON = datetime.fromisoformat("2026-01-01T12:00:00+00:00")
#: Seconds between two looks at deadlines.
_LOOKS = 30.0
#: How often it is looked whether the ledger has all that the log has.
_LOOKS_FOR_THE_LEDGER = 100


class _Silent:
    """Operators who need not be told."""

    async def tell(self, rule: Rule, message: Message) -> Outcome:
        raise AssertionError("no rule asks for this")


class _Longest:
    """Every wait is as long as it may be."""

    @staticmethod
    def random() -> float:
        return 1.0


class Service:
    """Use `started`."""

    def __init__(self, loop: HeldTimeLoop, engine: Embedded, clock: HeldClock) -> None:
        self.loop = loop
        self.engine = engine
        self.clock = clock
        self.endpoints = Endpoints(clock, clock.start)
        self.ledger: Ledger
        self.keys: KeyStore
        self.http: httpx.AsyncClient
        self._keys: dict[str | None, str] = {}

    # -- who asks

    def as_(self, partner: str | None = None) -> dict[str, str]:
        """Headers of a partner's key; of an operator's without one."""
        if partner not in self._keys:
            role = Role.OPERATOR if partner is None else Role.PARTNER
            _, self._keys[partner] = self.keys.create(role, self.clock(), partner)
        return {"authorization": f"Bearer {self._keys[partner]}"}

    async def asked(self, method: str, path: str, body: Any = None, partner: str | None = None) -> Any:
        """What the API says, which must be well."""
        answer = await self.http.request(method, path, json=body, headers=self.as_(partner))
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def toggled(self, toggles: Sequence[dict[str, Any]]) -> None:
        _, key = self.keys.create(Role.PLATFORM, self.clock())
        answer = await self.http.post("/v1/toggles", json=toggles, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 202, answer.text

    async def overview(self) -> str:
        """The dashboard's page."""
        self.as_()
        # A session ends after some time.
        answer = await self.http.post("/dashboard/login", data={"key": self._keys[None]})
        assert answer.status_code == 303, answer.text
        answer = await self.http.get("/dashboard")
        assert answer.status_code == 200, answer.text
        return answer.text

    # -- time

    async def settled(self) -> None:
        """Return when all that can happen now has happened, and the ledger shows it."""
        left: set[Any] = set()
        for _ in range(_LOOKS_FOR_THE_LEDGER):
            await self.loop.settled(0.05)
            left = await self._ends() - await self._read()
            if not left:
                return
        raise AssertionError(f"the ledger does not come to what the log has: {left}")

    async def passed(self, seconds: float) -> None:
        for step in ladder(seconds):
            self.loop.jump(step)
            await self.settled()

    async def _ends(self) -> set[tuple[TopicPartition, int]]:
        topics = [topic for topic in ALL if topic.name != DISCLOSURES.name]
        return {each for topic in topics for each in (await self.engine.log.end_offsets(topic.name)).items() if each[1]}

    async def _read(self) -> set[tuple[TopicPartition, int]]:
        return set(self.ledger.offsets().items())


@asynccontextmanager
async def started(loop: HeldTimeLoop, directory: Path) -> AsyncIterator[Service]:
    """A service that runs."""
    clock = HeldClock(loop, NOON)
    async with AsyncExitStack() as stack:
        engine = Embedded(directory)
        stack.callback(engine.close)
        # What counts as accepted is what the log's own clock says.
        engine.log._store._writer._now_ms = lambda: round(clock().timestamp() * 1000)  # type: ignore[attr-defined]
        service = Service(loop, engine, clock)
        sealer, witness = Sealer(Fernet.generate_key().decode()), Witness(Fernet.generate_key().decode())
        settings = Settings.model_validate({"data_dir": directory, "deadline_interval": _LOOKS, "escalations": ""})
        service.ledger = Ledger.open(directory / "ledger.sqlite")
        stack.callback(service.ledger.close)
        recorder = Recorder(service.ledger)
        stack.callback(recorder.close)
        service.keys = KeyStore.open(directory / "keys.sqlite")
        stack.callback(service.keys.close)
        indexes = [
            stack.enter_context(following(engine.log, directory / f"{name}.index", clock)) for name in ("acts", "reads")
        ]
        for module, name, value in (
            (attempts, "random", _Longest),
            # What is appended at once is read at once.
            (consumer, "_YIELD_EVERY", sys.maxsize),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        parts = Parts(engine.log, sealer, service.endpoints, clock, Backoff(), directory, indexes[0])
        await stack.enter_async_context(running(acting_app(parts)))
        await stack.enter_async_context(
            running(
                recording_app(engine.log, service.ledger, recorder, clock, settings, _Silent(), indexes[1], witness)
            )
        )
        numbers = itertools.count(1)
        context = Context(
            settings=settings,
            ledger=service.ledger,
            disclosures=indexes[1].index,
            keys=service.keys,
            appender=engine.log,
            sealer=sealer,
            clock=clock,
            new_id=lambda: f"id-{next(numbers)}",
            ready=lambda: Readiness(ready=True),
            registering=Turns(directory / "registering.lock"),
            try_partner=not_sent,
            public_keys=witness.public,
        )
        transport = httpx.ASGITransport(create_app(context))
        service.http = httpx.AsyncClient(transport=transport, base_url="http://rescind.test")
        await stack.enter_async_context(service.http)
        yield service
