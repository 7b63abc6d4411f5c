"""The doctor: every state of a data directory has its words and its exit code, and looking changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ledger import Entry, KeyStore, Ledger, Role
from rescind import doctor
from rescind.cli import main
from rescind.doctor import Finding, Level, diagnose, examine, worst
from rescind.running.places import LEDGER, WORKER, data_directory, lock_path
from streams.cloudevents import Envelope
from streams.embedded import versions
from streams.embedded.log import EmbeddedLog
from streams.events import (
    BatchFailed,
    ConsentToggled,
    Notice,
    NoticesIssued,
    PartnerRegistered,
    PartnerStatus,
    SealedSecret,
)
from streams.kinds import Action, Choice
from streams.records import Record, TopicPartition, record
from streams.sealing import Sealer
from streams.settings import Settings
from streams.signing import Scheme
from streams.topics import DELIVERIES, NOTICES, PARTNERS, TOGGLES
from tests.unit.test_ledger import discarded, issued, parked, refused

NOW, DAY = datetime.now(UTC), timedelta(days=1)
LANE = TopicPartition(NOTICES.name, 3)


class Place:
    """A data directory as a service leaves it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = Settings(data_dir=directory, log="", sealing_key="")
        directory.mkdir()
        Sealer.from_file(self.settings.sealing_path)
        keys = KeyStore.open(self.settings.keys_path)
        keys.create(Role.OPERATOR, NOW)
        keys.close()
        registered = PartnerRegistered(
            id="acme", name="A", url="https://a.example/", purposes=("ai",), lane=3, created_at=NOW, updated_at=NOW,
            secrets=(SealedSecret(scheme=Scheme.V1, sealed="x"),),
        )  # fmt: skip
        with self.log() as log:
            (at,) = asyncio.run(log.append([record(PARTNERS.name, Envelope("p1", NOW, registered))]))
            self.toggles(log, 10)
            asyncio.run(log._store.commit("rescind", {TopicPartition(*at[:2]): 1, LANE: 0}))
        ledger = Ledger.open(self.settings.ledger_path)
        ledger.apply([Entry(*at, NOW, Envelope("p1", NOW, registered))])
        self.ledger_group = f"rescind-ledger-{ledger.ledger_id}"
        ledger.close()

    @contextlib.contextmanager
    def log(self) -> Iterator[EmbeddedLog]:
        log = EmbeddedLog(self.settings.log_url)
        try:
            yield log
        finally:
            log.close()

    def toggles(self, log: EmbeddedLog, number: int) -> None:
        data = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOW)
        asyncio.run(log.append([record(TOGGLES.name, Envelope(f"t{n}", NOW, data)) for n in range(number)]))

    def findings(self, later: float = 0.0) -> list[Finding]:
        return diagnose(examine(self.settings, time.time() + later))

    def said(self, level: Level, later: float = 0.0) -> str:
        """The words of the worst finding, which is of this level."""
        findings = self.findings(later)
        assert worst(findings) is level, findings
        return findings[0].text


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data")


def test_a_healthy_directory_is_fine(place: Place) -> None:
    assert "10 records still to read" in place.said(Level.FINE)
    assert "still to read" not in str([f.text for f in place.findings()][1:])


def test_what_it_looks_at_it_leaves_as_it_is(place: Place) -> None:
    before = {
        file.name: file.read_bytes() for file in place.directory.iterdir() if file.suffix != "" and file.is_file()
    }
    place.findings()
    after = {file.name: file.read_bytes() for file in place.directory.iterdir() if file.suffix != "" and file.is_file()}
    assert {name: after[name] for name in before if "-" not in name} == {
        name: content for name, content in before.items() if "-" not in name
    }


