"""Imports: in order, by line number, resumable at every batch, and patient with a service that is away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from rescind.client import ApiError, Unreachable
from rescind.importing import BAD_KEPT, Import, Options, Stopped, Summary
from rescind.splitting import LONGEST
from streams.errors import InvalidInput, RescindError
from tests.unit.cli.fakes import Crash, ManualTime, MemoryTarget

NOON = "2026-01-01T12:00:00Z"
HEADER = "subject,purpose,choice,occurred_at,source"


def row(subject: str, source: str = "") -> str:
    return f"user:{subject},ai-training,opt_out,{NOON},{source}"


def numbered(count: int) -> list[str]:
    return [row(str(number)) for number in range(count)]


def users(numbers: Iterable[int | str]) -> list[str]:
    return [f"user:{number}" for number in numbers]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_it(rows: list[str], name: str = "file.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([HEADER, *rows]) + "\n")
        return path

    return write_it


def progress_of(path: Path) -> Path:
    return path.with_name(path.name + ".rescind-progress")


def run_import(path: Path, target: Any, *, restart: bool = False, **options: Any) -> Summary:
    return Import(path, target, Options(**options)).run(restart=restart)


def bad_lines(summary: Summary) -> list[int]:
    return [bad.number for bad in summary.bad]


def test_a_file_is_sent_in_its_order_in_batches(write: Callable[..., Path]) -> None:
    target = MemoryTarget()
    summary = run_import(write(numbered(7)), target, batch=3)
    assert (summary.accepted, summary.skipped, target.requests) == (7, 0, 3)
    assert target.subjects == users(range(7))


@pytest.mark.parametrize("name", ["f.ndjson", "f.jsonl", "F.NDJSON"])
def test_ndjson_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    toggle = {"subject": "user:0", "purpose": "ai", "choice": "opt_in", "occurred_at": NOON}
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(toggle).encode() + b"\r\n\r\n[]\r\n{}")
    summary = run_import(path, target := MemoryTarget())
    assert target.subjects == ["user:0"]
    assert bad_lines(summary) == [3, 4]


def test_a_file_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    content = "\r\n".join([HEADER, row("0"), "", row("1", '"a, ""b"""'), "   ", row("2")])
    path.write_bytes(content.encode("utf-8-sig"))
    summary = run_import(path, target := MemoryTarget())
    assert (target.subjects, summary.skipped) == (users(range(3)), 0)
    assert target.taken[1]["source"] == 'a, "b"'


def test_bad_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    parts = [
        HEADER.encode(),
        row("0").encode(),
        b"",
        b"nonsense",  # 4
        row("1", '"three\nlines\nlong"').encode(),
        b"user:\xff,ai-training,opt_out," + NOON.encode() + b",",  # 8
        b"x" * (LONGEST + 1),  # 9
        b" " * (3 * LONGEST) + row("hidden").encode(),  # 10
        b"user:\0,ai-training,opt_out," + NOON.encode() + b",",  # 11
        row("2").encode(),
        row("3", '"never closed').encode(),  # 13
        row("4").encode(),
        row("bad", f'"too long{"x" * 200}\n"').encode(),  # 15
        b"last",  # 17
    ]
    path.write_bytes(b"\n".join(parts))
    summary = run_import(path, target := MemoryTarget())
    assert bad_lines(summary) == [4, 8, 9, 10, 11, 13, 15, 17]
    assert target.subjects == users([0, 1, 2, 4])


def test_the_inside_of_a_quoted_field_is_never_read_as_a_line(write: Callable[..., Path]) -> None:
    inside = f"a\n{row('injected')}\nb"
    summary = run_import(write([row("0", f'"{inside}"'), row("1")]), target := MemoryTarget())
    assert target.subjects == users(range(2))
    assert target.taken[0]["source"] == inside
    assert summary.skipped == 0


@pytest.mark.parametrize("bad_row", ["nonsense", row("5", '"unclosed')])
def test_stopping_at_a_bad_line_sends_what_is_before_it_and_nothing_after(
    write: Callable[..., Path], bad_row: str
) -> None:
    target = MemoryTarget()
    with pytest.raises(Stopped, match=r"^line 7: "):
        run_import(write([*numbered(5), bad_row, row("6")]), target, batch=3, stop_on_error=True)
    assert target.subjects == users(range(5))


