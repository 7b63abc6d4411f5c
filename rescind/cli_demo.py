"""`rescind demo`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def demo(
    file: Annotated[Path | None, typer.Option(help="A CSV of crawler choices; by default real ones.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any.", min=0, max=65535)] = 0,
    stay: Annotated[bool, typer.Option("--stay", help="Leave it running at the end, to look around.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds after which to give up.", min=1)] = 180.0,
) -> None:
    """Watch real opt-outs travel to four simulated partners, in about a minute."""
    from rescind.demo import run_demo  # noqa: PLC0415 - aiohttp is slow to import

    asyncio.run(run_demo(file, time_limit, stay=stay, port=port))