def test_what_a_partner_refuses_for_good_is_for_somebody_to_look_at(place: Place) -> None:
    ledger = Ledger.open(place.settings.ledger_path)

    def held() -> list[tuple[Level, str]]:
        # The log does not have what only the ledger was told here.
        return [(each.level, each.text.partition(",")[0]) for each in place.findings() if each.what == "dead letters"]

    assert held() == []
    ledger.apply([issued(0, 1, 2, 3), parked(0, 1, 0)])
    assert held() == [(Level.FINE, "p does not take 1")]
    ledger.apply([refused(1, 2, 0), refused(2, 3, 0)])
    assert held() == [(Level.ATTENTION, "p refuses 2 for good"), (Level.FINE, "p does not take 1")]
    ledger.apply([discarded(0, 1, 2, 3)])
    assert held() == []
    ledger.close()


def test_it_looks_beside_a_running_service_and_says_who(place: Place) -> None:
    with place.log() as log:
        log.own("rescind")
        looked = examine(place.settings, time.time())
        assert looked.used_by == f"process {os.getpid()} (worker)"
        place.toggles(log, 5)
        assert worst(place.findings()) is Level.FINE
    assert examine(place.settings, time.time()).used_by is None
    with data_directory(place.settings, WORKER, LEDGER):
        assert examine(place.settings, time.time()).used_by == f"process {os.getpid()} (worker and ledger)"
        # Somebody is reading them just now.
        assert "still to read" not in str(place.findings())
    lock_path(place.directory, WORKER).write_text("")
    with data_directory(place.settings, LEDGER), FileLock(lock_path(place.directory, WORKER)):
        used_by = examine(place.settings, time.time()).used_by
        assert used_by == f"another process (worker), process {os.getpid()} (ledger)"


def test_a_wide_partner_has_a_name_at_each_of_its_lanes_and_before_whoever_had_one(place: Place) -> None:
    def known(name: str, **changes: Any) -> PartnerRegistered:
        return PartnerRegistered(
            id=name, name="A", url="https://a.example/", purposes=("ai",), created_at=NOW, updated_at=NOW,
            secrets=(SealedSecret(scheme=Scheme.V1, sealed="x"),), **changes,
        )  # fmt: skip

    wide, gone = known("wide", lane=4, more_lanes=(6, 9)), known("zed", lane=6, status=PartnerStatus.REMOVED)
    ledger = Ledger.open(place.settings.ledger_path)
    ledger.apply([Entry(PARTNERS.name, 0, n, NOW, Envelope(f"w{n}", NOW, each)) for n, each in ((1, wide), (2, gone))])
    ledger.close()
    state = examine(place.settings, time.time()).ledger_state
    assert state is not None
    assert state.lanes == {3: "acme", 4: "wide", 6: "wide", 9: "wide"}


def test_lanes_say_whose_they_are_and_for_how_long_they_wait(place: Place) -> None:
    with place.log() as log:
        asyncio.run(log.append([Record(NOTICES.name, None, b"n", 3)] * 7))
    assert worst(place.findings()) is Level.FINE
    said = place.said(Level.ATTENTION, later=2 * 86_400)
    assert "7 messages wait since 48 h for acme" in said


def test_a_partner_that_does_not_do_well_is_named_with_its_state_and_why(place: Place) -> None:
    issued = Notice(
        id="n", cause_id="c", toggle_id="t", action=Action.ERASE, subject="user:1", purpose="ai", occurred_at=NOW,
        issued_at=NOW, receive_by=NOW + DAY, complete_by=NOW + 30 * DAY,
    )  # fmt: skip
    pack = NoticesIssued(partner="acme", lane=3, notices=(issued,))
    failing = [
        BatchFailed(
            partner="acme", lane=3, first_offset=0, last_offset=0, notices=1, webhook_id="m", attempt=attempt,
            status_code=400, error="HTTP 400", duration_ms=1, failed_at=NOW,
        )
        for attempt in (1, 2)
    ]  # fmt: skip
    with place.log() as log:
        asyncio.run(log.append([Record(NOTICES.name, None, b"n", 3), *[Record(DELIVERIES.name, None, b"n", 0)] * 2]))
    ledger = Ledger.open(place.settings.ledger_path)
    ledger.apply([Entry(NOTICES.name, 3, 0, NOW, Envelope("i", NOW, pack))])
    assert "partner" not in str(place.findings())
    ledger.apply([Entry(DELIVERIES.name, 0, 0, NOW, Envelope("f1", NOW, failing[0]))])
    assert "WARN: the last attempt failed" in str(place.findings())
    assert worst(place.findings()) is Level.FINE
    ledger.apply([Entry(DELIVERIES.name, 0, 1, NOW, Envelope("f2", NOW, failing[1]))])
    ledger.close()
    said = place.said(Level.ATTENTION)
    assert said == "STOP: 2 attempts in a row failed, and 1 notice waits; see `rescind status --partner acme`"


