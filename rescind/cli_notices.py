"""`rescind notices`: what was asked of whom, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rescind.client import Client, some
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table
from streams.events import Outcome
from streams.kinds import Action


def notices(
    partner: Annotated[str | None, typer.Option(help="Only this partner's; a partner's key shows its own.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="queued, delivered, ..., or `open` for all that are neither done nor over; may be repeated."),
    ] = None,
    action: Annotated[Action | None, typer.Option(help="What is asked.")] = None,
    purpose: Annotated[str | None, typer.Option(help="A slug, for instance ai-training.")] = None,
    subject: Annotated[str | None, typer.Option(help="kind:id")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only with this outcome; `suppressed` may be open.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Open, and past a clock that still runs.")] = False,
    start: Annotated[str | None, typer.Option("--from", help="Issued then or later, RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Issued before then.")] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1)] = 100,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """What was asked of whom, until when, and what became of it; by partner, action and time of issue."""
    asked = {
        "partner": partner,
        "status": status or None,
        "action": action,
        "purpose": purpose,
        "subject": subject,
        "outcome": outcome,
        "overdue": "true" if overdue else None,
        "issued_from": start,
        "issued_to": end,
    }
    query = {name: value for name, value in asked.items() if value is not None}
    with Client(url or "", key) as client:
        found, more = some(lambda more: client.notices(query | more), "notices", limit)
    if as_json:
        print_json(found)
    elif found:
        _show(found)
        if more:
            say("and maybe more, see --limit")
    else:
        say("there is no such notice")


def _because(notice: dict[str, Any]) -> str:
    """Why it is as it is: the partner's own reason, or what is in the way."""
    if notice.get("parked"):
        return f"not taken, tried again from {local(notice['retry_at'])} on: {notice['last_words']}"
    said = (notice["outcome"], notice["reason"], notice.get("cancelled_because"), notice.get("last_words"))
    return next((word for word in said if word), "-")


def _show(found: list[dict[str, Any]]) -> None:
    columns = ["notice", "partner", "subject", "purpose", "action", "issued", "complete by", "status", "because"]
    rows = [
        [
            notice["id"],
            notice["partner"],
            notice["subject"],
            notice["purpose"],
            notice["action"],
            local(notice["issued_at"]),
            local(notice["complete_by"]),
            notice["status"],
            _because(notice),
        ]
        for notice in found
    ]
    show_table(table(columns, rows))
