"""Options that many commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.errors import InvalidInput

if TYPE_CHECKING:
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
    # Not every command has settings, and to read what they may be takes long.
    from pydantic import ValidationError  # noqa: PLC0415

    from streams.explaining import explain  # noqa: PLC0415
    from streams.settings import Settings  # noqa: PLC0415

    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(f"the settings (RESCIND_...) are not valid: {explain(error)}") from None
