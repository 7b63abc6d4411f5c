"""A ledger made anew from the log, beside the one that is there, and then put in its place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agents.rereading import Progress, reread
from ledger import Ledger
from ledger.files import take_place
from ledger.inspection import inspect
from rescind.running.credentials import veils_of
from rescind.running.places import LEDGER, check_log, data_directory
from streams.clock import Clock
from streams.errors import InvalidInput, StorageUnusable
from streams.log import Log, opened
from streams.records import TopicPartition
from streams.settings import Settings
from streams.topics import COMPACTED


async def rebuild(settings: Settings, clock: Clock, on_progress: Progress, *, forget: bool = False) -> None:
    """Raises `InvalidInput` if the ledger knows of what the log has retired, unless it may `forget` that;
    `LogInUse` while a service writes the ledger; `StorageUnusable`, and what the log raises."""
    check_log(settings)
    with data_directory(settings, LEDGER):
        async with opened(settings) as log:
            name, offsets = _known(settings.ledger_path)
            if not forget:
                _check_whole(log, offsets)
            beside = settings.ledger_path.with_name(settings.ledger_path.name + ".new")
            _remove(beside)
            # Under its old name, which is its consumer group's: it goes on where the group has committed.
            ledger = Ledger.open(beside, log_start=log.start_offset, ledger_id=name, veils=veils_of(settings))
            try:
                await reread(log, ledger, clock, on_progress)
            finally:
                ledger.close()
            take_place(beside, settings.ledger_path)


def _known(path: Path) -> tuple[str | None, dict[TopicPartition, int]]:
    """The name of the ledger that is there, and how much of the log it knows. A damaged one, or another version's, is
    one to be replaced."""
    if not path.exists():
        return None, {}
    try:
        state = inspect(path)
    except (sqlite3.Error, StorageUnusable):
        return None, {}
    return state.ledger_id, state.offsets


def _check_whole(log: Log, offsets: dict[TopicPartition, int]) -> None:
    retired = [tp for tp in offsets if tp.topic not in COMPACTED and log.start_offset(tp) > 0]
    if retired:
        raise InvalidInput(
            f"the log does not have the beginning of {len(retired)} partitions any more ({retired[0]} begins at"
            f" {log.start_offset(retired[0])}), so a new ledger would know less than this one; to make it nevertheless,"
            " say --forget-retired"
        )


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
