"""Reading files of toggles: CSV in two layouts, and NDJSON. Pure: lines in, toggles or reasons out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from streams import ids
from streams.cloudevents import explain
from streams.errors import InvalidInput
from streams.events import ConsentToggled
from streams.names import EventId

GENERAL = ("subject", "purpose", "choice", "occurred_at")
OPTIONAL = ("id", "version", "retroactive", "source")
CRAWLERS = ("occurred_at", "site", "category", "agent", "choice")


class _Toggle(ConsentToggled):
    id: EventId | None = None


@dataclass(frozen=True, slots=True)
class BadLine:
    """`number` counts the file's lines from 1."""

    number: int
    reason: str


Parse = Callable[[str], dict[str, Any]]


def csv_parser(header: str) -> Parse:
    """How to read the lines under a header. Raises `InvalidInput` if the header is none we know."""
    names = tuple(name.strip() for name in _columns(header))
    if names == CRAWLERS:
        return lambda line: _crawler(_row(names, line))
    known = set(GENERAL) | set(OPTIONAL)
    if set(GENERAL) <= set(names) <= known and len(set(names)) == len(names):
        return lambda line: _general(_row(names, line))
    raise InvalidInput(
        f"the header is {','.join(names)!r}; expected {','.join(GENERAL)} (and any of {','.join(OPTIONAL)}),"
        f" or {','.join(CRAWLERS)}"
    )


def parse_json(line: str) -> dict[str, Any]:
    """A line of NDJSON. Raises `InvalidInput`."""
    try:
        parsed = json.loads(line)
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


def _columns(line: str) -> Sequence[str]:
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise InvalidInput(f"not CSV: {error}") from None
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
        if not fields["version"].isascii() or not fields["version"].isdigit():
            raise InvalidInput("version: not a number")
        fields["version"] = int(fields["version"])
    if "retroactive" in fields:
        if fields["retroactive"] not in ("true", "false"):
            raise InvalidInput("retroactive: neither true nor false")
        fields["retroactive"] = fields["retroactive"] == "true"
    return fields
