"""Reading whom a partner was given before the gate was there: a file of subjects, of which none may be lost."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from rescind.splitting import lines, records
from streams.errors import InvalidInput
from streams.forms import SUBJECT

_is_subject = re.compile(SUBJECT[:-1] + r"\Z").match


def subjects_of(path: Path, column: str, prefix: str = "") -> Iterator[str]:
    """The subjects of a file, in its order. CSV (.csv) has a header with the column; NDJSON (.ndjson, .jsonl) has a
    JSON string or an object with that name a line; any other file has a subject a line. `prefix` goes before each.

    Raises `InvalidInput` at the first line that is none: who is passed over in silence is never asked back.
    """
    try:
        with path.open("rb") as file:
            for number, text in _texts(path, lines(file), column):
                subject = prefix + text
                if not _is_subject(subject):
                    raise InvalidInput(f"{path}, line {number}: {subject[:100]!r} is not a subject, which is kind:id")
                yield subject
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None


def _texts(path: Path, found: Iterator[Any], column: str) -> Iterator[tuple[int, str]]:
    kind = path.suffix.lower()
    if kind == ".csv":
        yield from _of_csv(path, records(found), column)
        return
    for line in found:
        text = _decoded(path, line)
        if text.strip():
            yield line.number, _of_json(path, line.number, text, column) if kind in (".ndjson", ".jsonl") else text


def _of_csv(path: Path, found: Iterable[Any], column: str) -> Iterator[tuple[int, str]]:
    place = None
    for line in found:
        try:
            (row,) = csv.reader([_decoded(path, line)], strict=True)
        except (csv.Error, ValueError):
            raise InvalidInput(f"{path}, line {line.number}: not CSV") from None
        if place is None:
            if column not in row:
                raise InvalidInput(f"{path} has no column {column!r}; name one with --subject-column")
            place, width = row.index(column), len(row)
        elif len(row) != width:
            raise InvalidInput(f"{path}, line {line.number}: {len(row)} columns instead of {width}")
        else:
            yield line.number, row[place]


def _of_json(path: Path, number: int, text: str, column: str) -> str:
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{path}, line {number}: not JSON: {error}") from None
    found = parsed.get(column) if isinstance(parsed, dict) else parsed
    if not isinstance(found, str):
        raise InvalidInput(f"{path}, line {number}: neither a JSON string nor an object with a text {column!r}")
    return found


def _decoded(path: Path, line: Any) -> str:
    if line.overlong:
        raise InvalidInput(f"{path}, line {line.number}: too long")
    try:
        text: str = line.raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}, line {line.number}: not UTF-8") from None
    return text
