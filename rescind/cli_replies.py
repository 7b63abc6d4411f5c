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
        bool, typer.Option("--seen", help="Mark the replies not understood so far as seen, which ends the warning.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """What a partner's replies said of the notices that it took, and the last reply that was not understood.

    --seen needs an operator's key; without it, the partner's own key is enough.
    """
    with Client(url or "", key) as client:
        found = client.mark_replies_seen(partner) if seen else client.replies(partner)
    if as_json:
        print_json(found)
        return
    if seen:
        say(f"the replies of {partner} not understood so far are marked as seen; the next one warns again")
        last = found["last_not_understood"]
        if last is not None and last["open"]:
            say(f"{partner} is still WARN: another came {local(last['at'])}, or the ledger does not show the mark yet")
        return
    for line in _lines(partner, found):
        say(line)


def counts(found: Mapping[str, Any]) -> str:
    """Notices that were delivered, by what the replies said about them, and replies that were not understood."""
    said = found["notices"]
    replies = "1 reply was" if found["not_understood"] == 1 else f"{found['not_understood']:,} replies were"
    return (
        f"notices by reply: {said['acknowledged']:,} acknowledged, {said['not_understood']:,} not understood,"
        f" {said['unanswered']:,} without an answer; {replies} not fully understood"
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
        command = f"rescind partners replies {partner} --seen"
        yield f"{partner} is WARN until a later reply is understood, or an operator marks this one as seen: {command}"
    elif found["understood_at"] is not None and _time(found["understood_at"]) > _time(last["at"]):
        yield f"a later one was understood, the last {local(found['understood_at'])}"
    else:
        yield f"it was marked as seen {local(found['seen_at'])}"
