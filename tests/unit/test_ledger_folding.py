"""Folding into monthly archives: what is folded, that nobody can tell, and what happens to it at each step."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, Ledger, NoticeStatus, folding, store
from ledger.archives import ACKNOWLEDGEMENT, MARK, STATEMENT, Archives, Kept, directory_of, packed
from ledger.folding import Folding, Old, foldable, month_of
from ledger.folding import Step as Folded
from ledger.times import micros
from ledger.transitions import Verdict
from streams.deadlines import Deadline, Step
from streams.errors import StorageUnusable
from streams.events import Acknowledged, AckStatus
from streams.records import TopicPartition
from tests.disks import fill, mounted
from tests.folding import END, History, changes, counted, fold_all, histories, known, rows
from tests.month import simulated
from tests.unit.test_ledger import VEILS, at, partner
from tests.unit.test_ledger_sealed import asked

DONE = Old("n", NoticeStatus.COMPLETED, 0, None, frozenset({Verdict.APPLIED}), asked=False, marks=False, size=0)


@pytest.mark.parametrize(
    ("old", "may_be"),
    [
        (DONE, True),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, Verdict.REPEATED, Verdict.LATE})), True),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, Verdict.NOT_OWNER, Verdict.UNFIT})), True),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, Verdict.CONTRADICTION})), False),
        (DONE._replace(verdicts=frozenset({Verdict.APPLIED, ""})), False),
        (DONE._replace(asked=True), False),
        (DONE._replace(verdicts=frozenset()), False),
        (DONE._replace(verdicts=frozenset(), marks=True), True),
        *((DONE._replace(status=status), False) for status in NoticeStatus if status not in ("completed", "cancelled")),
        (DONE._replace(status=NoticeStatus.CANCELLED), True),
        (DONE._replace(status=NoticeStatus.CANCELLED, verdicts=frozenset({""})), False),
    ],
)
def test_what_may_be_folded(old: Old, may_be: bool) -> None:
    assert foldable(old) is may_be


@pytest.mark.parametrize(
    ("time", "month"),
    [("2026-01-31T23:59:59.999999Z", 202601), ("2026-02-01T00:00:00Z", 202602), ("1969-12-31T23:00:00Z", 196912)],
)
def test_a_month_is_one_of_utc(time: str, month: int) -> None:
    assert month_of(micros(datetime.fromisoformat(time))) == month


def test_archives_keep_every_column(tmp_path: Path) -> None:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        for table, own, columns in (
            ("acknowledgements", ("notice_id",), ACKNOWLEDGEMENT),
            ("deadline_marks", ("notice_id",), MARK),
            ("statements", (), STATEMENT),
        ):
            names = tuple(row[0] for row in rows(ledger, f"SELECT name FROM pragma_table_xinfo('{table}')"))
            assert names == (*own, *columns)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), histories())
def test_nobody_can_tell_what_was_folded(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, history: list[Entry]
) -> None:
    directory = tmp_path_factory.mktemp("ledgers")
    veil = VEILS[data.draw(st.sampled_from(sorted(VEILS)))]
    with (
        closing(Ledger.open(directory / "folded.sqlite", veils=(veil,))) as folded,
        closing(Ledger.open(directory / "unfolded.sqlite", veils=(veil,))) as other,
    ):
        rest = history
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            folded.apply(rest[:size])
            other.apply(rest[:size])
            rest = rest[size:]
            for _ in range(data.draw(st.integers(0, 3))):
                folded.fold(at(data.draw(st.integers(0, 60 * 24 * 90))), data.draw(st.integers(1, 5)))
            folded.give_back(1000)
            assert counted(folded)
        assert list(known(folded)) == list(known(other))
        fold_all(folded)
        assert list(known(folded)) == list(known(other))
        assert changes(folded) == changes(other)
        assert counted(folded)


def test_a_month_of_a_platform_is_the_same_folded_all_along(tmp_path: Path) -> None:
    month = simulated(5, partners=20, subjects=60, toggles=250)
    chance = random.Random(1)
    with (
        closing(Ledger.open(tmp_path / "folded.sqlite")) as folded,
        closing(Ledger.open(tmp_path / "unfolded.sqlite")) as other,
    ):
        count = 0
        for batch in month.read(chance, 60):
            folded.apply(batch)
            other.apply(batch)
            count += folded.fold(END, chance.randint(1, 40)).folded
        count += fold_all(folded)
        assert count > 300
        pairs: Iterator[tuple[Any, Any]] = zip_longest(asked(folded, month), asked(other, month))
        for one, another in pairs:
            assert one == another
        assert list(folded.export()) == list(other.export())
        assert changes(folded) == changes(other)


# -- late words


@pytest.fixture
def history() -> History:
    """Two notices that were answered in January, the second by a signed callback, and what else was said of them."""
    history = History()
    history.say("partners", "registered", partner())
    for number in (1, 2):
        history.issued(number)
        history.delivered(number - 1, 1)
        history.marked((number,), Deadline.RECEIVE, Step.BREACHED, 15)
    history.signed(1)
    history.answered(1, AckStatus.IN_PROGRESS, 20, extend=True)
    history.answered(1, minutes=31)
    history.answered(2, minutes=31, statement=1)
    return history


@pytest.fixture
def ledger(tmp_path: Path, history: History) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as opened:
        opened.apply(history.entries)
        yield opened


def places(ledger: Ledger) -> dict[str, int | None]:
    return dict(rows(ledger, "SELECT id, archived FROM notices"))


def archive(ledger: Ledger) -> Path:
    (path,) = directory_of(ledger.path).glob("*/2026-01.sqlite")
    return path


FOLDED = {"n-p-1": 202601, "n-p-2": 202601}


def test_what_is_folded_is_not_in_the_file_any_more(ledger: Ledger) -> None:
    before = list(known(ledger))
    assert ledger.fold(END, 100) == Folded(2, 2)
    assert places(ledger) == FOLDED
    for table in ("acknowledgements", "deadline_marks", "statements"):
        assert rows(ledger, f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert list(known(ledger)) == before
    assert stat.S_IMODE(archive(ledger).stat().st_mode) == 0o600
    assert stat.S_IMODE(archive(ledger).parent.stat().st_mode) == 0o700
    assert ledger.fold(END, 100) == Folded(), "there is nothing left"


def test_what_was_closed_later_stays(ledger: Ledger) -> None:
    assert ledger.fold(at(31), 100) == Folded()
    assert ledger.fold(at(31.001), 100) == Folded(2, 2)


def said(identity: str, number: int = 1, **fields: Any) -> Entry:
    """One more acknowledgement, behind those of the history."""
    history = History()
    history.answered(number, identity=identity, **fields)
    (entry,) = history.entries
    return replace(entry, offset=4)


def replied() -> Entry:
    history = History()
    history.replied(1, minutes=90_000)
    (entry,) = history.entries
    return replace(entry, offset=4)


LATE = {
    "a repeated one": said("a-1-completed-deleted-p-None", minutes=31),
    "the same once more": said("more", minutes=90_000),
    "an earlier step": said("more", status=AckStatus.RECEIVED, minutes=90_000),
    "another answer": said("more", status=AckStatus.REFUSED, minutes=90_000),
    "more time": said("more", status=AckStatus.IN_PROGRESS, minutes=90_000, extend=True),
    "in a reply": replied(),
    "of another partner": said("more", minutes=90_000, by="q"),
    "of the one that was signed": said("more", 2, status=AckStatus.REFUSED, minutes=90_000, statement=1),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_late_word_is_judged_as_if_nothing_had_been_folded(ledger: Ledger, history: History, late: Entry) -> None:
    ledger.fold(END, 100)
    ledger.apply([late])
    with closing(Ledger.open(ledger.path.with_name("other.sqlite"))) as other:
        other.apply([*history.entries, late])
        assert list(known(ledger)) == list(known(other))
    assert late.envelope is not None
    data = late.envelope.data
    touched = data.notice_id if isinstance(data, Acknowledged) else "n-p-1"
    assert places(ledger) == FOLDED | {touched: None}, "and nothing else was brought back"
    assert counted(ledger)


def test_a_contradiction_keeps_its_evidence_in_the_ledger(ledger: Ledger) -> None:
    ledger.fold(END, 100)
    ledger.apply([LATE["of the one that was signed"]])
    assert [each.notice_id for each in ledger.contradictions(None, None, 10)] == ["n-p-2"]
    assert fold_all(ledger) == 0
    assert places(ledger) == FOLDED | {"n-p-2": 0}, "it was looked at, and stays"
    shutil.rmtree(directory_of(ledger.path))
    told = [entry.detail["verdict"] for entry in ledger.timeline("user:2") if entry.kind == "acknowledged"]
    assert told == ["applied", "contradiction"]
    assert ledger.statement("s-1") is not None, "with the body that it is disputed by"


def test_a_step_of_a_deadline_that_was_told_before_counts_once(ledger: Ledger, history: History) -> None:
    ledger.fold(END, 100)
    more = History()
    more.marked((1, 2), Deadline.RECEIVE, Step.BREACHED, 90_000)
    more.marked((1,), Deadline.COMPLETE, Step.BREACHED, 90_000)
    late = [replace(entry, offset=number) for number, entry in enumerate(more.entries, 2)]
    ledger.apply(late)
    with closing(Ledger.open(ledger.path.with_name("other.sqlite"))) as other:
        other.apply([*history.entries, *late])
        assert list(known(ledger)) == list(known(other))
        assert ledger.deadlines_told() == other.deadlines_told()


def test_what_is_folded_again_is_in_the_same_month_and_whole(ledger: Ledger) -> None:
    ledger.fold(END, 100)
    ledger.apply([LATE["the same once more"]])
    before = list(known(ledger))
    assert ledger.fold(END, 100) == Folded(1, 1)
    assert places(ledger) == FOLDED
    assert list(known(ledger)) == before
    assert ledger.wrong_with_archives() == []


def test_who_only_repeats_himself_makes_no_archive_longer(ledger: Ledger) -> None:
    ledger.fold(END, 100)
    kept = archive(ledger).read_bytes()
    before = list(known(ledger))
    for offset, number in enumerate((1, 2, 1, 2), 4):
        again = said(f"a-{number}-completed-deleted-p-{'None' if number == 1 else '1'}", number, minutes=31)
        ledger.apply([replace(again, offset=offset)])
        assert places(ledger)[f"n-p-{number}"] is None
        assert ledger.fold(END, 100) == Folded(1, 1)
        assert counted(ledger)
    assert list(known(ledger))[1:] == before[1:], "all but the offsets"
    assert archive(ledger).read_bytes() == kept
    assert ledger.wrong_with_archives() == []


def test_archives_of_a_sealed_ledger_name_nobody(tmp_path: Path, history: History) -> None:
    with closing(Ledger.open(tmp_path / "ledger.sqlite", veils=(VEILS["sealed"],))) as ledger:
        ledger.apply(history.entries)
        fold_all(ledger)
        with closing(sqlite3.connect(archive(ledger))) as kept:
            bodies = kept.execute("SELECT body FROM blocks UNION ALL SELECT body FROM statements").fetchall()
        plain = b"".join(zlib.decompress(body) for (body,) in bodies)
        assert b"n-p-1" in plain
        for word in (b"user:", b"so\\u0000it is", b"\x00body"):
            assert word not in plain


def test_what_opens_again_comes_back(tmp_path: Path) -> None:
    """Left out since the user chose otherwise, and then delivered all the same."""
    history = History()
    history.issued(1)
    history.marked((1,), Deadline.RECEIVE, Step.BREACHED, 15)
    history.superseded(1, 20)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        assert ledger.fold(END, 10) == Folded(1, 1)
        later = History()
        later.superseded(0, 1)
        later.delivered(0, 30)
        ledger.apply([replace(later.entries[1], offset=1)])
        assert places(ledger) == {"n-p-1": None}
        assert rows(ledger, "SELECT COUNT(*) FROM deadline_marks") == [(1,)]
        answer = History()
        answer.answered(1, minutes=60 * 24 * 70)
        ledger.apply(answer.entries)
        before = list(known(ledger))
        assert fold_all(ledger) == 1, "and once more, by the month in which it was closed then"
        assert places(ledger) == {"n-p-1": 202603}
        assert list(known(ledger)) == before
        assert ledger.wrong_with_archives() == []


def test_a_notice_without_a_word_is_looked_at_once(tmp_path: Path) -> None:
    history = History()
    history.issued(1)
    history.superseded(1, 20)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        assert ledger.fold(END, 10) == Folded(1, 0)
        assert ledger.fold(END, 10) == Folded()
        assert not directory_of(ledger.path).exists()
        late = History()
        late.answered(1, AckStatus.RECEIVED, 21)
        ledger.apply(late.entries)
        assert ledger.fold(END, 10) == Folded(1, 1), "but again if there is news"


def test_a_statement_stays_while_anything_refers_to_it(tmp_path: Path) -> None:
    history = History()
    history.signed(1)
    for number in (1, 2):
        history.issued(number)
        history.answered(number, minutes=10 * number, statement=1)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        ledger.fold(at(15), 10)
        assert rows(ledger, "SELECT id FROM statements") == [("s-1",)]
        ledger.fold(END, 10)
        assert rows(ledger, "SELECT id FROM statements") == []
        again = replace(history.entries[0], offset=3)
        ledger.apply([again])
        assert rows(ledger, "SELECT id FROM statements") == [], "a repeated one is known"
        found = ledger.statement("s-1")
        assert found is not None
        assert found.received_at == at(20)


def test_a_step_ends_at_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    monkeypatch.setattr(folding, "MOST_BYTES", 1)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        assert [ledger.fold(END, 100) for _ in range(3)] == [Folded(1, 1), Folded(1, 1), Folded()]


# -- archives that are not as they were


def missing(path: Path) -> None:
    path.unlink()


def damaged(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE blocks SET body = X'00'")


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def no_database(path: Path) -> None:
    path.write_bytes(b"a letter" * 1000)


def emptied(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM blocks")


def another_month(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = 202602 WHERE name = 'month'")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = 'another' WHERE name = 'archives'")


def of_other_notices(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE blocks SET body = ?", (packed([Kept("n-p-9", [], [])]),))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, "is missing"),
        (damaged, "number 1 of its blocks cannot be read"),
        (torn, "malformed|disk I/O|not a database"),
        (no_database, "not a database"),
        (emptied, "does not have number 1 of its blocks"),
        (another_month, "is of another month"),
        (foreign, "belongs to another ledger"),
        (of_other_notices, "does not have notice n-p-[12]"),
    ],
)
def test_an_archive_that_is_not_as_it_was_is_told_and_nothing_is_left_out(
    ledger: Ledger, history: History, spoil: Callable[[Path], None], words: str
) -> None:
    history.issued(3)
    ledger.apply(history.entries)
    ledger.fold(END, 100)
    before = list(known(ledger))
    path = archive(ledger)
    kept = path.read_bytes()
    spoil(path)
    told = f"the ledger's archive of 2026-01, {path}, .*({words}).*put back"
    for question in (lambda: ledger.timeline("user:1"), lambda: list(ledger.export())):
        with pytest.raises(StorageUnusable, match=told):
            question()
    for late in (LATE["a repeated one"], LATE["another answer"]):
        with pytest.raises(StorageUnusable, match=told):
            ledger.apply([late])
    assert ledger.offsets()[late_place()] == 4, "nothing was projected"
    assert re.search(words, " ".join(ledger.wrong_with_archives())) or spoil is of_other_notices
    assert len(ledger.wrong_with_archives()) > 0
    # Who needs nothing of it notices nothing, and all else is projected.
    assert [entry.kind for entry in ledger.timeline("user:3")] == ["notice_issued"]
    assert ledger.totals().notices == 3
    path.write_bytes(kept)
    assert list(known(ledger)) == before
    assert ledger.wrong_with_archives() == []
    ledger.apply([LATE["another answer"]])
    assert len(ledger.contradictions(None, None, 10)) == 1


def late_place() -> TopicPartition:
    return TopicPartition("rescind.acknowledgements", 0)


def test_nothing_is_added_to_an_archive_that_is_missing(ledger: Ledger, history: History) -> None:
    ledger.fold(END, 100)
    archive(ledger).rename(ledger.path.with_name("away"))
    history.issued(3)
    history.answered(3, minutes=40)
    ledger.apply(history.entries)
    with pytest.raises(StorageUnusable, match="is missing"):
        ledger.fold(END, 100)
    assert list(directory_of(ledger.path).rglob("*.sqlite")) == [], "a new one would hide that"
    assert places(ledger)["n-p-3"] is None


def test_a_ledger_that_was_made_anew_does_not_touch_what_an_older_one_folded(ledger: Ledger, history: History) -> None:
    ledger.fold(END, 100)
    old = archive(ledger)
    kept = old.read_bytes()
    name = ledger.ledger_id
    ledger.close()
    for suffix in ("", "-wal", "-shm"):
        ledger.path.with_name(ledger.path.name + suffix).unlink(missing_ok=True)
    with closing(Ledger.open(ledger.path, ledger_id=name)) as anew:
        anew.apply(history.entries[:-1])
        fold_all(anew)
        assert anew.shelf().left == [old.parent]
        assert [each.notices for each in anew.shelf().archives] == [1]
        assert anew.wrong_with_archives() == []
    assert old.read_bytes() == kept


# -- crashes


class Killed(BaseException):
    """As if the process had died."""


@pytest.mark.parametrize("where", ["before anything", "archives are durable", "the ledger forgot", "it committed"])
def test_a_writer_that_dies_at_a_step_leaves_nothing_undone_or_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = list(known(ledger))
    record = Folding.record

    def dies(*_: Any) -> Any:
        raise Killed

    def dies_after(self: Folding, prepared: Any) -> Any:
        record(self, prepared)
        raise Killed

    transaction = Ledger._transaction

    @contextmanager
    def commits_and_dies(self: Ledger) -> Iterator[None]:
        with transaction(self):
            yield
        raise Killed

    with monkeypatch.context() as patched:
        if where == "before anything":
            patched.setattr(Archives, "append", dies)
        elif where == "archives are durable":
            patched.setattr(Folding, "record", dies)
        elif where == "the ledger forgot":
            patched.setattr(Folding, "record", dies_after)
        else:
            patched.setattr(Ledger, "_transaction", commits_and_dies)
        with pytest.raises(Killed):
            ledger.fold(END, 1)
    ledger.close()
    done = where == "it committed"
    with closing(Ledger.open(ledger.path)) as again:
        assert list(known(again)) == before
        assert sum(month is not None for month in places(again).values()) == done
        assert fold_all(again, most=1) == 2 - done
        assert list(known(again)) == before
        assert again.wrong_with_archives() == []
        assert counted(again)
        with closing(sqlite3.connect(archive(again))) as kept:
            assert kept.execute("SELECT number FROM blocks").fetchall() == [(1,), (2,)], "nothing was left behind"


def test_a_late_word_between_two_tries_is_in_the_archive_that_counts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Folding, "record", dies)
        with pytest.raises(Killed):
            ledger.fold(END, 100)
    ledger.apply([LATE["the same once more"]])
    before = list(known(ledger))
    fold_all(ledger)
    assert list(known(ledger)) == before


def test_a_disk_that_fills_up_while_folding_loses_nothing() -> None:
    with mounted("size=6m") as disk:
        ledger = Ledger.open(disk / "ledger.sqlite")
        history = History()
        for number in range(300):
            history.issued(number)
            history.answered(number, minutes=31)
        ledger.apply(history.entries)
        before = list(ledger.export())
        ballast = fill(disk)
        failures = 0
        for room in range(0, 1_200_000, 40_000):
            os.truncate(ballast, max(0, ballast.stat().st_size - 40_000))
            try:
                if not ledger.fold(END, 64).looked_at:
                    break
            except StorageUnusable as error:
                assert "full" in str(error) or "cannot be" in str(error)
                failures += 1
            assert list(ledger.export()) == before, room
        assert failures > 0
        ballast.unlink()
        fold_all(ledger)
        assert list(ledger.export()) == before
        assert ledger.wrong_with_archives() == []
        ledger.close()


def test_the_file_gets_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_FREE_PAGES", 32)
    history = History()
    for number in range(3000):
        history.issued(number)
        history.answered(number, minutes=31)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        fold_all(ledger)
        ((free,),) = rows(ledger, "PRAGMA freelist_count")
        ((pages,),) = rows(ledger, "PRAGMA page_count")
        spare = free - max(32, pages // 64)
        assert spare > 50, "so that there is something to give back"
        steps = 1
        while ledger.give_back(10):
            steps += 1
        ((after,),) = rows(ledger, "PRAGMA page_count")
        assert pages - after >= spare, "pages that tell where others are go, too"
        assert steps == -(-spare // 10)
