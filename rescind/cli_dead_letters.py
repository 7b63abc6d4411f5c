"""`rescind dead-letters`: two lists, what partners refuse for good (theirs) and what we could not process (ours)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from rescind.client import MOST, Client, pages, some
from rescind.options import Json, Key, Url
from rescind.output import complain, local, print_json, say, show_table, table

app = typer.Typer(
    help="List, redrive and discard dead letters: theirs, which a partner refuses for good, and ours, which we could"
    " not process. Needs an operator key.",
    no_args_is_help=True,
)
_THEIRS, _OURS = "undeliverable", "poisoned"

Theirs = Annotated[bool, typer.Option("--theirs", help="Notices that a partner refuses for good.")]
Ours = Annotated[bool, typer.Option("--ours", help="Messages that we could not process.")]
All = Annotated[bool, typer.Option("--all", help="All of them; of theirs, all of --partner.")]
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
    """Both lists, or one. Exit code 1 if there is anything to redrive."""
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
    if any(not letter.get("superseded") for letters in found.values() for letter in letters):
        raise typer.Exit(1)


@app.command()
def redrive(
    ids: Ids = None,
    theirs: Theirs = False,
    ours: Ours = False,
    everything: All = False,
    partner: Annotated[str | None, typer.Option(help="With --theirs --all: whose.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Try again: theirs are issued to their partners once more, ours are processed once more. Exit code 1 if some are
    left.
    """
    (which, *others) = _chosen(theirs, ours) or ("",)
    if others or not which:
        raise typer.BadParameter("say either --theirs or --ours")
    if (partner is not None) != (which == _THEIRS and everything):
        raise typer.BadParameter("--partner belongs to --theirs --all, which needs it")
    named = "notice_ids" if which == _THEIRS else "ids"
    whose = {} if partner is None else {"partner": partner}
    _settle(which, "redrive", _requests(ids, everything, named, whose), url, key, as_json)


@app.command()
def discard(ids: Ids = None, everything: All = False, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Be done with messages of ours that are not to be processed. Exit code 1 if some are left."""
    _settle(_OURS, "discard", _requests(ids, everything, "ids", {}), url, key, as_json)


def _chosen(theirs: bool, ours: bool) -> tuple[str, ...]:
    return (_THEIRS,) * theirs + (_OURS,) * ours


def _some(client: Client, which: str, query: dict[str, Any], limit: int) -> tuple[list[dict[str, Any]], bool]:
    return some(lambda following: client.dead_letters(which, query | following), "dead_letters", limit)


def _requests(ids: Sequence[str] | None, everything: bool, named: str, whose: dict[str, Any]) -> list[dict[str, Any]]:
    if bool(ids) == everything:
        raise typer.BadParameter("name some by their ids, or say --all")
    if not ids:
        return [{"all": True} | whose]
    return [{named: ids[start : start + MOST]} for start in range(0, len(ids), MOST)]


def _settle(
    which: str, act: str, requests: Sequence[dict[str, Any]], url: str | None, key: str | None, as_json: bool
) -> None:
    done, skipped = 0, list[dict[str, Any]]()
    with Client(url or "", key) as client:
        for request in requests:
            for answer in _answers(client, which, act, request):
                done += answer["done"]
                skipped += answer["skipped"]
    if as_json:
        print_json({"done": done, "skipped": skipped})
    else:
        for letter in skipped:
            complain(f"{letter.get('id')}: {letter.get('reason')}")
        say(f"{done:,} {'redriven' if act == 'redrive' else 'discarded'}, {len(skipped):,} left")
    if skipped:
        raise typer.Exit(1)


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
                f"superseded; {letter['detail']}" if letter["superseded"] else letter["detail"],
            ]
            for letter in found[_THEIRS]
        ]
        _list("partners refuse no notice", ["notice", "partner", "subject", "action", "refused", "its words"], rows)
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
