"""`rescind lag`: what `rescind.backlog` finds, for people and as JSON."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rescind.options import Json, settings
from rescind.output import print_json, say, show_table, table


def lag(
    data: Annotated[Path | None, typer.Option(help="The data directory of a log that lies in one.")] = None,
    at_most: Annotated[
        int | None, typer.Option(help="Exit code 1 if a lane has more than so many to take.", min=0)
    ] = None,
    as_json: Json = False,
) -> None:
    """How many packs of notices each partner has still to take, by its lane's consumer-group offsets.

    Asks the log itself, as Kafka's tools would (group rescind, topic rescind.notices): no gateway and no key is
    needed. `rescind status` has the ledger's view: ages, deadlines, acknowledgements.
    """
    from rescind.backlog import lanes  # noqa: PLC0415 - Faust is slow to import

    found = asyncio.run(lanes(settings(data_dir=data)))
    if as_json:
        print_json(
            {
                "lanes": [
                    {
                        "lane": lane.number,
                        "backlog": lane.backlog,
                        "partners": [
                            {"id": partner.id, "name": partner.name, "status": partner.status}
                            for partner in lane.partners
                        ],
                    }
                    for lane in found
                ],
                "backlog": sum(lane.backlog for lane in found),
            }
        )
    elif found:
        rows = [
            [
                str(lane.number),
                ", ".join(partner.id for partner in lane.partners) or "-",
                ", ".join(partner.status for partner in lane.partners) or "-",
                str(lane.backlog),
            ]
            for lane in found
        ]
        show_table(table(["lane", "partner", "status", "backlog"], rows, right=["lane", "backlog"]))
    else:
        say("no partner is registered")
    if at_most is not None and any(lane.backlog > at_most for lane in found):
        raise typer.Exit(1)
