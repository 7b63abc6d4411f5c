"""`rescind partners`: registered, listed, shown, removed, and their secrets rotated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from rescind import cli_hand
from rescind.cli_clocks import (
    AtMost,
    Calendar,
    CompleteWithin,
    Extension,
    Inclusive,
    ReceiveWithin,
    SinceWhen,
    TimeZone,
    Week,
    clocks,
    in_words,
    watch_in_words,
)
from rescind.cli_exports import when_overdue
from rescind.cli_replies import replies
from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say, show_table, table
from streams.signing import Scheme

app = typer.Typer(
    help="Register, list, show, hold, try, ask again, test and remove partners, and rotate their secrets. Needs an"
    " operator key.",
    no_args_is_help=True,
)


@app.command()
def add(
    partner: Annotated[str, typer.Argument(help="An id, a slug; it is never used again.")],
    address: Annotated[str, typer.Option("--to", help="Where webhooks go, https://...")],
    purpose: Annotated[list[str], typer.Option(help="A purpose the partner gets data for; repeatable.")],
    name: Annotated[str | None, typer.Option(help="For people; the id by default.")] = None,
    subject_kind: Annotated[list[str] | None, typer.Option(help="Only these kinds; repeatable.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Notices a request at most.")] = None,
    lanes: Annotated[int | None, typer.Option(help="Requests at once at most; 1 by default.")] = None,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress requests.")] = False,
    suspend_exports: Annotated[
        bool, typer.Option("--suspend-exports-when-overdue", help="No export while anything of its is overdue.")
    ] = False,
    max_requests_per_second: Annotated[float | None, typer.Option(help="No limit by default.")] = None,
    receive_within: ReceiveWithin = None,
    complete_within: CompleteWithin = None,
    extension: Extension = None,
    calendar: Calendar = None,
    time_zone: TimeZone = None,
    week: Week = None,
    inclusive: Inclusive = False,
    since: SinceWhen = None,
    suppression_completes: Annotated[
        bool, typer.Option("--suppression-completes", help="By contract, `suppressed` completes an `erase`.")
    ] = False,
    signature_scheme: Annotated[
        list[Scheme] | None, typer.Option(help="v1 (HMAC, the default) or v1a (Ed25519); repeatable.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register a partner. Its signing secret and API key are shown once."""
    wanted: dict[str, Any] = {"id": partner, "name": name or partner, "url": address, "purposes": purpose}
    if subject_kind:
        wanted["subject_kinds"] = subject_kind
    limits = {"batch_size": batch_size, "lanes": lanes, "max_requests_per_second": max_requests_per_second}
    wanted |= {name: value for name, value in limits.items() if value is not None}
    given = AtMost(receive_within, complete_within, extension, calendar, time_zone, week, inclusive, since)
    wanted |= {f"{name}_within": clock for name, clock in given.clocks().items()}
    if gzip:
        wanted["gzip"] = True
    if suspend_exports:
        wanted["suspend_exports_when_overdue"] = True
    if suppression_completes:
        wanted["suppression_completes"] = True
    if signature_scheme:
        wanted["signature_schemes"] = signature_scheme
    with Client(url or "", key) as client:
        made = client.add_partner(wanted)
    if as_json:
        print_json(made)
        return
    say(f"partner {made['id']} is registered, in lane {made['lane']}")
    _say_keys(made)
    say(f"API key: {made['api_key']}")
    say("Secrets and API keys are shown only now. Hand all of it to the partner.")


@app.command("rotate-secret")
def rotate_secret(
    partner: Annotated[str, typer.Argument()],
    overlap: Annotated[
        int | None, typer.Option(min=0, max=30 * 86_400, help="Seconds; a day by default, 0 for a secret that leaked.")
    ] = None,
    signature_scheme: Annotated[
        list[Scheme] | None, typer.Option(help="v1 or v1a from now on; repeatable. The same as before by default.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Replace a partner's signing secret. The new one is shown once.

    Until the overlap ends, requests are signed with the old one too. Three secrets sign at most: whoever rotates a
    third time within the overlap ends the oldest. A partner's own key will do, too.
    """
    rotation: dict[str, Any] = {}
    if overlap is not None:
        rotation["overlap"] = overlap
    if signature_scheme:
        rotation["signature_schemes"] = signature_scheme
    with Client(url or "", key) as client:
        made = client.rotate_secret(partner, rotation)
    if as_json:
        print_json(made)
        return
    say(f"partner {partner} has a new signing secret")
    _say_keys(made)
    replaced = [each["expires_at"] for each in made["signing_keys"] if each["expires_at"]]
    if replaced:
        say(f"What signed before goes on until {local(max(replaced))}. Hand the new one to the partner by then.")
    else:
        say("What signed before has ended. Hand the new one to the partner now.")
    if made["signing_secret"]:
        say("The secret is shown only now.")


app.command("clocks")(clocks)
app.command("exports")(when_overdue)
app.command("replies")(replies)


class Suppression(StrEnum):
    COMPLETES = "completes"
    STAYS_OPEN = "stays-open"


@app.command()
def answers(
    partner: Annotated[str, typer.Argument()],
    suppression: Annotated[
        Suppression,
        typer.Option(help="What becomes of an `erase` that is answered `suppressed`: the data is still there."),
    ],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Whether a partner may suppress where it is asked to erase. What was issued before is judged as it was then."""
    completes = suppression is Suppression.COMPLETES
    with Client(url or "", key) as client:
        changed = client.change_partner(partner, {"suppression_completes": completes})
    if as_json:
        print_json(changed)
        return
    became = "completes it" if completes else "leaves it open"
    say(f"partner {partner}: `suppressed` to an `erase` {became}, from now on")


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
def remove(partner: Annotated[str, typer.Argument()], url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Remove a partner: it gets nothing any more, and what it still owes is cancelled."""
    with Client(url or "", key) as client:
        client.remove_partner(partner)
    if as_json:
        print_json({"id": partner, "status": "removed"})
    else:
        say(f"partner {partner} is removed")


def _say_keys(made: Mapping[str, Any]) -> None:
    """What the partner is to check with from now on."""
    if made["signing_secret"]:
        say(f"Signing secret: {made['signing_secret']}")
    for each in made["signing_keys"]:
        if each["public_key"] and not each["expires_at"]:
            say(f"Public key: {each['public_key']}")


def _shown(name: str, value: Any) -> str:
    if name in _IN_WORDS:
        return _IN_WORDS[name](value)
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    if name.endswith("_at"):
        return local(value)
    return "-" if value is None else str(value)


def _other_clocks(value: Mapping[str, Any]) -> Iterator[str]:
    for action, others in value.items():
        for name, clock in (others or {}).items():
            if clock is not None:
                yield f"{action}: {name} within {in_words(clock)}"


def _signing_key(each: Mapping[str, Any]) -> str:
    ends = each["expires_at"] and f"until {local(each['expires_at'])}"
    return " ".join(filter(None, (each["scheme"], each["public_key"], ends)))


_IN_WORDS: dict[str, Callable[[Any], str]] = {
    "signing_keys": lambda keys: "; ".join(map(_signing_key, keys)) or "-",
    "receive_within": in_words,
    "complete_within": in_words,
    "clocks": lambda clocks: "; ".join(_other_clocks(clocks)) or "-",
    "watch": watch_in_words,
}

cli_hand.add_to(app)