def test_stopping_at_a_line_that_the_service_refuses(write: Callable[..., Path]) -> None:
    target = MemoryTarget(refuse=lambda toggle: "no" if toggle["subject"] in ("user:3", "user:4") else None)
    with pytest.raises(Stopped, match=r"^line 5: no$"):
        run_import(write(numbered(8)), target, batch=8, stop_on_error=True)
    assert target.subjects == users(range(3))


def test_after_a_stop_the_mended_file_goes_on_where_it_stopped(write: Callable[..., Path]) -> None:
    rows = numbered(9)
    target = MemoryTarget()
    with pytest.raises(Stopped):
        run_import(write([*rows[:5], "nonsense", *rows[6:]]), target, batch=3, stop_on_error=True)
    summary = run_import(write([*rows, row("appended")]), target, batch=3, stop_on_error=True)
    assert [toggle["subject"] for toggle in target.taken] == users([*range(9), "appended"])
    assert summary.accepted == 10


def test_what_the_service_refuses_is_reported_by_line_and_the_rest_is_sent(write: Callable[..., Path]) -> None:
    target = MemoryTarget(
        refuse=lambda toggle: "too far in the future" if toggle["subject"] in "user:1user:5" else None
    )
    summary = run_import(write([row("0"), "nonsense", *numbered(7)[1:]]), target, batch=4)
    assert sorted(bad_lines(summary)) == [3, 4, 8]
    assert {bad.reason for bad in summary.bad} >= {"too far in the future"}
    assert target.subjects == users([0, 2, 3, 4, 6])


def test_several_errors_of_one_line_are_one_bad_line(write: Callable[..., Path]) -> None:
    class Picky(MemoryTarget):
        def post_toggles(self, toggles: Any) -> list[str]:
            if len(toggles) == 2:
                errors = [
                    {"index": 1, "pointer": "/purpose", "detail": "unknown"},
                    {"index": 1, "pointer": "", "detail": "too old"},
                ]
                raise ApiError(422, "1 is not valid", errors)
            return super().post_toggles(toggles)

    summary = run_import(write(numbered(2)), Picky())
    assert [(bad.number, bad.reason) for bad in summary.bad] == [(3, "purpose: unknown; too old")]
    assert (summary.accepted, summary.skipped) == (1, 1)


@pytest.mark.parametrize(
    "errors",
    [[], [{"detail": "x"}], [{"index": None}], [{"index": 2}], [{"index": -1}], [{"index": "0"}], [{"index": True}]],
)
def test_a_refusal_that_names_no_line_ends_the_import(write: Callable[..., Path], errors: list[Any]) -> None:
    target = MemoryTarget(before={0: ApiError(422, "no", errors)})
    with pytest.raises(ApiError):
        run_import(write(numbered(2)), target)
    assert target.requests == 1


def test_bad_lines_beyond_a_bound_are_counted_and_not_kept(write: Callable[..., Path]) -> None:
    summary = run_import(write(["nonsense"] * (BAD_KEPT + 50)), MemoryTarget())
    assert (summary.skipped, len(summary.bad)) == (BAD_KEPT + 50, BAD_KEPT)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(5))
def test_an_interrupted_import_goes_on_at_its_last_batch(write: Callable[..., Path], moment: str, number: int) -> None:
    rows = numbered(9)
    rows[1] = rows[7] = "nonsense"
    rows.insert(5, "")
    path = write(rows)
    target = MemoryTarget()
    (target.before if moment == "before" else target.after)[number] = Crash()
    if number < 4:
        with pytest.raises(Crash):
            run_import(path, target, batch=2)
    assert progress_of(path).exists() == (0 < number < 4)
    summary = run_import(path, target, batch=2)
    assert target.subjects == users([0, 2, 3, 4, 5, 6, 8])
    # Only the batch in doubt is repeated, under the same ids.
    assert len(target.taken) - 7 == (min(2, 7 - 2 * number) if moment == "after" and number < 4 else 0)
    assert len({toggle["id"] for toggle in target.taken}) == 7
    assert (summary.accepted, bad_lines(summary)) == (7, [3, 10])
    assert not progress_of(path).exists()


