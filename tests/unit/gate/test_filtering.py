"""A whole file through the gate, in each format: what goes out, what is kept back, and what is left when it is killed
anywhere."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from rescind.gate.deciding import Column, Layout, Reason, Refused
from rescind.gate.filtering import Filtering, Places, Summary
from rescind.gate.formats import Format, source_of
from rescind.gate.handing import Handed, Unsettled
from streams.errors import InvalidInput
from tests.unit.gate.fakes import BLOG, NO_PATIENCE, Crash, MemoryService, consents, task

WITH_AUTHOR = Layout((Column("blog"), Column("author", "user:")), "who", frozenset({"public", "true"}))


def lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


class Run:
    """One input through a gate into a directory."""

    def __init__(self, directory: Path, data: bytes, service: MemoryService, layout: Layout, form: Format) -> None:
        self.out = directory / "out"
        self.data = data
        self.service = service
        self.layout = layout
        self.form = form
        self.summary = Summary()

    def __call__(self, *, resume: bool = False, mark_every: int = 1, file: BinaryIO | None = None) -> Handed:
        filtering = Filtering(
            task(self.layout, self.form), source_of(self.form, self.layout), self.service, Places.beside(self.out),
            patience=NO_PATIENCE, mark_every=mark_every,
        )  # fmt: skip
        self.summary = filtering.summary
        try:
            return filtering.run(file or io.BytesIO(self.data), resume=resume)
        finally:
            self.summary = filtering.summary

    def left(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.parent.iterdir() if path.is_file()}


def through(
    directory: Path, data: bytes, *out: str, layout: Layout = BLOG, form: Format = Format.NDJSON, **options: Any
) -> Run:
    run = Run(directory, data, MemoryService(consents(*out), **options), layout, form)
    run()
    return run


def test_what_is_allowed_goes_out_as_it_came(tmp_path: Path) -> None:
    cleared = [b'{"blog": "blog:a", "text": "\\u00e9"}', b' {"blog":"blog:c"}\t\r', b'{"x":{"blog":1},"blog":"blog:a"}']
    data = lines(cleared[0], {"blog": "blog:b"}, cleared[1], cleared[2])
    run = through(tmp_path, data, "blog:b", "blog:z")
    assert run.out.read_bytes() == lines(*cleared)
    assert run.service.subjects == ["blog:a", "blog:c"]
    assert run.summary == Summary(4, 3, {Reason.OPTED_OUT: 1})  # type: ignore[arg-type]
    said = run.service.closed
    assert said == {
        "watermark": {"rescind.decisions": {"0": 7}}, "blocks": 1, "subjects": 2, "rows_read": 4, "rows_cleared": 3,
        "dropped": {"opted_out": 1}, "sha256": hashlib.sha256(lines(*cleared)).hexdigest(),
        "bytes": len(lines(*cleared)), "format": "ndjson",
    }  # fmt: skip
    assert set(run.left()) == {"out", "out.manifest.json"}
    assert json.loads(run.left()["out.manifest.json"])["output"]["sha256"] == said["sha256"]
    assert list(tmp_path.glob("*.gate")) == []


def test_several_subjects_lists_prefixes_and_visibility(tmp_path: Path) -> None:
    fine = [
        {"blog": "blog:a", "author": 7, "who": "public"},
        {"blog": ["blog:a", "blog:b"], "author": ["8", 9], "who": True},
    ]
    rows = [
        *fine,
        {"blog": "blog:a", "author": 1, "who": "public"},
        {"blog": ["blog:a", "blog:out"], "author": 7, "who": "public"},
        {"blog": "blog:a", "author": 7, "who": "friends"},
        {"blog": "blog:a", "author": 7, "who": ["public"]},
        {"blog": "blog:a", "author": 7},
        {"blog": "blog:a", "author": True, "who": "public"},
        {"blog": [], "author": 7, "who": "public"},
    ]
    run = through(tmp_path, lines(*rows), "user:1", "blog:out", layout=WITH_AUTHOR)
    assert run.out.read_bytes() == lines(*fine)
    assert run.service.subjects == ["blog:a", "blog:b", "user:7", "user:8", "user:9"]
    assert dict(run.summary.dropped) == {Reason.OPTED_OUT: 2, Reason.VISIBILITY: 3, Reason.MALFORMED: 2}


MALFORMED: list[tuple[bytes, str]] = [
    (b"nonsense", "it is not JSON"),
    (b'{"blog":"blog:out"},{"blog":"blog:a"}', "it is not JSON"),
    (b'{"blog":"blog:a"}{"blog":"blog:a"}', "it is not JSON"),
    (b'{"blog":["blog:a"', "it is not JSON"),
    (b'{"blog":"blog:\xff"}', "it is not JSON"),
    (b'{"blog":"blog:\\ud800"}', "it is not JSON"),
    (b'{"blog":"blog:a","text":NaN}', "it is not JSON"),
    (b'"blog:a"', "it is no object"),
    (b'["blog"]', "it is no object"),
    (b"7", "it is no object"),
    (b'{"Blog":"blog:a"}', "it has no blog"),
    (b'{"blog":null}', "it has no blog"),
    (b'{"blog":""}', "it has no blog"),
    (b'{"blog":[]}', "it has no blog"),
    (b'{"blog":7}', "its blog is neither text nor a list of texts"),
    (b'{"blog":{"blog":"blog:a"}}', "its blog is neither text nor a list of texts"),
    (b'{"blog":["blog:a",[]]}', "its blog is neither text nor a list of texts"),
    (b'{"blog":"a"}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"Blog:a"}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"blog:"}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"blog:a "}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"blog:a\\u2028"}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"blog:a\\n"}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":["blog:a",""]}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"blog:' + b"x" * 256 + b'"}', "its blog is not a subject, which is kind:id"),
    (b'{"blog":"blog:out","blog":"blog:a"}', "it has two of blog"),
    (b'{"blog":"blog:a","blog":"blog:a"}', "it has two of blog"),
    (b'{"blog":"blog:out","\\u0062lo\\u0067" :"blog:a"}', "it has two of blog"),
    (b'{"\\u0062log":"blog:a","\\u0062log":"blog:a"}', "it has two of blog"),
    (b'{"blog":"blog:a","x":{"blog":"1"},"blog":"blog:a"}', "it has two of blog"),
]


@pytest.mark.parametrize("alone", [True, False])
def test_a_row_of_which_it_cannot_be_told_whose_it_is_is_set_aside(tmp_path: Path, alone: bool) -> None:
    fine = [
        {"blog": "blog:a", "text": '"blog": is a word'},
        {"blog": "blog:\u2014b"},
        {"kind": "blog", "blog": "blog:c"},
    ]
    for number, (bad, why) in enumerate(MALFORMED):
        directory = tmp_path / str(number)
        directory.mkdir()
        rows = [bad, *fine] if alone else [*fine * 20, bad, *fine * 20]
        run = through(directory, b"\n" + lines(*rows) + b"\n", "blog:out")
        assert run.out.read_bytes() == lines(*[row for row in rows if row is not bad]), bad
        place = 2 if alone else 62
        assert run.summary.bad == [(place, why)], bad
        (reject,) = map(json.loads, run.left()["out.rejects"].splitlines())
        assert (reject["number"], reject["reason"]) == (place, why)
        assert run.service.subjects == ["blog:a", "blog:c", "blog:\u2014b"]


def test_malformed_lines_do_not_make_up_for_each_other(tmp_path: Path) -> None:
    """Joined with commas they would be as many values as lines, and their neighbours' rows shifted by one."""
    out, fine = b'{"blog":"blog:out"}', b'{"blog":"blog:a"}'
    rows = [fine, b'{"blog":["blog:a"', b"]}", b'{"blog":"blog:a"},{"blog":"blog:a"}', out, fine]
    run = through(tmp_path, lines(*rows), "blog:out")
    assert run.out.read_bytes() == lines(fine, fine)
    assert [number for number, _ in run.summary.bad] == [2, 3, 4]


