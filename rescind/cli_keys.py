"""`rescind keys`: made, listed, revoked, in the data directory itself, so that no key is needed to begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from ledger.keys import ApiKey, KeyStore, Role
from rescind.options import Json, settings
from rescind.output import local, print_json, say, show_table, table
from streams.cloudevents import rfc3339
from streams.errors import InvalidInput, StorageUnusable
from streams.names import PartnerId

app = typer.Typer(
    help="Make, list and revoke API keys. Works on the data directory, also while the service runs.",
    no_args_is_help=True,
)
_PARTNER: TypeAdapter[str] = TypeAdapter(PartnerId)
Data = Annotated[Path | None, typer.Option(help="The service's data directory.")]


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="Who will use it.")],
    partner: Annotated[str | None, typer.Option(help="The partner's id, for the role partner.")] = None,
    label: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once."""
    if partner is not None:
        _check_partner(partner)
    with _keys(data) as keys:
        made, plain = keys.create(role, datetime.now(UTC), partner=partner, label=label)
    if as_json:
        print_json(_plain(made) | {"key": plain})
        return
    say(f"Key {made.id}: {plain}")
    say("It is shown only now.")


@app.command("list")
def list_keys(data: Data = None, as_json: Json = False) -> None:
    """All keys, without their secrets."""
    with _keys(data, existing=True) as keys:
        found = [_plain(key) for key in keys.list()]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            key["id"],
            key["role"],
            key["partner"] or "-",
            key["label"] or "-",
            local(key["created_at"]),
            local(key["revoked_at"]),
        ]
        for key in found
    ]
    show_table(table(["key", "role", "partner", "label", "created", "revoked"], rows))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, as listed.")], data: Data = None, as_json: Json = False
) -> None:
    """Revoke a key, at once."""
    with _keys(data, existing=True) as keys:
        if not keys.revoke(key, datetime.now(UTC)):
            raise InvalidInput(f"there is no key {key} in force")
    if as_json:
        print_json({"id": key, "revoked": True})
    else:
        say(f"key {key} is revoked")


def _plain(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "role": key.role.value,
        "partner": key.partner,
        "label": key.label,
        "created_at": rfc3339(key.created_at),
        "revoked_at": None if key.revoked_at is None else rfc3339(key.revoked_at),
    }


def _check_partner(partner: str) -> None:
    # A key for a name that no partner can have would be refused everywhere, without a reason in sight.
    try:
        _PARTNER.validate_python(partner)
    except ValidationError:
        raise InvalidInput(f"{partner!r} is no partner's id, which is a slug such as common-crawl") from None


@contextmanager
def _keys(data: Path | None, *, existing: bool = False) -> Iterator[KeyStore]:
    chosen = settings(data_dir=data)
    if not chosen.data_dir.is_dir():
        problem = "is no directory" if chosen.data_dir.exists() else "does not exist; `rescind up` makes it"
        raise StorageUnusable(f"the data directory {chosen.data_dir} {problem}")
    if existing and not chosen.keys_path.exists():
        # Looking must not make the file: in a wrong directory it would be litter.
        raise StorageUnusable(f"there are no keys in {chosen.data_dir}; is it the service's data directory?")
    keys = KeyStore.open(chosen.keys_path)
    try:
        yield keys
    finally:
        keys.close()
