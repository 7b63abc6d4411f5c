"""`rescind doctor`: what `rescind.doctor` finds, for people and as JSON."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from rescind.doctor import Finding, Found, diagnose, examine, held_for, worst
from rescind.options import Json, settings
from rescind.output import print_json, say, seconds, show_table, table


def doctor(
    data: Annotated[Path | None, typer.Option(help="The service's data directory.")] = None, as_json: Json = False
) -> None:
    """Explain the state of a data directory, also while the service runs. Changes nothing.

    Exit code 0 if all is fine, 1 if something needs attention, 2 if the directory cannot be used as it is.
    It reads the files from end to end.
    """
    found = examine(settings(data_dir=data), time.time())
    findings = diagnose(found)
    if as_json:
        print_json(report(found, findings))
    else:
        _show(report(found, findings))
    raise typer.Exit(int(worst(findings)))


def report(found: Found, findings: list[Finding]) -> dict[str, Any]:
    """Everything as plain values. Sizes are in bytes, ages in seconds."""
    log, ledger = found.log_state, found.ledger_state
    lanes = {} if ledger is None else ledger.lanes
    lag: dict[tuple[str, str], int] = {}
    for each in () if log is None else log.waiting:
        lag[each.group, each.at.topic] = lag.get((each.group, each.at.topic), 0) + each.lag
    return {
        "directory": str(found.directory),
        "state": worst(findings).name.lower(),
        "findings": [{"level": f.level.name.lower(), "what": f.what, "text": f.text} for f in findings],
        "used_by": found.used_by,
        "free_bytes": found.free,
        "keys_in_force": found.keys_in_force,
        "files": [
            {
                "name": file.name,
                "path": str(file.path),
                "size_bytes": file.size,
                "mode": f"{file.mode:04o}" if file.exists else None,
                "ok": file.exists and not file.damage and file.problem is None,
            }
            for file in (found.log, found.ledger, found.consent, found.keys, found.sealing)
        ],
        "log_format": None if log is None else log.version,
        "topics": [
            {
                "topic": topic.name,
                "cleanup": topic.cleanup,
                "records": topic.records,
                "partitions": [{"earliest": p.earliest, "end": p.end} for p in topic.partitions],
            }
            for topic in (() if log is None else log.topics)
        ],
        "groups": [{"group": group, "topic": topic, "lag": behind} for (group, topic), behind in sorted(lag.items())],
        "lanes": [
            {
                "lane": lane.at.partition,
                "partner": lanes.get(lane.at.partition),
                "backlog": lane.lag,
                "held_seconds": held_for(lane, found.now),
            }
            for lane in found.lanes()
        ],
        "ledger": None
        if ledger is None
        else {
            "id": ledger.ledger_id,
            "offsets": {f"{at.topic}[{at.partition}]": n for at, n in ledger.offsets.items()},
        },
    }


def _show(told: dict[str, Any]) -> None:
    say(
        f"{told['directory']}: {told['state']}, used by {told['used_by'] or 'nobody'}, {_size(told['free_bytes'])} free"
    )
    for finding in told["findings"]:
        say(f"{finding['level'].upper()} {finding['what']}: {finding['text']}")
    _table("", ["file", "size", "mode", "state"], [[f["name"], *_file(f)] for f in told["files"]])
    topics = [
        [t["topic"], t["cleanup"], str(t["records"]), str(len(t["partitions"])), _range(t["partitions"])]
        for t in told["topics"]
    ]
    _table("", ["topic", "cleanup", "records", "partitions", "earliest - end"], topics)
    _table("", ["group", "topic", "lag"], [[g["group"], g["topic"], str(g["lag"])] for g in told["groups"] if g["lag"]])
    lanes = [
        [str(lane["lane"]), lane["partner"] or "-", str(lane["backlog"]), seconds(lane["held_seconds"])]
        for lane in told["lanes"]
    ]
    _table("", ["lane", "partner", "backlog", "held for"], lanes)


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    if rows:
        say(title)
        show_table(table(columns, rows, right=["size", "records", "partitions", "lag", "backlog"]))


def _file(file: dict[str, Any]) -> list[str]:
    if file["size_bytes"] is None:
        return ["-", "-", "absent"]
    return [_size(file["size_bytes"]), file["mode"], "fine" if file["ok"] else "bad"]


def _range(partitions: list[dict[str, int]]) -> str:
    return f"{sum(p['earliest'] for p in partitions)} - {sum(p['end'] for p in partitions)}"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