def test_a_ledger_with_a_partner_that_nobody_can_read_says_so(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.settings.ledger_path, isolation_level=None)) as other:
        other.execute("UPDATE partners SET body = '{}'")
    assert "a partner that cannot be read; delete it" in place.said(Level.UNUSABLE)


@pytest.mark.parametrize(
    ("name", "words"),
    [("log.sqlite", "restore a backup"), ("ledger.sqlite", "rebuilds it"), ("keys.sqlite", "rescind keys create")],
)
def test_a_damaged_file_is_named_with_what_to_do(place: Place, name: str, words: str) -> None:
    path = place.directory / name
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    with path.open("r+b") as file:
        for page in range(1, pages):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    said = place.said(Level.UNUSABLE)
    assert str(path) in said
    assert "damaged" in said
    assert words in said


@pytest.mark.parametrize("name", ["log.sqlite", "ledger.sqlite", "keys.sqlite", "consent.sqlite", "secret.key"])
def test_nonsense_in_a_file_is_named(place: Place, name: str) -> None:
    for file in place.directory.glob(f"{name}*"):
        file.unlink()
    (place.directory / name).write_bytes(b"\x00nonsense\xff" * 500)
    assert str(place.directory / name) in place.said(Level.UNUSABLE)


def test_a_newer_log_says_so(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.directory / "log.sqlite")) as other:
        other.execute("PRAGMA user_version = 99")
    assert "newer Rescind" in place.said(Level.UNUSABLE)


def test_a_log_from_before_it_could_shrink(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.directory / "log.sqlite")) as other:
        other.executescript("PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=NONE; VACUUM")
    texts = [finding.text for finding in place.findings()]
    assert any("never gets smaller" in text for text in texts)
    assert worst(place.findings()) is Level.FINE


def test_an_older_log_says_so(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.directory / "log.sqlite")) as other:
        other.execute(f"PRAGMA user_version = {versions.VERSION - 1}")
    assert "was written by an older Rescind" in place.said(Level.UNUSABLE)


def test_a_ledger_of_another_version_says_so(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.settings.ledger_path)) as other:
        other.execute("PRAGMA user_version = 1")
    assert "another version of Rescind made it; delete it" in place.said(Level.UNUSABLE)


def test_a_log_that_is_gone_beside_a_ledger(place: Place) -> None:
    for file in place.directory.glob("log.sqlite*"):
        file.unlink()
    assert "is missing" in place.said(Level.UNUSABLE)


def test_a_key_that_is_gone_while_there_are_partners(place: Place) -> None:
    place.settings.sealing_path.unlink()
    assert "no webhook can be signed" in place.said(Level.UNUSABLE)
    place.settings = place.settings.model_copy(update={"sealing_key": "given"})
    assert worst(place.findings()) is Level.FINE


@pytest.mark.parametrize("name", ["log.sqlite", "keys.sqlite", "secret.key"])
def test_files_that_others_may_read(place: Place, name: str) -> None:
    (place.directory / name).chmod(0o644)
    said = place.said(Level.ATTENTION)
    assert "chmod 600" in said
    assert name in said


