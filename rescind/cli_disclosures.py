"""`rescind disclosures`: who was given a subject; and what partners were given before the gate was there."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rescind.client import Client, patiently
from rescind.disclosing import subjects_of
from rescind.gate.deciding import Column
from rescind.gate.handing import Patience, tell_subjects
from rescind.gate.service import GateClient
from rescind.gate.subjects import Subjects
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table
from streams.errors import InvalidInput, RescindError

#: Seconds between two questions whether an import is settled.
_LOOK_AGAIN = 0.5
#: Subjects that are gathered at once.
_TOGETHER = 10_000


class _SubjectFirst(TyperGroup):
    """Where the name of a command would be may be a subject: it has a colon, which no command has."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = any(arg in self.commands for arg in args)
        if not named and any(":" in arg and not arg.startswith("-") for arg in args):
            args = ["of", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_SubjectFirst,
    help="Who was given a subject: `rescind disclosures user:123`. And imports of what was given before.",
    no_args_is_help=True,
)


@app.command("of")
def of(
    subject: Annotated[str, typer.Argument(help="kind:id")], url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """Who was given a subject, in which datasets, when, and what became of it. The `of` may be left out."""
    with Client(url or "", key) as client:
        found = client.disclosures(subject)
    if as_json:
        print_json(found)
    elif not found:
        say(f"nobody was given {subject}, as far as is known")
    else:
        columns = ["partner", "dataset", "version", "purpose", "given", "asked to delete", "became"]
        show_table(table(columns, [_row(each) for each in found]))


@app.command("import")
def import_disclosures(
    file: Annotated[Path, typer.Argument(help="Subjects: CSV (.csv), NDJSON (.ndjson, .jsonl), or one a line.")],
    partner: Annotated[str, typer.Option(help="Who was given them.")],
    dataset: Annotated[str, typer.Option(help="What it is called, for instance posts.")],
    version: Annotated[str, typer.Option(help="Which one of these, for instance 2024-06.")],
    exported_at: Annotated[str, typer.Option(help="When it left, RFC 3339.")],
    purpose: Annotated[str | None, typer.Option(help="By default the partner's, if it has only one.")] = None,
    subject_column: Annotated[
        str, typer.Option(help="In CSV and JSON objects; NAME=user: if it holds bare ids.")
    ] = "subject",
    settle_for: Annotated[float, typer.Option(help="Seconds to wait until it is settled.", min=0)] = 600.0,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Write down what a partner was given before the gate was there. The partner is asked to delete whoever has opted
    out, for the past too, and was not asked for yet. Importing the same again changes nothing.
    """
    column = Column.parse(subject_column)
    with TemporaryDirectory(prefix="rescind-import-") as directory, GateClient(url or "", key) as client:
        subjects = Subjects(Path(directory))
        some: list[str] = []
        for subject in subjects_of(file, column.name, column.prefix):
            some.append(subject)
            if len(some) >= _TOGETHER:
                subjects.add(some)
                some = []
        subjects.add(some)
        wanted = {
            "dataset": dataset,
            "version": version,
            "partner": partner,
            "purpose": purpose or _only_purpose(partner, url, key),
            "imported": True,
            "exported_at": exported_at,
        }
        done = _imported(client, wanted, subjects, settle_for)
    if as_json:
        print_json(done)
        return
    say(f"{done['subjects']} subjects of {dataset} {version} are written down as given to {partner}")
    if done["withdrawn"] is None:
        say(f"who of them has to be asked for is not known yet: see `rescind exports show {done['id']}`")
    else:
        say(f"{partner} is asked to delete {done['withdrawn']} of them")


def _imported(client: GateClient, wanted: dict[str, Any], subjects: Subjects, settle_for: float) -> dict[str, Any]:
    patience = Patience()
    opened = patiently(lambda: client.open_export(wanted), patience.away)
    if opened["status"] == "open":
        blocks, count = tell_subjects(client, opened["id"], subjects.sorted(), patience)
    else:
        # It was imported before; whether with as many subjects, the service tells.
        blocks, count = 0, sum(1 for _ in subjects.sorted())
    closing = {"blocks": blocks, "subjects": count}
    done = patiently(lambda: client.close_export(opened["id"], closing), patience.away)
    deadline = time.monotonic() + settle_for
    while done["status"] != "settled" and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)
        done = patiently(lambda: client.export(opened["id"]), patience.away)
    return done


def _only_purpose(partner: str, url: str | None, key: str | None) -> str:
    """A platform's key does not show partners; then the purpose must be named."""
    try:
        with Client(url or "", key) as client:
            purposes = client.partner(partner)["purposes"]
    except RescindError as error:
        raise InvalidInput(f"name the purpose with --purpose: {error}") from None
    if len(purposes) != 1:
        raise InvalidInput(f"{partner} has several purposes, {', '.join(purposes)}: name one with --purpose")
    return str(purposes[0])


def _row(each: dict[str, Any]) -> list[str]:
    given = local(each["disclosed_at"]) + (" (imported)" if each["imported"] else "")
    became = "withdrawn; " if each["withdrawn"] else ""
    return [
        each["partner"],
        each["dataset"],
        each["version"],
        each["purpose"],
        given,
        local(each["asked_at"]),
        became + (each["became"] or ("not asked yet" if each["withdrawn"] else "held")),
    ]
