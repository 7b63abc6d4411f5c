"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8321"


def _url(value: str | None) -> str:
    return value or DEFAULT_URL


Url = Annotated[
    str | None,
    typer.Option("--url", envvar="RESCIND_URL", callback=_url, help=f"The service; {DEFAULT_URL} by default."),
]
Key = Annotated[str | None, typer.Option("--key", envvar="RESCIND_KEY", help="An API key.", show_envvar=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
