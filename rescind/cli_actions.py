"""`rescind actions`: who did what by hand."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table


def actions(
    partner: Annotated[str | None, typer.Option(help="Only what was done to this partner.")] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=1000)] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Who registered, changed, paused, replayed, redrove what, and when; the newest first."""
    query: dict[str, Any] = {"limit": limit} if partner is None else {"limit": limit, "partner": partner}
    with Client(url or "", key) as client:
        found = client.actions(query)["actions"]
    if as_json:
        print_json(found)
    elif found:
        rows = [
            [
                local(done["at"]),
                done["act"],
                done["partner"] or "-",
                done["label"] or "-",
                done["key"],
                json.dumps(done["details"], ensure_ascii=False) if done["details"] else "-",
            ]
            for done in found
        ]
        show_table(table(["time", "act", "partner", "by", "key", "details"], rows))
    else:
        say("nothing was done by hand")
