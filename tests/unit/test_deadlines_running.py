"""Deadlines as the service runs them: on a real log, with its agents, a partner, and operators over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from agents.alerting import HttpAndMail
from agents.app import Parts, acting_app, recording_app
from agents.deadlines import GRACE
from agents.disclosing import following
from agents.projection import Recorder
from agents.retrying import Backoff
from agents.webhooks import Answer, Payload, body_of
from ledger import Ledger
from streams.cloudevents import Envelope
from streams.events import NoticesIssued
from streams.records import record
from streams.sealing import Sealer
from streams.settings import Settings
from streams.topics import NOTICES, PARTNERS
from streams.witness import Witness
from streams.written import WrittenNotice
from tests.conformance.embedded import Embedded
from tests.conformance.harness import running, until
from tests.unit.cli.fakes import Answer as HttpAnswer
from tests.unit.cli.fakes import FakeService, serving
from tests.unit.fakes import NOON, OK, FakeClock, notice, partner


class Taking:
    """A partner that takes everything, and answers nothing."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int | None]] = []
        self._payloads: dict[bytes, tuple[WrittenNotice, ...]] = {}

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        body, media_type = body_of(notices, single=single)
        self._payloads[body] = tuple(notices)
        return Payload(body, media_type, gzip)

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: datetime) -> Answer:
        self.taken += [(each.id, each.reminder) for each in self._payloads[payload.body]]
        return OK


WITNESS = Witness(Fernet.generate_key().decode())


class Service:
    """A worker and two ledgers, started as often as a test wants."""

    def __init__(self, directory: Path, url: str) -> None:
        self.engine = Embedded(directory)
        self.clock = FakeClock()
        self.sender = Taking()
        self.sealer = Sealer(Fernet.generate_key().decode())
        self.directory = directory
        self.settings = Settings.model_validate(
            {"data_dir": directory, "deadline_interval": 0.05, "escalations": f"breached={url}/hook"}
        )

    @asynccontextmanager
    async def started(self) -> AsyncIterator[list[Ledger]]:
        log, clock = self.engine.log, self.clock
        backoff = Backoff(base=0.01, cap=0.01)
        stack = ExitStack()
        names = ("a", "b", "worker")
        indexes = [stack.enter_context(following(log, self.directory / f"{name}.index", clock)) for name in names]
        apps = [acting_app(Parts(log, self.sealer, self.sender, clock, backoff, self.directory, indexes[2]))]
        ledgers = [Ledger.open(self.directory / f"{name}.sqlite") for name in ("a", "b")]
        recorders = [Recorder(ledger) for ledger in ledgers]
        alerts = HttpAndMail(self.settings.smtp, 5.0)
        apps += [
            recording_app(log, ledger, recorder, clock, self.settings, alerts, index, WITNESS)
            for ledger, recorder, index in zip(ledgers, recorders, indexes[:2], strict=True)
        ]
        try:
            async with running(apps[0]), running(apps[1]), running(apps[2]):
                yield ledgers
        finally:
            await alerts.close()
            stack.close()
            for ledger, recorder in zip(ledgers, recorders, strict=True):
                recorder.close()
                ledger.close()

    async def issue(self) -> None:
        secrets = [{"scheme": "v1", "sealed": self.sealer.seal("secret")}]
        whom = partner("p", secrets=secrets, batch_size=10)
        times = {"receive_by": NOON + timedelta(days=1), "complete_by": NOON + timedelta(days=30)}
        pack = NoticesIssued(
            partner="p", lane=0, notices=tuple(notice(number).model_copy(update=times) for number in (1, 2))
        )
        await self.engine.log.append([record(PARTNERS.name, Envelope("r", NOON, whom))])
        await self.engine.log.append([record(NOTICES.name, Envelope("pack", NOON, pack), partition=0)])

    def kinds(self, ledger: Ledger) -> list[str]:
        return [entry.kind for entry in ledger.timeline("user:1")]


async def test_a_partner_is_reminded_and_operators_are_told_once(tmp_path: Path) -> None:
    operators = FakeService()
    operators.answers["POST", "/hook"] = HttpAnswer(200, {})
    with serving(operators):
        service = Service(tmp_path, operators.url)
        await service.issue()
        expected = ["notice_issued", "delivered", "reminded", "breached", "escalated"]
        async with service.started() as ledgers:
            await until(lambda: all(service.kinds(each) == expected[:2] for each in ledgers))
            service.clock.now = NOON + timedelta(days=15) + GRACE
            await until(lambda: len(service.sender.taken) == 4)
            await until(lambda: all(service.kinds(each) == expected[:3] for each in ledgers))
        # Nobody is told while nothing runs; a start finds what came meanwhile.
        service.clock.now = NOON + timedelta(days=30) + GRACE
        await service.engine.restart()
        async with service.started() as ledgers:
            await until(lambda: all(service.kinds(each) == expected for each in ledgers))
            # Claimed is not sent: a stop in between leaves it unsent.
            await until(lambda: bool(operators.asked))
        await service.engine.restart()
        async with service.started() as ledgers:
            # Several looks of each.
            await asyncio.sleep(0.5)
        service.engine.close()
    assert service.sender.taken == [("n1", None), ("n2", None), ("n1", 1), ("n2", 1)]
    told: list[Any] = [asked.json for asked in operators.asked]
    assert [each["text"].splitlines()[0] for each in told] == ["p: 2 notices past complete-by"]
