"""`rescind status`: what is open, how old, what is overdue, how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from rescind.cli_replies import counts
from rescind.client import Client
from rescind.options import Json, Key, Url
from rescind.output import print_json, seconds, show, state, table
from rescind.watching import Part, watch

#: Seconds between two looks.
_EVERY = 2.0


class Window(StrEnum):
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"


def status(
    partner: Annotated[str | None, typer.Option(help="Only this one: each kind of notice, over every window.")] = None,
    window: Annotated[Window | None, typer.Option(help="What the lag is over; 24h by default.")] = None,
    watching: Annotated[bool, typer.Option("--watch", help="Go on, and show what changes, until Ctrl-C.")] = False,
    every: Annotated[float | None, typer.Option(help="With --watch: seconds between two looks; 2.", min=0.2)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 at WARN, too.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Each partner: its state and why, what is open, how old, overdue or at risk, and how it was answered.

    Exit code 1 if a partner is STALL or STOP, and with --strict if one is WARN; 0 otherwise.

    --watch is a table that stays in its place on a terminal, and lines where output goes elsewhere, each time that
    something other than an age has changed; with --json a line of JSON each time. Ctrl-C ends it with exit code 0.
    """
    if partner is not None and window is not None:
        raise typer.BadParameter("--partner shows every window")
    if every is not None and not watching:
        raise typer.BadParameter("--every belongs to --watch")
    if strict and watching:
        raise typer.BadParameter("--strict is about the exit code, and --watch ends with 0")
    parts = _parts if partner is None else _parts_of_one
    with Client(url or "", key) as client:

        def ask() -> dict[str, Any]:
            return client.lag(window) if partner is None else client.partner_lag(partner)

        if watching:
            watch(ask, parts, _gist, every=every or _EVERY, as_json=as_json)
            return
        lag = ask()
    if as_json:
        print_json(lag)
    else:
        show(parts(lag))
    if any(row["state"] in (_BAD | {"WARN"} if strict else _BAD) for row in _rows(lag)):
        raise typer.Exit(1)


def _rows(lag: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lag.get("partners", [lag])
    return rows


#: States for which somebody should be woken.
_BAD = {"STALL", "STOP"}
#: What makes a row another one; its ages and percentiles change all the time.
_TELLING = (
    "partner", "kind", "state", "open", "overdue", "at_risk", "backlog", "undeliverable", "parked", "acknowledged",
    "contradictions",
)  # fmt: skip


def _gist(lag: dict[str, Any]) -> object:
    rows = [each for row in _rows(lag) for each in (row, *(row.get("kinds", ()) if "partners" not in lag else ()))]
    unclear = [row["replies"]["not_understood"] for row in _rows(lag)]
    return lag.get("totals"), unclear, [[row.get(name) for name in _TELLING] for row in rows]


def _parts(lag: dict[str, Any]) -> Iterator[Part]:
    held = _held(lag["partners"])
    columns = ["state", "partner", *_STANDING, *held, "answered", "late", "refused", "lag p50", "lag p99"]
    rows = [
        [
            state(row["state"]),
            row["partner"],
            *_standing(row),
            *(str(row[name]) for name in held),
            *_answers(row["windows"][0]),
            seconds(row["complete_lag"]["p50"]),
            seconds(row["complete_lag"]["p99"]),
        ]
        for row in lag["partners"]
    ]
    yield table(columns, rows, right=columns[2:]) if rows else "no partner is registered"
    yield from (_why(row) for row in lag["partners"] if row["state"] != "OK")
    totals = lag["totals"]
    if totals:
        yield (
            f"{totals['opted_out']} standing opt-outs, {totals['notices']} notices,"
            f" {totals['acknowledged']} acknowledged, {totals['open']} open"
        )
        theirs, ours = totals.get("undeliverable"), totals.get("poisoned_open")
        if theirs or ours:
            yield f"dead letters: {theirs} of partners, {ours} of ours (rescind dead-letters list)"
    contradicting = {row["partner"]: row.get("contradictions", 0) for row in lag["partners"]}
    if any(contradicting.values()):
        who = ", ".join(f"{partner} ({count})" for partner, count in contradicting.items() if count)
        yield f"final answers after other final ones: {who} (GET /v1/contradictions)"
    unclear = [row for row in lag["partners"] if (row["replies"]["last_not_understood"] or {}).get("open")]
    if unclear:
        who = ", ".join(f"{row['partner']} ({row['replies']['not_understood']})" for row in unclear)
        yield f"replies not understood: {who} (rescind partners replies PARTNER)"


def _parts_of_one(row: dict[str, Any]) -> Iterator[Part]:
    yield _why(row)
    yield counts(row["replies"])
    held = _held([row])
    columns = ["kind", *_STANDING, *held]
    rows = [
        [name, *_standing(each), *(str(each[one]) for one in held)]
        for name, each in [*((kind["kind"], kind) for kind in row["kinds"]), ("all", row)]
    ]
    yield table(columns, rows, right=columns[1:])
    columns = ["kind", "over", "came", "answered", "in time", "late", "refused"]
    columns += ["taken p50", "p95", "p99", "answered p50", "p95", "p99"]
    rows = [
        [name, window["window"], str(window["arrived"]), *_answers(window, in_time=True), *_percentiles(window)]
        for name, windows in [*((kind["kind"], kind["windows"]) for kind in row["kinds"]), ("all", row["windows"])]
        for window in windows
    ]
    yield table(columns, rows, right=columns[2:])


def _why(row: dict[str, Any]) -> str:
    return f"{row['partner']} is {row['state']}: {row['reason']}"


_STANDING = ["open", "oldest", "overdue", "at risk", "backlog"]


def _standing(row: dict[str, Any]) -> list[str]:
    return [
        str(row["open"]),
        seconds(row["oldest_open_seconds"]),
        str(row["overdue"]),
        str(row["at_risk"]),
        str(row["backlog"]),
    ]


def _held(rows: list[dict[str, Any]]) -> list[str]:
    """Columns that are there only if anybody has some."""
    return [name for name in ("undeliverable", "parked") if any(row[name] for row in rows)]


def _answers(window: dict[str, Any], *, in_time: bool = False) -> list[str]:
    names = ["in_time", "late", "refused"] if in_time else ["late", "refused"]
    return [str(window["answered"]), *(_share(window[name], window[f"{name}_share"]) for name in names)]


def _share(count: int, share: float | None) -> str:
    return "-" if share is None else f"{count} ({100 * share:.0f} %)"


def _percentiles(window: dict[str, Any]) -> list[str]:
    return [seconds(window[lag][rank]) for lag in ("receive_lag", "complete_lag") for rank in ("p50", "p95", "p99")]
