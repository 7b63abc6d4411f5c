"""What kind of file it is: its mark (`application_id`) and the version of its tables (`user_version`). What is not
plainly ours, and of this version, is left exactly as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from streams.embedded import schema
from streams.errors import StorageUnusable

#: "RSCD" in ASCII; what `file` and SQLite's own tools show of the file.
APPLICATION_ID = 0x52534344
#: The version of the tables and records that this program reads and writes.
VERSION = 2


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `StorageUnusable` for a file that another program made, or another Rescind. Changes nothing."""
    # As of one moment: another process may be creating it.
    connection.execute("BEGIN")
    try:
        mark, version = marks(connection)
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if mark == APPLICATION_ID and version == VERSION:
        return
    if mark == APPLICATION_ID and version < VERSION:
        raise StorageUnusable(
            f"the log {path} was written by an older Rescind (format {version}, this one knows {VERSION}), and before "
            "1.0 formats change without a migration: run that version, or begin with a new data directory"
        )
    if mark == APPLICATION_ID:
        raise StorageUnusable(
            f"the log {path} was written by a newer Rescind (format {version}, this one knows {VERSION}): "
            "run that version, or restore a backup from before the upgrade"
        )
    if mark != 0 or version != 0 or tables:
        raise StorageUnusable(
            f"{path} is a SQLite file of another program and no log of Rescind's: it is left as it is; "
            "set RESCIND_LOG or --data to another place"
        )


def marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """The file's mark and the version of its tables; (0, 0) for an empty file."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return mark, version


def create(connection: sqlite3.Connection) -> None:
    """Create the tables of a new file, in one transaction: after a crash it has all of them or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if marks(connection) != (APPLICATION_ID, VERSION):
            for statement in schema.TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