def test_an_export_of_which_nothing_can_be_told_stays_open(tmp_path: Path) -> None:
    run = Run(tmp_path, lines({"bolg": "blog:a"}), MemoryService(consents()), BLOG, Format.NDJSON)
    with pytest.raises(Refused, match="no row can go out, and 1 are malformed"):
        run()
    assert run.service.closed is None
    assert set(run.left()) == {"out.rejects"}
    run.data = lines({"blog": "blog:a"})
    run()
    assert run.out.exists()


@pytest.mark.parametrize("data", [b"", b"\n \n"[:1], lines({"blog": "blog:out"})])
def test_an_export_may_be_empty(tmp_path: Path, data: bytes) -> None:
    run = through(tmp_path, data, "blog:out")
    assert run.out.read_bytes() == b""
    assert (run.service.subjects, run.service.blocks) == ([], {})


def test_withdrawals_are_written_beside_it(tmp_path: Path) -> None:
    run = through(tmp_path, lines({"blog": "blog:a"}), withdrawn=("blog:a", "blog:é"))
    assert run.left()["out.withdrawals"] == '"blog:a"\n"blog:é"\n'.encode()
    assert run.service.asked[-1] == "withdrawals"


def test_a_manifest_about_something_else_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, lines({"blog": "blog:a"}), MemoryService(consents()), BLOG, Format.NDJSON)
    real = run.service._manifest
    for wrong in ({"subjects": 2}, {"export": "other"}, {"output": None}, {"manifest": 2}):
        run.service._manifest = lambda export, wrong=wrong: real(export) | wrong  # type: ignore[method-assign, misc]
        with pytest.raises(Refused, match="the service's manifest"):
            run(resume=True)
        assert not run.out.exists()
    run.service._manifest = real  # type: ignore[method-assign]
    run.service.withdrawn = ("blog:a",)
    run.service.withdrawals = lambda export: []  # type: ignore[method-assign]
    with pytest.raises(Refused, match="withdrawals"):
        run(resume=True)
    assert not run.out.exists()


