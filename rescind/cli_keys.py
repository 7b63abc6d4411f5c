"""`rescind keys`: made, listed, revoked, in the data directory itself, so that no key is needed to begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ledger.keys import KeyStore, Role
from rescind.output import out, show_table, table
from streams.errors import InvalidInput, StorageUnusable
from streams.settings import Settings

app = typer.Typer(
    help="Make, list and revoke API keys. Works on the data directory, also while the service runs.",
    no_args_is_help=True,
)
Data = Annotated[Path | None, typer.Option(help="The service's data directory.")]


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="Who will use it.")],
    partner: Annotated[str | None, typer.Option(help="The partner's id, for the role partner.")] = None,
    label: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    data: Data = None,
) -> None:
    """Make a key. It is shown once.

    Example: rescind keys create --role operator --label "on-call laptop"
    """
    with _keys(data) as keys:
        made, plain = keys.create(role, datetime.now(UTC), partner=partner, label=label)
    out.print(f"Key {made.id}: {plain}", markup=False)
    out.print("It is shown only now.")


@app.command("list")
def list_keys(data: Data = None) -> None:
    """All keys, without their secrets."""
    with _keys(data) as keys:
        rows = [
            [
                key.id,
                str(key.role),
                key.partner or "-",
                key.label or "-",
                f"{key.created_at:%Y-%m-%d %H:%M:%SZ}",
                "-" if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%d %H:%M:%SZ}",
            ]
            for key in keys.list()
        ]
    show_table(table(["key", "role", "partner", "label", "created", "revoked"], rows))


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="The key's id, as listed.")], data: Data = None) -> None:
    """Revoke a key, at once."""
    with _keys(data) as keys:
        if not keys.revoke(key, datetime.now(UTC)):
            raise InvalidInput(f"there is no key {key} in force")
    out.print(f"key {key} is revoked", markup=False)


@contextmanager
def _keys(data: Path | None) -> Iterator[KeyStore]:
    settings = Settings() if data is None else Settings(data_dir=data)
    if not settings.data_dir.is_dir():
        raise StorageUnusable(f"there is no data directory {settings.data_dir}; `rescind up` makes it")
    keys = KeyStore.open(settings.keys_path)
    try:
        yield keys
    finally:
        keys.close()
