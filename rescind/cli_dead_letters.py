"""`rescind dead-letters`: two lists, what partners do not take (theirs) and what we could not process (ours)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from rescind import redrives
from rescind.client import MOST, Client, pages, some
from rescind.options import Json, Key, Url
from rescind.output import complain, local, print_json, say, show_table, table

app = typer.Typer(
    help="List, redrive and discard dead letters: theirs, which a partner does not take, and ours, which we could not"
    " process. Needs an operator key.",
    no_args_is_help=True,
)
_THEIRS, _OURS = "undeliverable", "poisoned"

Theirs = Annotated[bool, typer.Option("--theirs", help="Notices that a partner does not take, though it takes others.")]
Ours = Annotated[bool, typer.Option("--ours", help="Messages that we could not process.")]
All = Annotated[bool, typer.Option("--all", help="All of them; of theirs, all of --partner.")]
Partner = Annotated[str | None, typer.Option(help="With --theirs --all: whose.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Their ids, as listed.")]


@app.command("list")
def list_dead_letters(
    theirs: Theirs = False,
    ours: Ours = False,
    partner: Annotated[str | None, typer.Option(help="Of theirs, only this partner's.")] = None,
    limit: Annotated[int, typer.Option(help="So many of each at most.", min=1)] = 100,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Both lists, or one. Exit code 1 if there is anything in them."""
    found: dict[str, list[dict[str, Any]]] = {}
    more = False
    with Client(url or "", key) as client:
        for which in _chosen(theirs, ours) or (_THEIRS, _OURS):
            query = {"partner": partner} if partner is not None and which == _THEIRS else {}
            found[which], cut = _some(client, which, query, limit)
            more = more or cut
    if as_json:
        print_json(found)
    else:
        _show(found)
        if more:
            say("and more, see --limit")
    if any(found.values()):
        raise typer.Exit(1)


@app.command()
def redrive(
    ids: Ids = None,
    theirs: Theirs = False,
    ours: Ours = False,
    everything: All = False,
    partner: Partner = None,
    wait: Annotated[
        float, typer.Option(help="Of theirs: seconds to wait for what becomes of them, at most.", min=0)
    ] = 30,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only issue them again.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Try again: theirs are issued to their partners once more, ours are processed once more. Of theirs it waits for
    what becomes of them. Exit code 1 if some are left, fail again, or still wait.
    """
    which = _one(_chosen(theirs, ours), everything, partner)
    requests = _requests(which, ids, everything, partner)
    with Client(url or "", key) as client:
        settled = _settled(client, which, "redrive", requests)
        told = []
        if which == _THEIRS and not no_wait:
            told = redrives.outcomes(client.redriven_outcomes, settled.issued, wait)
    if as_json:
        more = {"issued": settled.issued, "outcomes": told} if which == _THEIRS else {}
        print_json({"done": settled.done, "skipped": settled.skipped} | more)
    else:
        lines = [redrives.in_words(each) for each in redrives.not_taken(told)]
        _say(settled, "redriven", lines, redrives.in_short(told))
    if settled.skipped or any(each["outcome"] in {*redrives.FAILED, "waiting"} for each in told):
        raise typer.Exit(1)


@app.command()
def discard(
    ids: Ids = None,
    theirs: Theirs = False,
    ours: Ours = False,
    everything: All = False,
    partner: Partner = None,
    reason: Annotated[
        str | None, typer.Option(help="Of theirs: why they are given up. It stays on the record.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Be done with them: theirs are cancelled, and the partner is asked no more; ours, unless --theirs is said, are not
    processed. Exit code 1 if some are left."""
    which = _one(_chosen(theirs, ours) or (_OURS,), everything, partner)
    if (which == _THEIRS) != (reason is not None):
        raise typer.BadParameter("--reason belongs to --theirs, which needs one")
    requests = _requests(which, ids, everything, partner)
    with Client(url or "", key) as client:
        why = {} if reason is None else {"reason": reason}
        settled = _settled(client, which, "discard", [request | why for request in requests])
    if as_json:
        print_json({"done": settled.done, "skipped": settled.skipped})
    else:
        _say(settled, "discarded")
    if settled.skipped:
        raise typer.Exit(1)


@dataclass(slots=True)
class _Settled:
    done: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    issued: list[dict[str, Any]] = field(default_factory=list)


def _one(chosen: tuple[str, ...], everything: bool, partner: str | None) -> str:
    if len(chosen) != 1:
        raise typer.BadParameter("say either --theirs or --ours")
    if (partner is not None) != (chosen[0] == _THEIRS and everything):
        raise typer.BadParameter("--partner belongs to --theirs --all, which needs it")
    return chosen[0]


def _chosen(theirs: bool, ours: bool) -> tuple[str, ...]:
    return (_THEIRS,) * theirs + (_OURS,) * ours


def _some(client: Client, which: str, query: dict[str, Any], limit: int) -> tuple[list[dict[str, Any]], bool]:
    return some(lambda following: client.dead_letters(which, query | following), "dead_letters", limit)


def _requests(which: str, ids: Sequence[str] | None, everything: bool, partner: str | None) -> list[dict[str, Any]]:
    if bool(ids) == everything:
        raise typer.BadParameter("name some by their ids, or say --all")
    if not ids:
        return [{"all": True} | ({} if partner is None else {"partner": partner})]
    named = "notice_ids" if which == _THEIRS else "ids"
    return [{named: ids[start : start + MOST]} for start in range(0, len(ids), MOST)]


def _settled(client: Client, which: str, act: str, requests: Sequence[dict[str, Any]]) -> _Settled:
    settled = _Settled()
    for request in requests:
        for answer in _answers(client, which, act, request):
            settled.done += answer["done"]
            settled.skipped += answer["skipped"]
            settled.issued += answer.get("issued", [])
    return settled


def _say(settled: _Settled, verb: str, failed: Sequence[str] = (), became: str = "") -> None:
    for letter in settled.skipped:
        complain(f"{letter.get('id')}: {letter.get('reason')}")
    for line in failed:
        complain(line)
    say(f"{settled.done:,} {verb}, {len(settled.skipped):,} left{f': {became}' if became else ''}")


def _answers(client: Client, which: str, act: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return pages(lambda following: client.settle_dead_letters(which, act, request | following))


def _show(found: dict[str, list[dict[str, Any]]]) -> None:
    if _THEIRS in found:
        rows = [
            [
                letter["notice_id"],
                letter["partner"],
                letter["subject"],
                letter["action"],
                local(letter["refused_at"]),
                local(letter["retry_at"]) if letter.get("parked") else "never",
                letter["detail"],
            ]
            for letter in found[_THEIRS]
        ]
        columns = ["notice", "partner", "subject", "action", "since", "tried again", "its words"]
        _list("no notice is parked or undeliverable", columns, rows)
    if _OURS in found:
        rows = [
            [
                letter["id"],
                f"{letter['topic']}[{letter['partition']}]@{letter['offset']}",
                local(letter["poisoned_at"]),
                letter["reason"],
            ]
            for letter in found[_OURS]
        ]
        _list("no message could not be processed", ["message", "where", "poisoned", "reason"], rows)


def _list(none: str, columns: list[str], rows: list[list[str]]) -> None:
    if rows:
        show_table(table(columns, rows))
    else:
        say(none)