# -- CSV

TABLE = (
    b'\xef\xbb\xbfid,blog,text\r\n1,blog:a,"two\r\nlines, ""quoted"""\r\n2,blog:out,x\n\n3,blog:b,"three\n\n\nlines"\n'
    b'4,blog:out,"inside\n9,blog:c,hidden\n"\n5,blog:a\n6,nothing,x\n7,blog:a,"unclosed\n8,blog:d,last'
)


def test_csv_goes_out_as_it_came(tmp_path: Path) -> None:
    run = through(tmp_path, TABLE, "blog:out", form=Format.CSV)
    assert run.out.read_bytes() == (
        b'\xef\xbb\xbfid,blog,text\r\n1,blog:a,"two\r\nlines, ""quoted"""\r\n3,blog:b,"three\n\n\nlines"\n'
        b"8,blog:d,last\n"
    )
    assert run.summary.bad == [
        (13, "it has 2 columns instead of 3"),
        (14, "its blog is not a subject, which is kind:id"),
        (15, "it is not CSV"),
    ]
    assert run.service.subjects == ["blog:a", "blog:b", "blog:d"]
    assert len(list(csv.reader(io.StringIO(run.out.read_text("utf-8-sig"), newline=""), strict=True))) == 4


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "empty"),
        (b"id,text\n", "no column 'blog'"),
        (b"blog,blog\n", "more than one"),
        (b'"blog\n', "no line of CSV"),
    ],
)
def test_a_csv_header_must_have_the_columns(tmp_path: Path, header: bytes, words: str) -> None:
    run = Run(tmp_path, header, MemoryService(consents()), BLOG, Format.CSV)
    with pytest.raises(InvalidInput, match=words):
        run()
    assert run.service.closed is None


# -- Parquet

pyarrow = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402


