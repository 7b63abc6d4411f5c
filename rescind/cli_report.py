"""`rescind report`: what a partner was asked in some time, and what became of it, to keep or to hand on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rescind.client import Client
from rescind.options import Key, Url
from rescind.output import pass_on, say, whole

#: Seconds for the next piece of a report.
_PATIENCE = 600.0
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"
    HTML = "html"


def report(
    partner: Annotated[str, typer.Option(help="A partner's id.")],
    start: Annotated[str, typer.Option("--from", help="Notices issued then or later: a date (UTC), or RFC 3339.")],
    end: Annotated[str | None, typer.Option("--to", help="And before then; now by default.")] = None,
    form: Annotated[Format, typer.Option("--format", help="html is a page to print.")] = Format.CSV,
    out: Annotated[Path | None, typer.Option(help="A file; standard output by default.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """What a partner was asked in some time: completed, refused and why, late, open. A partner's key will do."""
    query = {"from": _moment(start), "to": _moment(end or datetime.now(UTC).isoformat()), "format": form.value}
    with Client(url or "", key, timeout=_PATIENCE) as client, client.report(partner, query) as pieces:
        if out is None:
            pass_on(pieces)
            return
        with whole(out) as file:
            file.writelines(pieces)
    say(f"written to {out}")


def _moment(text: str) -> str:
    return f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text
