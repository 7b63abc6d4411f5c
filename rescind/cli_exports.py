"""`rescind exports`: what was handed over; and whether a partner that is late gets anything."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from rescind.client import Client, some
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table

app = typer.Typer(help="What was handed over to whom.", no_args_is_help=True)


class WhenOverdue(StrEnum):
    SUSPEND = "suspend"
    ALLOW = "allow"


@app.command("list")
def list_exports(
    partner: Annotated[str | None, typer.Option(help="Only this partner's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only of this dataset.")] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1)] = 100,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Exports, the newest first."""
    query = {name: value for name, value in (("partner", partner), ("dataset", dataset)) if value is not None}
    with Client(url or "", key) as client:
        found, more = some(lambda more: client.exports(query | more), "exports", limit)
    if as_json:
        print_json(found)
    elif not found:
        say("there is no such export")
    else:
        columns = ["export", "partner", "dataset", "version", "purpose", "status", "given", "subjects", "withdrawn"]
        show_table(table(columns, [_row(each) for each in found], right=["subjects", "withdrawn"]))
        if more:
            say("and maybe more, see --limit")


@app.command()
def show(
    export: Annotated[str, typer.Argument(help="An export's id.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """One export, with its manifest once it is settled."""
    with Client(url or "", key) as client:
        found = client.export(export)
    if as_json:
        print_json(found)
        return
    rows = [[name, _shown(name, value)] for name, value in found.items() if name != "manifest"]
    show_table(table(["field", "value"], rows))


def when_overdue(
    partner: Annotated[str, typer.Argument()],
    when_overdue: Annotated[WhenOverdue, typer.Option(help="Does it get exports while anything of its is overdue?")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Whether a partner gets exports while a notice of its is past a deadline."""
    suspend = when_overdue is WhenOverdue.SUSPEND
    with Client(url or "", key) as client:
        changed = client.change_partner(partner, {"suspend_exports_when_overdue": suspend})
    if as_json:
        print_json(changed)
        return
    say(f"partner {partner} gets {'no exports' if suspend else 'exports'} while anything of its is overdue")


def _row(each: dict[str, Any]) -> list[str]:
    names = ("id", "partner", "dataset", "version", "purpose", "status")
    counts = ("subjects", "withdrawn")
    return [
        *(each[name] for name in names),
        local(each["disclosed_at"]),
        *("-" if each[name] is None else str(each[name]) for name in counts),
    ]


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_at"):
        return local(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown('', inner)}" for key, inner in value.items()) or "-"
    return str(value)