def test_a_finished_import_leaves_nothing_behind_and_repeats_the_same_ids(write: Callable[..., Path]) -> None:
    path = write([*numbered(4), row("0")])
    run_import(path, first := MemoryTarget(), batch=2)
    run_import(path, second := MemoryTarget(), batch=3)
    assert list(path.parent.iterdir()) == [path]
    assert first.taken == second.taken
    assert first.taken[0]["id"] == first.taken[4]["id"]
    assert len({toggle["id"] for toggle in first.taken}) == 4


def interrupted(path: Path, **options: Any) -> MemoryTarget:
    """An import that ended after its first two lines."""
    target = MemoryTarget(before={1: Crash()})
    with pytest.raises(Crash):
        run_import(path, target, batch=2, **options)
    return target


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: ["other", *lines[1:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [lines[0] + " ", *lines[1:]],
        lambda lines: [lines[0], "", *lines[1:]],
        lambda lines: lines[:2],
        lambda lines: lines[:1],
    ],
)
def test_a_file_that_changed_where_it_was_sent_is_refused(
    write: Callable[..., Path], change: Callable[[list[str]], list[str]]
) -> None:
    path = write(numbered(6))
    target = interrupted(path)
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(InvalidInput) as refused:
        run_import(path, target, batch=2)
    if "other" not in path.read_text():
        assert str(refused.value) == f"{path} has changed since the import was interrupted; use --restart"
    assert len(target.taken) == 2


def test_a_file_that_was_only_touched_or_appended_to_goes_on(write: Callable[..., Path]) -> None:
    path = write(numbered(4))
    target = interrupted(path)
    os.utime(path, (0, 0))
    path.write_text(path.read_text() + row("more") + "\n")
    run_import(path, target, batch=2)
    assert target.subjects == users([*range(4), "more"])


def test_restarting_begins_anew_and_forgets_the_old_progress_at_once(write: Callable[..., Path]) -> None:
    path = write(numbered(4))
    interrupted(path)
    target = MemoryTarget(before={0: Crash()})
    with pytest.raises(Crash):
        run_import(path, target, batch=2, restart=True)
    # What the restart meant to send again is not skipped by the next attempt either.
    run_import(path, target, batch=2)
    assert target.subjects == users(range(4))


def test_progress_with_one_service_counts_for_no_other(write: Callable[..., Path]) -> None:
    path = write(numbered(4))
    interrupted(path, destination="http://one")
    warnings: list[str] = []
    other = MemoryTarget()
    Import(path, other, Options(batch=2, destination="http://other"), on_warning=warnings.append).run()
    assert other.subjects == users(range(4))
    assert warnings == ["an import into http://one was interrupted; this one begins anew"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b'{"offset": 3}',
        b"[" * 100_000,
        b"PROGRESS,",
        b'{"identity":"1:2:a"}',
    ],
)
def test_a_damaged_progress_file_is_refused_in_one_line(write: Callable[..., Path], content: bytes) -> None:
    path = write(numbered(4))
    interrupted(path)
    before = progress_of(path).read_bytes()
    progress_of(path).write_bytes(content.replace(b"PROGRESS", before))
    with pytest.raises(InvalidInput, match=r"is damaged; use --restart$"):
        run_import(path, MemoryTarget())
    assert run_import(path, MemoryTarget(), restart=True).accepted == 4


@pytest.mark.parametrize("name", ["offset", "accepted", "skipped"])
def test_impossible_progress_is_refused(write: Callable[..., Path], name: str) -> None:
    path = write(numbered(4))
    interrupted(path)
    mark = json.loads(progress_of(path).read_bytes())
    for impossible in (-1, True, "1", 1.5, None):
        progress_of(path).write_text(json.dumps(mark | {name: impossible}))
        with pytest.raises(InvalidInput, match="damaged"):
            run_import(path, MemoryTarget())


