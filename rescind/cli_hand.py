"""The operator's hand on a partner: `rescind partners pause, resume, try, suspend, drain, replay, test`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from rescind.client import Client, pages
from rescind.options import Json, Key, Url
from rescind.output import local, print_json, say

Partner = Annotated[str, typer.Argument(help="A partner's id.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why, in a line; the partner can read it.")]
#: Seconds for a partner's answer to a test, however long the service is set to wait for one.
_PATIENCE = 600.0


def add_to(app: typer.Typer) -> None:
    for command in (pause, resume, suspend, drain, replay):
        app.command()(command)
    app.command("try")(try_partner)
    app.command("test")(test_partner)


def pause(partner: Partner, reason: Why = None, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Hold what is for a partner. Its lane waits; nothing is lost, and opt-outs go on being issued into it."""
    changed = _change(partner, _status("paused", reason), url, key)
    _tell(changed, as_json, f"{partner} is paused: what is for it waits until it is resumed")


def resume(partner: Partner, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Deliver again, to a partner that is paused or suspended."""
    changed = _change(partner, _status("active", None), url, key)
    _tell(changed, as_json, f"{partner} is active: what waits for it is tried now")


def try_partner(partner: Partner, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Try a partner now, instead of when its next attempt is due, as after it has mended its endpoint."""
    with Client(url or "", key) as client:
        tried = client.try_partner(partner)
    if as_json:
        print_json(tried)
    elif not tried["waiting"]:
        say(f"nothing waits for {partner}")
    else:
        words = "1 notice waits" if tried["waiting"] == 1 else f"{tried['waiting']:,} notices wait"
        again = tried.get("next_attempt_at")
        would = f"; the next attempt would have been at {local(again)}" if again else ""
        say(f"{partner} is tried now: {words}{would}")


def suspend(
    partner: Partner,
    reason: Annotated[str, typer.Option(help="Why, in a line; the partner can read it.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Hold what is for a partner that is given up until somebody has had a look, as if it had answered 410 Gone."""
    changed = _change(partner, _status("suspended", reason), url, key)
    _tell(changed, as_json, f"{partner} is suspended: what is for it waits until it is resumed")


def drain(
    partner: Partner,
    undo: Annotated[bool, typer.Option("--undo", help="Issue again, from now on.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Let a partner's lane run empty before it is removed: what waits is delivered, nothing new is issued.

    Opt-outs that are accepted meanwhile do NOT reach it, not even after --undo.
    """
    changed = _change(partner, {"draining": not undo}, url, key)
    if undo:
        _tell(changed, as_json, f"{partner} hears of choices again; it did not hear of those made meanwhile")
    else:
        words = "once nothing of it is open in `rescind status`, remove it; choices made from now on do not reach it"
        _tell(changed, as_json, f"{partner} is draining: {words}")


def replay(
    partner: Partner,
    start: Annotated[str, typer.Option("--from", help="Notices issued from then on, RFC 3339.")],
    end: Annotated[str | None, typer.Option("--to", help="And before then; now by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Issue notices of some time again, as after a partner has lost what it had. Repeating it is safe.

    They keep their ids and clocks, and what is completed stays so. A notice is left out if the user has chosen the
    opposite since.
    """
    wanted: dict[str, Any] = {"from": start, "to": end or datetime.now(UTC).isoformat(), "dry_run": dry_run}
    sums: dict[str, Any] = {"id": str(uuid4()), "notices": 0, "requests": 0, "superseded": 0}
    with Client(url or "", key) as client:
        for page in pages(lambda following: client.replay(partner, wanted | {"id": sums["id"]} | following)):
            for name in ("notices", "requests", "superseded"):
                sums[name] += page[name]
    if as_json:
        print_json(sums | {"dry_run": dry_run})
        return
    count = f"{sums['notices']:,} notices, in about {sums['requests']:,} requests"
    say(f"it would be {count}" if dry_run else f"issued again to {partner}: {count}")
    if sums["superseded"]:
        say(f"{sums['superseded']:,} more are left out, since the opposite was chosen after them")


def test_partner(partner: Partner, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Send a signed event that asks for nothing, right now, and explain the answer. Exit code 1 if it is not taken.

    If it is taken, what waits for the partner is tried at once.
    A partner's own key will do.
    """
    with Client(url or "", key, timeout=_PATIENCE) as client:
        trial = client.test_partner(partner)
    if as_json:
        print_json(trial)
    else:
        for sentence in trial["explanation"]:
            say(str(sentence))
        if trial.get("address") is not None:
            say(f"It went to {trial['address']}, as {trial.get('webhook_id')}.")
    if not trial["ok"]:
        raise typer.Exit(1)


def _status(status: str, reason: str | None) -> dict[str, Any]:
    return {"status": status} if reason is None else {"status": status, "status_reason": reason}


def _change(partner: str, changes: dict[str, Any], url: str | None, key: str | None) -> dict[str, Any]:
    with Client(url or "", key) as client:
        return client.change_partner(partner, changes)


def _tell(changed: dict[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        print_json(changed)
        return
    say(words)
    if changed.get("draining_since") is not None and "draining" not in words:
        say(f"It is draining since {local(changed['draining_since'])}, and hears of no choice made since.")