def test_an_older_backup_of_the_log(place: Place) -> None:
    ledger = Ledger.open(place.settings.ledger_path)
    ledger.apply([Entry(TOGGLES.name, 0, 999, NOW, None)])
    ledger.close()
    said = place.said(Level.UNUSABLE)
    assert "the log is an older one" in said
    assert "rescind.toggles[0]" in said


def test_an_older_backup_of_the_ledger(place: Place) -> None:
    kept = place.directory / "kept"
    shutil.copy(place.settings.ledger_path, kept)
    with place.log() as log:
        asyncio.run(log._store.commit(place.ledger_group, {TopicPartition(PARTNERS.name, 0): 1}))
        assert worst(place.findings()) is Level.FINE
        at = TopicPartition(TOGGLES.name, next(n for n in range(8) if log._store.end(TopicPartition(TOGGLES.name, n))))
        asyncio.run(log._store.commit(place.ledger_group, {at: 10}))
    said = place.said(Level.UNUSABLE)
    assert "before its own commits" in said


def test_what_another_ledger_holds_is_mentioned(place: Place) -> None:
    with place.log() as log:
        asyncio.run(log._store.commit("rescind-ledger-gone", {TopicPartition(PARTNERS.name, 0): 0}))
    assert any("rescind-ledger-gone" in finding.text for finding in place.findings())
    assert worst(place.findings()) is Level.FINE


def test_the_disk_fills_up(place: Place) -> None:
    found = examine(place.settings, time.time())
    assert "make room" in diagnose(replace(found, free=doctor.LOW_SPACE - 1))[0].text
    findings = diagnose(replace(found, free=1000))
    assert worst(findings) is Level.UNUSABLE
    assert "full" in findings[0].text


def test_no_directory_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, words in (("nowhere", "rescind up"), ("file", "no directory")):
        (finding,) = diagnose(examine(Settings(data_dir=tmp_path / name, log=""), 0.0))
        assert finding.level is Level.UNUSABLE
        assert words in finding.text


def test_an_empty_directory_is_a_beginning(tmp_path: Path) -> None:
    (finding,) = diagnose(examine(Settings(data_dir=tmp_path, log=""), 0.0))
    assert finding.level is Level.FINE


# -- the command


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    shown = capsys.readouterr()
    assert shown.err == ""
    assert isinstance(ended.value.code, int)
    return ended.value.code, shown.out


def test_the_command_shows_everything_and_exits_by_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with place.log() as log:
        asyncio.run(log.append([Record(NOTICES.name, None, b"n", 3)] * 7))
    code, said = ran(capsys, "--data", str(place.directory))
    assert code == 0
    for words in ("fine", "rescind.toggles", "acme", "secret.key", "used by nobody"):
        assert words in said
    place.settings.sealing_path.chmod(0o644)
    assert ran(capsys, "--data", str(place.directory))[0] == 1
    place.settings.sealing_path.unlink()
    assert ran(capsys, "--data", str(place.directory))[0] == 2


def test_the_command_as_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with place.log() as log:
        asyncio.run(log.append([Record(NOTICES.name, None, b"n", 3)] * 7))
    code, said = ran(capsys, "--data", str(place.directory), "--json")
    told: dict[str, Any] = json.loads(said)
    assert code == 0
    assert told["state"] == "fine"
    assert {file["name"]: file["ok"] for file in told["files"]} == dict.fromkeys(
        ("log", "ledger", "keys", "secret.key"), True
    ) | {"consent": False}
    (lane,) = told["lanes"]
    assert (lane["lane"], lane["partner"], lane["backlog"]) == (3, "acme", 7)
    toggles = next(topic for topic in told["topics"] if topic["topic"] == TOGGLES.name)
    assert toggles["records"] == 10
    assert {"group": "rescind", "topic": NOTICES.name, "lag": 7} in told["groups"]
    assert told["keys_in_force"] == 1
    assert told["log_format"] == versions.VERSION
