"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from streams.cloudevents import explain
from streams.errors import InvalidInput
from streams.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8321"


def _url(value: str | None) -> str:
    return value or DEFAULT_URL


Url = Annotated[
    str | None,
    typer.Option("--url", envvar="RESCIND_URL", callback=_url, help=f"The service; {DEFAULT_URL} by default."),
]
Key = Annotated[str | None, typer.Option("--key", envvar="RESCIND_KEY", help="An API key.", show_envvar=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings(**chosen: Any) -> Settings:
    """The settings: what was chosen on the command line (not None), the environment for the rest."""
    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(f"the settings (RESCIND_...) are not valid: {explain(error)}") from None
