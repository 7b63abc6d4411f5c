"""`rescind partners`: registered, listed, shown, removed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table

app = typer.Typer(help="Register, list, show and remove partners. Needs an operator key.", no_args_is_help=True)


@app.command()
def add(
    partner: Annotated[str, typer.Argument(help="An id, a slug; it is never used again.")],
    address: Annotated[str, typer.Option("--to", help="Where webhooks go, https://...")],
    purpose: Annotated[list[str], typer.Option(help="A purpose the partner gets data for; repeatable.")],
    name: Annotated[str | None, typer.Option(help="For people; the id by default.")] = None,
    subject_kind: Annotated[list[str] | None, typer.Option(help="Only these kinds; repeatable.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Notices a request at most.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register a partner. Its signing secret and API key are shown once.

    Example: rescind partners add acme --to https://acme.example/rescind --purpose ai-training
    """
    wanted: dict[str, Any] = {"id": partner, "name": name or partner, "url": address, "purposes": purpose}
    if subject_kind:
        wanted["subject_kinds"] = subject_kind
    if batch_size is not None:
        wanted["batch_size"] = batch_size
    with Client(url or "", key) as client:
        made = client.add_partner(wanted)
    if as_json:
        print_json(made)
        return
    say(f"partner {made['id']} is registered, in lane {made['lane']}")
    say(f"Signing secret: {made['signing_secret']}")
    say(f"API key: {made['api_key']}")
    say("Both are shown only now. Hand them to the partner.")


@app.command("list")
def list_partners(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """All partners, removed ones too."""
    with Client(url or "", key) as client:
        partners = client.partners()
    if as_json:
        print_json(partners)
        return
    rows = [[row["id"], row["status"], str(row["lane"]), ",".join(row["purposes"]), row["url"]] for row in partners]
    show_table(table(["partner", "status", "lane", "purposes", "url"], rows, right=["lane"]))


@app.command()
def show(partner: Annotated[str, typer.Argument()], url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """One partner."""
    with Client(url or "", key) as client:
        found = client.partner(partner)
    if as_json:
        print_json(found)
        return
    show_table(table(["field", "value"], [[name, _shown(name, value)] for name, value in found.items()]))


@app.command()
def remove(partner: Annotated[str, typer.Argument()], url: Url = None, key: Key = None) -> None:
    """Remove a partner: it gets nothing any more, and what it still owes is cancelled."""
    with Client(url or "", key) as client:
        client.remove_partner(partner)
    say(f"partner {partner} is removed")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    if name.endswith("_at"):
        return local(value)
    return "-" if value is None else str(value)
