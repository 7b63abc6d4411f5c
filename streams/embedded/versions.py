"""What kind of file it is: its mark (`application_id`), the version of its tables (`user_version`), and how
an older one becomes a newer one. What is not plainly ours is left exactly as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from streams.embedded import schema
from streams.errors import StorageUnusable

#: "RSCD" in ASCII; what `file` and SQLite's own tools show of the file.
APPLICATION_ID = 0x52534344
#: The version of the tables that this program writes. 0 is what was written before there were versions.
VERSION = 1
_COLUMNS = {"tp", "offset", "timestamp", "key", "value", "headers"}


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `StorageUnusable` for a file that another program made, or a newer Rescind. Changes nothing."""
    # As of one moment: another process may be creating it.
    connection.execute("BEGIN")
    try:
        mark, version = marks(connection)
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('records')")}
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if mark == APPLICATION_ID and version <= VERSION:
        return
    if mark == APPLICATION_ID:
        raise StorageUnusable(
            f"the log {path} was written by a newer Rescind (format {version}, this one knows {VERSION}): "
            "run that version, or restore a backup from before the upgrade"
        )
    if mark != 0 or version != 0 or (tables and columns != _COLUMNS):
        raise StorageUnusable(
            f"{path} is a SQLite file of another program and no log of Rescind's: it is left as it is; "
            "set RESCIND_LOG or --data to another place"
        )


def marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """The file's mark and the version of its tables; (0, 0) for an empty file."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return mark, version


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Create or alter the tables, in one transaction: after a crash the file is of one version or the other."""
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
