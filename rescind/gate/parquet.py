"""Parquet, through pyarrow: `pip install 'rescind[parquet]'`. Row by row it is what came in; groups of rows may be
others. A file of it is written in one go, so an interrupted gate begins anew."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from rescind.gate.deciding import Layout
from rescind.gate.judging import Judge, Judged
from rescind.gate.lines import Place
from rescind.gate.steps import Reject, Step
from streams.errors import InvalidInput

#: Rows of a group at most.
_TOGETHER = 64 * 1024


class Parquet:
    """`layout` says which columns there must be."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        try:
            import pyarrow  # noqa: PLC0415 - slow to import, and an extra
            import pyarrow.parquet  # noqa: PLC0415
        except ImportError:
            raise InvalidInput("Parquet needs pyarrow: pip install 'rescind[parquet]'") from None
        self._arrow: Any = pyarrow

    def steps(self, file: BinaryIO, judge: Judge, place: Place) -> Iterator[Step]:
        if not file.seekable():
            raise InvalidInput("a Parquet file is read from its end; name it with --input")
        try:
            yield from self._steps(file, judge)
        except self._arrow.ArrowException as error:
            # Its words may quote what is in the file.
            raise InvalidInput(f"the input is not Parquet that can be read ({type(error).__name__})") from None

    def _steps(self, file: BinaryIO, judge: Judge) -> Iterator[Step]:
        source = self._arrow.parquet.ParquetFile(file)
        self._check(source.schema_arrow.names)
        sink = _Sink()
        number = 1
        with self._arrow.parquet.ParquetWriter(sink, source.schema_arrow) as writer:
            for batch in source.iter_batches(_TOGETHER):
                judged = judge.judge(self._rows(batch))
                kept = batch if judged.kept is None else batch.filter(self._arrow.array(judged.kept))
                if kept.num_rows:
                    writer.write_batch(kept)
                rejects = [Reject(number + at, why, _shown(batch, at)) for at, why in judged.malformed]
                number += batch.num_rows
                yield Step(sink.drained(), batch.num_rows, judged, rejects, None)
        yield Step(sink.drained(), 0, Judged(None, 0, set()), [], None)

    def _check(self, names: list[str]) -> None:
        for name in self._layout.names:
            if names.count(name) != 1:
                raise InvalidInput(f"the file has {'no' if name not in names else 'more than one'} column {name!r}")

    def _rows(self, batch: Any) -> list[dict[str, Any]]:
        names = self._layout.names
        columns = [batch.column(name).to_pylist() for name in names]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


class _Sink(io.RawIOBase):
    """Takes what is written, in order, and tells where in a file that would be."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def drained(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _shown(batch: Any, at: int) -> bytes:
    return str(batch.slice(at, 1).to_pylist()[0]).encode("utf-8", "backslashreplace")
