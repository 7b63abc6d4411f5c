"""`rescind toggle`, and what became of it: `rescind trace`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table
from streams.kinds import Choice


def toggle(
    subject: Annotated[str, typer.Argument(help="kind:id, for instance blog:staff.example.com")],
    purpose: Annotated[str, typer.Argument(help="A slug, for instance ai-training")],
    choice: Annotated[Choice, typer.Argument()],
    at: Annotated[str | None, typer.Option(help="When, RFC 3339; now by default.")] = None,
    version: Annotated[int | None, typer.Option(help="The platform's own counter.", min=0)] = None,
    retroactive: Annotated[bool, typer.Option(help="Ask for deletion of what partners hold.")] = True,
    event_id: Annotated[str | None, typer.Option("--id", help="The event's id; repeating it changes nothing.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Emit one toggle. When this returns, it is durable."""
    emitted: dict[str, Any] = {
        "id": event_id,
        "subject": subject,
        "purpose": purpose,
        "choice": choice.value,
        "occurred_at": at or datetime.now(UTC).isoformat(),
        "version": version,
        "retroactive": retroactive,
        "source": "command line",
    }
    with Client(url or "", key) as client:
        (accepted,) = client.post_toggles([{name: value for name, value in emitted.items() if value is not None}])
    if as_json:
        print_json({"accepted": 1, "ids": [accepted]})
    else:
        say(f"accepted {accepted}")


def trace(
    subject: Annotated[str, typer.Argument(help="kind:id")], url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Everything that happened to a subject, across partners, in order."""
    with Client(url or "", key) as client:
        entries = client.timeline(subject)
    if as_json:
        print_json(entries)
    elif not entries:
        say(f"nothing is known of {subject}")
    else:
        rows = [[local(entry["at"]), entry["kind"], entry["summary"]] for entry in entries]
        show_table(table(["time", "event", "what happened"], rows))
