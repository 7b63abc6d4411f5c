"""The formats that a gate reads and writes, by name."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from rescind.gate.csvs import Csv
from rescind.gate.deciding import Layout
from rescind.gate.ndjson import Ndjson
from rescind.gate.parquet import Parquet
from rescind.gate.steps import Source


class Format(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


_SOURCES: dict[Format, Callable[[Layout], Source]] = {
    Format.NDJSON: Ndjson,
    Format.CSV: Csv,
    Format.PARQUET: Parquet,
}
_SUFFIXES = {".csv": Format.CSV, ".parquet": Format.PARQUET, ".pq": Format.PARQUET}


def source_of(form: Format, layout: Layout) -> Source:
    """Raises `InvalidInput` if what the format needs is not installed."""
    return _SOURCES[form](layout)


def format_of(path: Path | None) -> Format:
    """What a file's name says of it."""
    return Format.NDJSON if path is None else _SUFFIXES.get(path.suffix.lower(), Format.NDJSON)
