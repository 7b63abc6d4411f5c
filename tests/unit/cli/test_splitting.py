"""Lines and records: numbered right, bounded, and never split inside a quoted field."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.splitting import LONGEST, Line, lines, records


def split(content: bytes) -> list[tuple[int, bytes]]:
    return [(line.number, line.raw) for line in lines(io.BytesIO(content))]


def record(content: bytes) -> list[tuple[int, bytes]]:
    return [(line.number, line.raw) for line in records(lines(io.BytesIO(content)))]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a", [(1, b"a")]),
        (b"a\n", [(1, b"a")]),
        (b"a\nb", [(1, b"a"), (2, b"b")]),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"\n\n", [(1, b""), (2, b"")]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [(1, b"a"), (2, b"\xef\xbb\xbfb")]),
        (b"a\rb\n", [(1, b"a\rb")]),
    ],
)
def test_lines_end_with_lf_or_crlf_and_the_last_may_lack_its_end(
    content: bytes, expected: list[tuple[int, bytes]]
) -> None:
    assert split(content) == expected


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("extra", [0, 1, 2, 3, 4, 5, 6, LONGEST])
def test_a_line_is_overlong_from_one_byte_too_many_on(line_end: bytes, bom: bytes, extra: int) -> None:
    found = list(lines(io.BytesIO(bom + b"x" * (LONGEST + extra) + line_end + b"next")))
    assert found[0].overlong == (extra > 0 or line_end == b"")
    assert [line.number for line in found] == ([1, 2] if line_end else [1])
    if line_end:
        assert found[1].raw == b"next"
        assert not found[1].overlong


def test_an_overlong_line_costs_no_memory() -> None:
    class Endless(io.RawIOBase):
        left = 64 * 1024 * 1024

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            count = min(len(buffer), self.left)
            buffer[:count] = b"x" * count
            Endless.left -= count
            return count

    tracemalloc.start()
    try:
        (line,) = lines(io.BufferedReader(Endless()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert line.overlong
    assert peak < 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,"b,c"\nd\n', [(1, b'a,"b,c"'), (2, b"d")]),
        (b'a,"b\nc"\nd\n', [(1, b'a,"b\nc"'), (3, b"d")]),
        (b'a,"b\r\n\r\nc"\r\nd\r\n', [(1, b'a,"b\n\nc"'), (4, b"d")]),
        (b'a,"b""\n""c"\nd', [(1, b'a,"b""\n""c"'), (3, b"d")]),
        # Quotes inside an unquoted field mean themselves.
        (b'a,5" disc\nd', [(1, b'a,5" disc'), (2, b"d")]),
        # Never closed: the line stands alone, and so does every other.
        (b'a,"b\nc\nd', [(1, b'a,"b'), (2, b"c"), (3, b"d")]),
        # Closed by a quote that opens another field: what follows it is no CSV.
        (b'a,"b\nc,"d,e"\nf', [(1, b'a,"b'), (2, b'c,"d,e"'), (3, b"f")]),
        (b'"a"b\nc', [(1, b'"a"b'), (2, b"c")]),
        (b'\xff,"\xfe\n\xfd"\nc', [(1, b'\xff,"\xfe\n\xfd"'), (3, b"c")]),
    ],
)
def test_a_record_holds_the_lines_of_its_quoted_fields(content: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert record(content) == expected


def test_a_quote_that_is_not_closed_within_the_longest_line_costs_only_its_line() -> None:
    content = b'"open\n' + b"x\n" * LONGEST + b'"\n'
    found = record(content)
    assert [number for number, _ in found] == list(range(1, LONGEST + 3))


def test_many_open_quotes_take_time_by_their_number_and_not_by_its_square() -> None:
    # Each line opens a quote, and the next line's quote shows that this is no CSV.
    found = record(b'"open\n' * 20_000)
    assert len(found) == 20_000


def test_an_overlong_line_ends_the_search_for_a_closing_quote() -> None:
    found = record(b'"open\n' + b"x" * (LONGEST + 1) + b'\n"\nend')
    assert [number for number, _ in found] == [1, 2, 3, 4]


@given(st.binary(max_size=200).map(lambda raw: raw.replace(b"a", b"\n").replace(b"b", b'"').replace(b"c", b",")))
def test_records_lose_no_line_and_end_where_their_last_line_ends(content: bytes) -> None:
    as_lines, as_records = list(lines(io.BytesIO(content))), list(records(lines(io.BytesIO(content))))
    by_end = {line.end: line for line in as_lines}
    assert b"\n".join(line.raw for line in as_records) == b"\n".join(line.raw for line in as_lines)
    assert [found.checksum for found in as_records] == [by_end[found.end].checksum for found in as_records]
    counted = 1
    for found in as_records:
        assert found.number == counted
        counted += found.raw.count(b"\n") + 1


CELLS = st.text(st.sampled_from('a,"\n é'), max_size=8)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_module_writes_is_split_as_the_csv_module_reads_it(rows: list[list[str]], end: str) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator=end).writerows(rows)
    read: Iterator[Line] = records(lines(io.BytesIO(written.getvalue().encode())))
    assert [next(csv.reader([line.raw.decode()])) for line in read] == rows
