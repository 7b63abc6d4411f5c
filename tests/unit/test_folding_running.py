"""Folding as the service runs it: on a real log, by a clock that the test owns, while answers come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from agents import app as apps
from agents.alerting import HttpAndMail
from agents.app import recording_app
from agents.disclosing import following
from agents.folding import Folder
from agents.projection import Recorder
from ledger import Entry, Ledger, NoticeStatus
from ledger.archives import directory_of
from streams.cloudevents import Envelope
from streams.errors import LedgerBehind, StorageUnusable
from streams.events import Acknowledged, AckStatus, NoticesIssued, Outcome, RefusalReason
from streams.records import Record, record
from streams.settings import Settings
from streams.topics import ACKNOWLEDGEMENTS, NOTICES, PARTNERS
from streams.witness import Witness
from tests.conformance.embedded import Embedded
from tests.conformance.harness import running, until
from tests.unit.fakes import NOON, FakeClock, notice, partner
from tests.unit.gateway.harness import MemoryLog, TestClock

DAYS = 40
WITNESS = Witness(Fernet.generate_key().decode())


def issued(*numbers: int) -> Record:
    pack = NoticesIssued(partner="p", lane=0, notices=tuple(map(notice, numbers)))
    return record(NOTICES.name, Envelope(f"pack-{numbers[0]}", NOON, pack), partition=0)


def answered(number: int, at: datetime = NOON, status: AckStatus = AckStatus.COMPLETED) -> Record:
    done = status is AckStatus.COMPLETED
    data = Acknowledged(
        notice_id=notice(number).id, partner="p", subject=f"user:{number}", status=status, via="api", occurred_at=at,
        outcome=Outcome.DELETED if done else None, reason=None if done else RefusalReason.EXEMPT,
        evidence={"number": number},
    )  # fmt: skip
    return record(ACKNOWLEDGEMENTS.name, Envelope(f"a-{number}-{status}", at, data))


class Service:
    """One ledger, and what writes it."""

    def __init__(self, directory: Path) -> None:
        self.engine = Embedded(directory)
        self.clock = FakeClock()
        self.directory = directory
        self.settings = Settings.model_validate(
            {"data_dir": directory, "ledger_archive_after_days": DAYS, "deadline_interval": 60.0}
        )

    @asynccontextmanager
    async def started(self) -> AsyncIterator[Ledger]:
        log = self.engine.log
        with ExitStack() as stack:
            index = stack.enter_context(following(log, self.directory / "index", self.clock))
            ledger = stack.enter_context(closing(Ledger.open(self.directory / "ledger.sqlite")))
            recorder = stack.enter_context(closing(Recorder(ledger)))
            alerts = HttpAndMail(self.settings.smtp, 5.0)
            app = recording_app(log, ledger, recorder, self.clock, self.settings, alerts, index, WITNESS)
            async with running(app):
                yield ledger
            await alerts.close()


def folded(ledger: Ledger) -> int:
    return sum(each.notices for each in ledger.shelf().archives)


def settled(ledger: Ledger) -> int:
    statuses = (each.status for each in ledger.notices([notice(number).id for number in range(1000)]).values())
    return sum(status is NoticeStatus.COMPLETED for status in statuses)


async def test_a_service_folds_by_its_clock_while_answers_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "FOLD_EVERY", 0.01)
    service = Service(tmp_path)
    append = service.engine.log.append
    await append([record(PARTNERS.name, Envelope("r", NOON, partner("p"))), issued(*range(200))])
    await append([answered(number) for number in range(100)])
    async with service.started() as ledger:
        await until(lambda: settled(ledger) == 100)
        service.clock.now = NOON + timedelta(days=DAYS)
        await asyncio.sleep(0.3)
        assert folded(ledger) == 0, "of exactly that age"
        service.clock.now += timedelta(seconds=1)
        for number in range(100, 200):
            await append([answered(number, service.clock.now)])
            if number % 10 == 0:
                # The partner changes its mind about what may be folded by now, or says it again.
                old = number - 100
                await append([answered(old, service.clock.now, AckStatus.REFUSED), answered(old + 1)])
        await until(lambda: settled(ledger) == 200 and folded(ledger) == 90)
        assert len(ledger.contradictions(None, None, 100)) == 10
        assert ledger.wrong_with_archives() == []
        found = list(ledger.export())
    # A ledger that reads all of it at once, and never folds.
    service.settings = Settings.model_validate({"data_dir": tmp_path, "deadline_interval": 60.0})
    for each in tmp_path.glob("ledger.sqlite*"):
        each.unlink()
    await service.engine.restart()
    async with service.started() as ledger:
        await until(lambda: settled(ledger) == 200 and len(ledger.contradictions(None, None, 100)) == 10)
        await until(lambda: list(ledger.export()) == found)
        assert folded(ledger) == 0
    service.engine.close()


class Scene:
    """A ledger, and a log in memory that it need not have read."""

    def __init__(self, directory: Path) -> None:
        self.clock = TestClock()
        self.clock.now = NOON + timedelta(days=DAYS, seconds=1)
        self.log = MemoryLog(self.clock)
        self.ledger = Ledger.open(directory / "ledger.sqlite")
        self.recorder = Recorder(self.ledger)
        self.log.project_into(self.ledger)
        self.folder = Folder(self.log, self.ledger, self.recorder, self.clock, timedelta(days=DAYS))

    def close(self) -> None:
        self.recorder.close()
        self.ledger.close()


async def test_a_ledger_that_is_behind_is_not_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.looking._CATCH_UP", 0.01)
    with closing(Scene(tmp_path)) as scene:
        scene.log.put([issued(1, 2), answered(1)])
        scene.log.projecting = False
        scene.log.put([answered(2)])
        with pytest.raises(LedgerBehind):
            await scene.folder.look()
        assert folded(scene.ledger) == 0
        scene.log.project()
        assert await scene.folder.look() == 2
        assert await scene.folder.look() == 0


async def test_the_projection_is_let_in_between_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.folding._NOTICES", 5)
    with closing(Scene(tmp_path)) as scene:
        scene.log.put([issued(*range(50)), *map(answered, range(50))])
        looking = asyncio.create_task(scene.folder.look())
        steps: list[int] = []
        for number in itertools.count(100):
            await scene.recorder.record(entries(scene, number))
            steps.append(folded(scene.ledger))
            if looking.done():
                break
            await asyncio.sleep(0.01)
        assert await looking == 50
    assert len(set(steps)) > 5, "answers were recorded when some were folded, and some were not"


def entries(scene: Scene, number: int) -> list[Entry]:
    """One more notice, as the log has it and as the ledger is to read it."""
    scene.log.projecting = False
    scene.log.put([issued(number)])
    ((ledger, known),) = scene.log._ledgers.items()
    fresh: list[Any] = scene.log._entries[known:]
    scene.log._ledgers[ledger] = len(scene.log._entries)
    return fresh


async def test_a_projection_whose_archive_is_away_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agents.projection._RETRY_SECONDS", 0.01)
    with closing(Scene(tmp_path)) as scene:
        scene.log.put([issued(1), answered(1)])
        await scene.folder.look()
        (path,) = directory_of(scene.ledger.path).rglob("*.sqlite")
        away = path.rename(tmp_path / "away")
        scene.log.projecting = False
        scene.log.put([answered(1, status=AckStatus.REFUSED)])
        ((ledger, known),) = scene.log._ledgers.items()
        recording = asyncio.create_task(scene.recorder.record(scene.log._entries[known:]))
        await until(lambda: caplog.text.count("is missing: put back") > 2)
        assert not recording.done()
        assert scene.ledger.contradictions(None, None, 10) == []
        with pytest.raises(StorageUnusable):
            scene.ledger.timeline("user:1")
        away.rename(path)
        await recording
        assert len(ledger.contradictions(None, None, 10)) == 1
