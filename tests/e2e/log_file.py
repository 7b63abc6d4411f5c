"""What stands in the file of the embedded log, read past all of our own code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.world import query

_RECORDS = """SELECT r.tp & 0xffff, r.offset, r.value FROM records r JOIN topics t ON t.id = r.tp >> 16
WHERE t.name = '{}' ORDER BY r.tp, r.offset"""


def records(path: Path, topic: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Partition, offset and event."""
    for partition, offset, value in query(path, _RECORDS.format(topic)):
        yield partition, offset, json.loads(value)


def toggles(path: Path) -> list[str]:
    """The ids of toggles, each where it first stands in its subject's partition."""
    return list(dict.fromkeys(event["id"] for _, _, event in records(path, "rescind.toggles")))


def issued(path: Path) -> dict[tuple[str, str, str], dict[str, list[tuple[int, int]]]]:
    """By partner, toggle and action the ids of notices, and at which places of a lane each stands; without those where
    it was issued again on purpose."""
    found: dict[tuple[str, str, str], dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for lane, offset, event in records(path, "rescind.notices"):
        pack = event["data"]
        if pack.get("again") is None:
            for notice in pack["notices"]:
                found[pack["partner"], notice["toggle_id"], notice["action"]][notice["id"]].append((lane, offset))
    return found
