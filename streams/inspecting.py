"""Looking into a SQLite file without changing it, whether somebody uses it or it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from streams.errors import StorageUnusable

#: Lines of damage that are enough to know.
_ENOUGH = 10


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. Raises `sqlite3.Error`, also inside, and `StorageUnusable` for a file whose
    writer was killed before the file had a WAL: what was cut off must be taken back first, and that is to write."""
    # Where nothing may be made beside the file, and nothing is (a read-only disk), SQLite must not try.
    alone = not path.with_name(path.name + "-wal").exists() and not os.access(path.parent, os.W_OK)
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            raise StorageUnusable("it was left in the middle of a change, which the next start takes back") from None


def damage(path: Path) -> tuple[str, ...]:
    """What SQLite's `quick_check` finds wrong; it reads the whole file. Values are not checked: SQLite keeps no
    checksums of them. A change that was cut off is no damage."""
    try:
        with reading(path) as connection:
            rows = connection.execute(f"PRAGMA quick_check({_ENOUGH})").fetchall()
    except StorageUnusable:
        return ()
    except sqlite3.Error as error:
        return (str(error),)
    lines = [line for (text,) in rows for line in text.splitlines() if not line.startswith("***")]
    return tuple(line for line in lines if line != "ok")[:_ENOUGH]