def test_an_import_goes_on_without_progress_where_that_cannot_be_written(write: Callable[..., Path]) -> None:
    path = write(numbered(5))
    # A directory in its place: unwritable for root, too.
    Path(f"{progress_of(path)}.new").mkdir()
    warnings: list[str] = []
    running = Import(path, target := MemoryTarget(), Options(batch=2), on_warning=warnings.append)
    assert running.run().accepted == 5
    assert target.subjects == users(range(5))
    assert len(warnings) == 2
    assert "cannot write" in warnings[0]
    assert "cannot remove" in warnings[1]


def test_a_progress_file_that_cannot_be_read_is_one_line(write: Callable[..., Path]) -> None:
    path = write(numbered(2))
    progress_of(path).mkdir()
    with pytest.raises(InvalidInput, match=r"cannot read .*rescind-progress: Is a directory; use --restart"):
        run_import(path, MemoryTarget())
    with pytest.raises(RescindError, match=r"cannot remove .*rescind-progress"):
        run_import(path, MemoryTarget(), restart=True)


def test_what_cannot_be_imported_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "long.csv").write_bytes(b"x" * (LONGEST + 1))
    (tmp_path / "utf16.csv").write_bytes("subject".encode("utf-16-le"))
    os.mkfifo(tmp_path / "pipe.csv")
    for name, reason in {
        "missing.csv": "No such file or directory",
        ".": "Is a directory",
        "missing.csv/x": "No such file or directory",
        "empty.csv/x": "Not a directory",
        "empty.csv": "is empty",
        "long.csv": f"longer than {LONGEST} bytes",
        "utf16.csv": "NUL byte",
        "pipe.csv": "no regular file",
    }.items():
        with pytest.raises(InvalidInput, match=reason):
            run_import(tmp_path / name, MemoryTarget())
    with pytest.raises(InvalidInput, match=r"no regular file"):
        run_import(Path("/dev/null"), MemoryTarget())


def test_standard_input_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="write it to a file first"):
        run_import(Path("-"), MemoryTarget())


def test_a_file_without_toggles_is_no_error(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "bom.ndjson").write_bytes(b"\xef\xbb\xbf\n")
    for path in (write([]), tmp_path / "empty.ndjson", tmp_path / "bom.ndjson"):
        assert run_import(path, target := MemoryTarget()) == Summary()
        assert target.requests == 0


@pytest.mark.parametrize("error", [Unreachable("gone"), *(ApiError(status, "busy") for status in (429, 502, 503, 504))])
def test_a_service_that_is_away_is_tried_again_ever_more_slowly(
    write: Callable[..., Path], error: RescindError
) -> None:
    clock = ManualTime()
    target = MemoryTarget(before=dict.fromkeys(range(9), error))
    running = Import(write(numbered(3)), target, Options(), sleep=clock.sleep, monotonic=clock.monotonic)
    assert running.run().accepted == 3
    assert clock.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_the_limit_for_trying_again_is_kept_and_counts_for_each_batch(write: Callable[..., Path]) -> None:
    path = write(numbered(4))
    clock = ManualTime()
    away = dict.fromkeys([0, 1, 3, 4, *range(6, 99)], Unreachable("gone"))
    target = MemoryTarget(before=dict[int, BaseException](away))
    with pytest.raises(Unreachable):
        Import(path, target, Options(batch=1, retry_for=0.4), sleep=clock.sleep, monotonic=clock.monotonic).run()
    assert target.subjects == users([0, 1])
    # The third batch would have had to wait beyond its 0.4 s.
    assert clock.slept == [0.1, 0.2] * 3
    assert progress_of(path).exists()


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413, 500])
def test_a_refusal_is_not_tried_again(write: Callable[..., Path], status: int) -> None:
    clock = ManualTime()
    target = MemoryTarget(before={0: ApiError(status, "no")})
    with pytest.raises(ApiError):
        Import(write(numbered(3)), target, Options(), sleep=clock.sleep).run()
    assert (clock.slept, target.requests) == ([], 1)


def test_progress_tells_what_is_sent_and_begins_where_it_was_interrupted(write: Callable[..., Path]) -> None:
    path = write(numbered(5))
    target = interrupted(path)
    told: list[int] = []
    Import(path, target, Options(batch=2), on_progress=told.append).run()
    lengths = [len(line) for line in path.read_bytes().splitlines(keepends=True)]
    assert told == [sum(lengths[:3]), sum(lengths[:5]), sum(lengths)]