def parquet(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    data = parquet(
        blog=[["blog:a"], ["blog:a", "blog:out"], [], None, ["blog:b", "blog:c"]],
        score=[1.5, 2.5, 3.5, 4.5, None],
        made=[b"1", b"2", b"3", b"4", b"5"],
    )
    run = through(tmp_path, data, "blog:out", form=Format.PARQUET)
    table = pq.read_table(io.BytesIO(run.out.read_bytes()))
    assert table.schema == pq.read_table(io.BytesIO(data)).schema
    assert table.to_pylist() == [
        {"blog": ["blog:a"], "score": 1.5, "made": b"1"},
        {"blog": ["blog:b", "blog:c"], "score": None, "made": b"5"},
    ]
    assert run.summary.bad == [(3, "it has no blog"), (4, "it has no blog")]
    assert run.service.subjects == ["blog:a", "blog:b", "blog:c"]
    assert run.service.closed is not None
    assert run.service.closed["sha256"] == hashlib.sha256(run.out.read_bytes()).hexdigest()


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    for data, words in ((b"PAR1 nonsense", "not Parquet"), (parquet(other=["x"]), "no column 'blog'")):
        run = Run(tmp_path, data, MemoryService(consents()), BLOG, Format.PARQUET)
        with pytest.raises(InvalidInput, match=words):
            run()
        assert list(tmp_path.iterdir()) == []


# -- killed

MANY = [{"blog": f"blog:{number % 50:03}", "text": "x" * 400} for number in range(1000)]


class Killed(io.BytesIO):
    """An input that ends a process when it is read for the nth time."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise Crash
        return super().read(size)


def undisturbed(directory: Path, data: bytes, form: Format) -> dict[str, bytes]:
    directory.mkdir()
    return through(directory, data, "blog:007", form=form).left()


def inputs() -> Iterator[tuple[Format, bytes]]:
    yield Format.NDJSON, lines(*MANY[:500], b"nonsense", *MANY[500:])
    text = io.StringIO()
    csv.writer(text).writerows([["blog", "text"], *([row["blog"], row["text"]] for row in MANY), ["short"]])
    yield Format.CSV, text.getvalue().encode()
    yield Format.PARQUET, parquet(blog=[row["blog"] for row in MANY], text=[row["text"] for row in MANY])


@pytest.mark.parametrize(("form", "data"), list(inputs()), ids=[str(form) for form, _ in inputs()])
def test_killed_anywhere_it_leaves_nothing_that_looks_whole_and_goes_on(
    tmp_path: Path, form: Format, data: bytes
) -> None:
    whole = undisturbed(tmp_path / "whole", data, form)
    # Where rows are read; and after that, which is the same for each format.
    moments: dict[Format, list[Any]] = {
        Format.NDJSON: [1, 3, 6, "open", "consents", "block", "block taken", "close", "closed", "export"],
        Format.CSV: [1, 3, 6, "closed"],
        Format.PARQUET: [1, "closed"],
    }
    for moment in moments[form]:
        directory = tmp_path / str(moment)
        directory.mkdir()
        run = Run(directory, data, MemoryService(consents("blog:007")), BLOG, form)

        def kill(name: str, moment: Any = moment) -> None:
            if name == moment:
                raise Crash

        run.service.on = kill
        with pytest.raises(Crash):
            run(file=Killed(data, moment) if isinstance(moment, int) else None)
        assert not run.out.exists()
        assert not (directory / "out.manifest.json").exists()
        run.service.on = lambda name: None
        if moment not in ("open", "consents"):
            with pytest.raises(InvalidInput, match="--resume"):
                run()
        run(resume=True)
        assert run.left() == whole, moment
        assert run.service.subjects == [f"blog:{number:03}" for number in range(50) if number != 7]


@pytest.mark.parametrize("step", range(5))
def test_killed_while_it_gives_the_files_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    data = lines(*MANY[:5], b"nonsense")
    run = Run(tmp_path, data, MemoryService(consents(), withdrawn=("blog:001",)), BLOG, Format.NDJSON)
    real, left = Path.replace, [step]

    def replace(self: Path, target: Any) -> Any:
        if str(self).endswith("mark.new"):
            return real(self, target)
        left[0] -= 1
        if left[0] < 0:
            raise Crash
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        if step < 4:
            with pytest.raises(Crash):
                run()
            assert not run.out.exists()
        else:
            # All have theirs, and it is killed before it forgets how far it came.
            patched.setattr("rescind.gate.marks.Keeping.forget", lambda self: (_ for _ in ()).throw(Crash))
            with pytest.raises(Crash):
                run()
    run(resume=True)
    assert set(run.left()) == {"out", "out.manifest.json", "out.withdrawals", "out.rejects"}
    assert run.out.read_bytes() == lines(*MANY[:5])


def test_whoever_opts_out_meanwhile_is_out_of_the_rest_and_the_first_watermark_counts(tmp_path: Path) -> None:
    data = lines(*MANY)
    run = Run(tmp_path, data, MemoryService(consents(seen=7)), BLOG, Format.NDJSON)
    with pytest.raises(Crash):
        run(file=Killed(data, 4))
    run.service.known = consents("blog:001", seen=9)
    run(resume=True)
    kept = [json.loads(line) for line in run.out.read_bytes().splitlines()]
    at = [place for place, row in enumerate(kept) if row["blog"] == "blog:001"]
    assert 0 < len(at) < 20
    assert run.service.closed is not None
    assert run.service.closed["watermark"] == {"rescind.decisions": {"0": 7}}
    assert "blog:001" in run.service.subjects


def test_an_input_that_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    data = lines(*MANY)
    for form, changed in ((Format.NDJSON, data.replace(b"blog:003", b"blog:004", 1)), (Format.NDJSON, data[:100])):
        run = Run(tmp_path, data, MemoryService(consents()), BLOG, form)
        if not (tmp_path / "out.gate").exists():
            with pytest.raises(Crash):
                run(file=Killed(data, 4))
        run.data = changed
        with pytest.raises(Refused, match="changed"):
            run(resume=True)
    run.layout = WITH_AUTHOR
    with pytest.raises(InvalidInput, match="something else"):
        run(resume=True)


def test_what_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    run = through(tmp_path, lines({"blog": "blog:a"}))
    for resume in (True, False):
        with pytest.raises(InvalidInput, match="is there already"):
            run(resume=resume)
    assert list(tmp_path.glob("*.gate")) == []


def test_a_stranger_by_its_name_is_not_taken_for_it(tmp_path: Path) -> None:
    run = Run(tmp_path, lines({"blog": "blog:a"}), MemoryService(consents()), BLOG, Format.NDJSON)

    def beside(name: str) -> None:
        if name == "closed":
            raise Crash

    run.service.on = beside
    with pytest.raises(Crash):
        run()
    run.out.write_bytes(b"of somebody else")
    run.service.on = lambda name: None
    with pytest.raises(InvalidInput, match="is there already"):
        run(resume=True)
    run.out.unlink()
    run(resume=True)
    assert run.out.read_bytes() == run.data


def test_an_export_that_is_not_settled_is_gone_on_with_later(tmp_path: Path) -> None:
    run = Run(tmp_path, lines({"blog": "blog:a"}), MemoryService(consents()), BLOG, Format.NDJSON)
    run.service.settles_after = 2
    for _ in range(2):
        with pytest.raises(Unsettled):
            run(resume=True)
        assert not run.out.exists()
    run(resume=True)
    assert run.out.exists()


def test_two_gates_do_not_write_one_file(tmp_path: Path) -> None:
    run = Run(tmp_path, lines({"blog": "blog:a"}), MemoryService(consents()), BLOG, Format.NDJSON)
    other = Run(tmp_path, run.data, MemoryService(consents()), BLOG, Format.NDJSON)

    def beside(name: str) -> None:
        if name == "close":
            with pytest.raises(Refused, match="another gate"):
                other(resume=True)

    run.service.on = beside
    run()
    assert run.out.exists()
