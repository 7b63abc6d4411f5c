"""`rescind partners replies`: what a partner's replies said, and which were not understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say


def replies(
    partner: Annotated[str, typer.Argument(help="A partner's id.")],
    seen: Annotated[
        bool, typer.Option("--seen", help="Mark what was not understood until now as seen; its state warns no more.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """What a partner's replies said of the notices that it took, and the last reply that was not understood.

    With --seen needs an operator key; without, the partner's own will do.
    """
    with Client(url or "", key) as client:
        found = client.mark_replies_seen(partner) if seen else client.replies(partner)
    if as_json:
        print_json(found)
        return
    if seen:
        say(f"what was not understood of {partner} until now is marked as seen; the next such reply warns again")
        last = found["last_not_understood"]
        if last is not None and last["open"]:
            say(
                f"{partner} is still WARN: one came {local(last['at'])}, after that; or the ledger does not show it yet"
            )
        return
    for line in _lines(partner, found):
        say(line)


def counts(found: Mapping[str, Any]) -> str:
    """How many notices the replies said what of, and how many replies were not understood."""
    said = found["notices"]
    replies = "1 reply was" if found["not_understood"] == 1 else f"{found['not_understood']:,} replies were"
    return (
        f"notices by reply: {said['acknowledged']:,} acknowledged, {said['not_understood']:,} not understood,"
        f" {said['unanswered']:,} without an answer; {replies} not understood"
    )


def _time(written: str) -> datetime:
    return datetime.fromisoformat(written)


def _lines(partner: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield counts(found)
    last = found["last_not_understood"]
    if last is None:
        return
    yield f"the last came {local(last['at'])}, as the answer to {last['webhook_id']}: {last['reason']}"
    if last["excerpt"]:
        yield f"it begins: {last['excerpt']}"
    if last["open"]:
        yield f"{partner} is WARN until a later one is understood, or: rescind partners replies {partner} --seen"
    elif found["understood_at"] is not None and _time(found["understood_at"]) > _time(last["at"]):
        yield f"a later one was understood, the last {local(found['understood_at'])}"
    else:
        yield f"it was marked as seen {local(found['seen_at'])}"
