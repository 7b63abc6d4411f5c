"""What stands in a ledger's file and in the file of keys: for people who look after them. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError
from sqlite_utils import Database

from ledger import lagging, queries
from ledger.archives import Archives
from ledger.folding import name_of
from ledger.lag import Window
from ledger.partner_state import Assessment
from ledger.reading import SCHEMA_VERSION
from ledger.veiling import Hidden
from streams.errors import StorageUnusable
from streams.inspecting import reading
from streams.records import TopicPartition

_HELD = """SELECT partner, SUM(n * (name = 'undeliverable')), SUM(n * (name = 'parked')) FROM counts
    WHERE partner <> '' AND name IN ('undeliverable', 'parked') GROUP BY partner HAVING SUM(n) > 0 ORDER BY partner"""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """`offsets` are the next ones that the ledger expects; `lanes` tells whose each lane is. `missing` are archives
    that hold what the ledger has nowhere else, and that are not there. `held` is by partner how many notices it refuses
    for good, and how many others are parked."""

    ledger_id: str
    offsets: dict[TopicPartition, int]
    lanes: dict[int, str]
    missing: tuple[Path, ...] = ()
    held: dict[str, tuple[int, int]] = field(default_factory=dict)


def inspect(path: Path) -> LedgerState:
    """Raises `StorageUnusable` for the ledger of another version, and `sqlite3.Error` for a damaged file."""
    with reading(path) as connection:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version != SCHEMA_VERSION:
            raise StorageUnusable("another version of Rescind made it; delete it, and it is rebuilt from the log")
        ((identity,),) = connection.execute("SELECT value FROM meta WHERE name = 'ledger_id'").fetchall()
        offsets = {TopicPartition(*row[:2]): row[2] for row in connection.execute("SELECT * FROM offsets")}
        # Who has a lane now, before who had it.
        partners = connection.execute("SELECT id, body FROM partners ORDER BY removed_at IS NULL, id").fetchall()
        months = connection.execute("SELECT month FROM archives WHERE notices OR statements ORDER BY month").fetchall()
        held = {row[0]: (row[1], row[2]) for row in connection.execute(_HELD)}
        archives = Archives(path, name_of(connection) or "")
    missing = tuple(file for (month,) in months if not (file := archives.path(month)).exists())
    lanes = {lane: partner for partner, body in partners for lane in _lanes(orjson.loads(body))}
    return LedgerState(identity, offsets, lanes, missing, held)


def partner_states(path: Path, now: datetime) -> dict[str, Assessment]:
    """How each partner is doing, by all that the ledger has read. Raises `StorageUnusable` for a partner that no
    version of ours wrote, and `sqlite3.Error` for a damaged file."""
    with reading(path) as connection:
        database = Hidden().reading(Database(connection))
        try:
            partners = queries.partners(database)
        except ValidationError:
            raise StorageUnusable("it holds a partner that cannot be read; delete it, and it is rebuilt") from None
        rows = lagging.lag(database, partners, now, Window.DAY, (), lagging.Remembered())
    return {row.partner: Assessment(row.state, row.reason) for row in rows}


def _lanes(body: dict[str, Any]) -> list[int]:
    # Read as it is: a ledger that is looked after may hold what no model takes any more.
    lanes = [body.get("lane"), *(body.get("more_lanes") or ())]
    return [lane for lane in lanes if isinstance(lane, int)]


def keys_in_force(path: Path) -> int:
    """How many API keys are not revoked. Raises `sqlite3.Error`."""
    with reading(path) as connection:
        ((count,),) = connection.execute("SELECT COUNT(*) FROM keys WHERE revoked_at IS NULL").fetchall()
    return int(count)
