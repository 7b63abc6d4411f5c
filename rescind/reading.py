"""Reading files of toggles: CSV in two layouts, and NDJSON. Pure: lines in, toggles or reasons out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from streams import ids
from streams.errors import InvalidInput
from streams.events import ConsentToggled
from streams.explaining import explain
from streams.names import EventId

GENERAL = ("subject", "purpose", "choice", "occurred_at")
OPTIONAL = ("id", "version", "retroactive", "source")
CRAWLERS = ("occurred_at", "site", "category", "agent", "choice")

#: Characters of a wrong header that a message shows.
_SHOWN = 200
#: A version, as far as it is worth converting.
_DIGITS = re.compile(r"[0-9]{1,30}")
#: What the csv module says, in words for those who made the file.
_CSV_ERRORS = {"unexpected end of data": "a quoted field does not end"}


class _Toggle(ConsentToggled):
    id: EventId | None = None


@dataclass(frozen=True, slots=True)
class BadLine:
    """`number` counts the file's lines from 1."""

    number: int
    reason: str


Parse = Callable[[str], dict[str, Any]]


def header_parser(header: bytes) -> Parse:
    """How to read the records under a CSV header. Raises `InvalidInput` if the header is none we know."""
    try:
        return csv_parser(header.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidInput("the header is not UTF-8") from None


def csv_parser(header: str) -> Parse:
    """As `header_parser`, for text."""
    names = tuple(name.strip() for name in _columns(header))
    if names == CRAWLERS:
        return lambda line: _crawler(_row(names, line))
    known = set(GENERAL) | set(OPTIONAL)
    if set(GENERAL) <= set(names) <= known and len(set(names)) == len(names):
        return lambda line: _general(_row(names, line))
    shown = header if len(header) <= _SHOWN else f"{header[:_SHOWN]}..."
    raise InvalidInput(
        f"the header is {shown!r}; expected {','.join(GENERAL)} (and any of {','.join(OPTIONAL)}),"
        f" or {','.join(CRAWLERS)}"
    )


def parse_json(line: str) -> dict[str, Any]:
    """A line of NDJSON. Raises `InvalidInput`."""
    try:
        parsed = json.loads(line, object_pairs_hook=_distinct)
    except RecursionError:
        raise InvalidInput("not JSON that we read: nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidInput("not a JSON object")
    return parsed


def toggle_of(line: bytes, parse: Parse) -> dict[str, Any]:
    """The toggle of one line, ready for the interface. Raises `InvalidInput` with the reason.

    A line without an id gets one that follows from its content, so that a repeated import changes nothing.
    """
    try:
        fields = parse(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidInput("not UTF-8") from None
    try:
        toggle = _Toggle.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise InvalidInput(explain(error)) from None
    ready = toggle.model_dump(mode="json", exclude_none=True)
    if toggle.id is None:
        ready["id"] = ids.derive("import", json.dumps(ready, sort_keys=True))
    return ready


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Whether the first or the last of two choices counts is anybody's guess (RFC 8259, section 4).
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice in an object")
    return found


def _columns(line: str) -> Sequence[str]:
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise InvalidInput(f"not CSV: {_CSV_ERRORS.get(str(error), error)}") from None
    return rows[0] if rows else []


def _row(names: Sequence[str], line: str) -> dict[str, str]:
    values = _columns(line)
    if len(values) != len(names):
        raise InvalidInput(f"{len(values)} columns instead of {len(names)}")
    return dict(zip(names, values, strict=True))


def _crawler(row: dict[str, str]) -> dict[str, Any]:
    return {
        "subject": f"site:{row['site']}",
        "purpose": row["agent"],
        "choice": row["choice"],
        "occurred_at": row["occurred_at"],
        "source": f"robots.txt ({row['category']})",
    }


def _general(row: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in row.items() if value != "" or name in GENERAL}
    if "version" in fields:
        # More digits than that take time, or fail.
        if not _DIGITS.fullmatch(fields["version"]):
            raise InvalidInput("version: not a whole number from 0 to 2^63 - 1")
        fields["version"] = int(fields["version"])
    if "retroactive" in fields:
        # Spreadsheets write TRUE and FALSE.
        if fields["retroactive"].lower() not in ("true", "false"):
            raise InvalidInput("retroactive: neither true nor false")
        fields["retroactive"] = fields["retroactive"].lower() == "true"
    return fields
