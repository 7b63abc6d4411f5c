"""`rescind ledger archives`: which there are, and whether all that was folded is in them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ledger import Ledger
from rescind.cli import main
from streams.embedded.log import EmbeddedLog
from tests.folding import END, History, fold_all
from tests.unit.cli.conftest import Run

MINUTES_A_DAY = 60 * 24
NOTHING: dict[str, list[str]] = {"archives": [], "left": []}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three notices that were answered in January, and one in March, by a signed callback."""
    history = History()
    history.signed(1, 70 * MINUTES_A_DAY)
    for number in range(4):
        history.issued(number)
        history.answered(number, minutes=31)
    history.issued(4)
    history.answered(4, minutes=70 * MINUTES_A_DAY, statement=1)
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.apply(history.entries)
        fold_all(ledger, END + timedelta(days=1))
    return tmp_path


def archive(data: Path, month: str) -> Path:
    (path,) = data.glob(f"ledger-archives/*/{month}.sqlite")
    return path


def test_months_are_listed_with_what_they_hold(run: Run, data: Path) -> None:
    ran = run("ledger", "archives", "--data", str(data))
    assert (ran.code, ran.err) == (0, "")
    header, january, march = (line.split() for line in ran.out.splitlines())
    assert header == ["month", "notices", "statements", "bytes"]
    size = f"{archive(data, '2026-01').stat().st_size:,}"
    assert january == ["2026-01", "4", "0", size]
    assert march[:3] == ["2026-03", "1", "1"]
    found = json.loads(run("ledger", "archives", "--data", str(data), "--json").out)
    assert found["archives"][0] == {
        "month": "2026-01", "notices": 4, "statements": 0, "bytes": archive(data, "2026-01").stat().st_size,
        "path": str(archive(data, "2026-01")),
    }  # fmt: skip
    assert found["left"] == []


def test_all_of_them_can_be_read_back(run: Run, data: Path) -> None:
    ran = run("ledger", "archives", "--data", str(data), "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "every archive is whole: all that was folded is found in them"
    assert json.loads(run("ledger", "archives", "--data", str(data), "--verify", "--json").out)["wrong"] == []


def test_one_that_is_missing_and_one_that_lacks_something_are_told(run: Run, data: Path) -> None:
    archive(data, "2026-03").unlink()
    with closing(sqlite3.connect(archive(data, "2026-01"), isolation_level=None)) as connection:
        connection.execute("DELETE FROM blocks")
    listed = run("ledger", "archives", "--data", str(data))
    assert listed.code == 0
    assert listed.out.splitlines()[-1].split() == ["2026-03", "1", "1", "missing"]
    ran = run("ledger", "archives", "--data", str(data), "--verify")
    assert ran.code == 1
    lacks, missing = ran.err.splitlines()
    assert "2026-01.sqlite, does not have number 1 of its blocks: put back" in lacks
    assert "2026-03.sqlite, is missing: put back" in missing
    ran = run("ledger", "archives", "--data", str(data), "--verify", "--json")
    assert (ran.code, json.loads(ran.out)["wrong"]) == (1, [lacks, missing])


def test_an_export_that_needs_one_that_is_missing_is_one_line_and_no_file(run: Run, data: Path) -> None:
    archive(data, "2026-03").unlink()
    ran = run("ledger", "export", "--data", str(data), "--out", str(data / "out"))
    assert ran.code == 2
    assert "is missing: put back" in ran.err
    assert ran.err.count("\n") == 1
    assert not (data / "out").exists()


def test_a_ledger_without_any_says_so(run: Run, tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger.sqlite").close()
    for more in ((), ("--verify",)):
        ran = run("ledger", "archives", "--data", str(tmp_path), *more)
        assert (ran.code, ran.out, ran.err) == (0, "nothing was folded into archives\n", "")
    assert json.loads(run("ledger", "archives", "--data", str(tmp_path), "--json").out) == NOTHING


def test_no_ledger_is_one_line(run: Run, tmp_path: Path) -> None:
    ran = run("ledger", "archives", "--data", str(tmp_path))
    assert (ran.code, ran.out) == (2, "")
    assert "there is no ledger" in ran.err


def test_a_rebuilt_ledger_leaves_the_old_ones_archives_and_says_where(run: Run, data: Path) -> None:
    EmbeddedLog(f"sqlite://{data}/log.sqlite").close()
    kept = {path.name: path.read_bytes() for path in data.glob("ledger-archives/*/*")}
    ran = run("ledger", "rebuild", "--data", str(data))
    assert ran.code == 0, ran.err
    rebuilt, left = ran.out.splitlines()
    assert rebuilt == f"rebuilt {data}/ledger.sqlite"
    assert left.startswith(f"archives of older ledgers are left in {data}/ledger-archives")
    ran = run("ledger", "archives", "--data", str(data))
    nothing, left = ran.out.splitlines()
    assert nothing == "nothing was folded into archives"
    assert left.startswith("left by an older ledger, which nothing reads any more: ")
    assert {path.name: path.read_bytes() for path in data.glob("ledger-archives/*/*")} == kept


def test_the_doctor_tells_of_one_that_is_missing(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    shutil.move(archive(data, "2026-03"), data / "away")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--data", str(data)])
    assert ended.value.code == 2
    assert "2026-03.sqlite is missing: restore it from a backup" in capsys.readouterr().out
