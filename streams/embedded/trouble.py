"""What SQLite's errors mean for whoever runs the log, in one line that says what to do."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

#: Below this many free bytes a failed write counts as a full disk, whatever SQLite called it: it says
#: "disk I/O error" if only its shared memory found no room.
_NO_ROOM = 256 * 1024

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, and it goes on by itself",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop the service, run `rescind doctor`, and restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is no log of Rescind's, or its beginning is damaged; move it away, or restore a "
    "backup",
    sqlite3.SQLITE_READONLY: "the file cannot be written; give it and its directory to the user who runs the service, "
    "and see that the disk is not mounted read-only",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; see that its directory exists and belongs to the user who "
    "runs the service",
    sqlite3.SQLITE_BUSY: "another program keeps the file locked; end that program",
    sqlite3.SQLITE_IOERR: "the disk fails; look for its errors in the system's log",
}
_OF_SYSTEM = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EACCES: sqlite3.SQLITE_READONLY,
    errno.EPERM: sqlite3.SQLITE_READONLY,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.ENOENT: sqlite3.SQLITE_CANTOPEN,
    errno.ENOTDIR: sqlite3.SQLITE_CANTOPEN,
    errno.EIO: sqlite3.SQLITE_IOERR,
}


def explain(error: BaseException, path: Path | None = None) -> str:
    """What happened and what to do, for an error of SQLite's or of the system's; the bare text of any other."""
    advice = _ADVICE.get(_kind(error, path))
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{advice} ({text})" if advice else text


def passes(error: BaseException, path: Path | None = None) -> bool:
    """Whether the same write may succeed later with nothing changed but the room on the disk."""
    return _kind(error, path) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)


def no_room(error: BaseException, path: Path | None = None) -> bool:
    """Whether a write failed because the disk is full."""
    return _kind(error, path) == sqlite3.SQLITE_FULL


def is_full(path: Path) -> bool:
    """Whether the disk that a file lies on has next to no room left."""
    try:
        return shutil.disk_usage(path.parent).free < _NO_ROOM
    except OSError:
        return False


def _kind(error: BaseException, path: Path | None) -> int:
    """SQLite's primary result code, or what comes next to it; 0 if there is none."""
    if isinstance(error, OSError):
        return _OF_SYSTEM.get(error.errno or 0, 0)
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return 0
    kind = code & 0xFF
    if kind == sqlite3.SQLITE_IOERR and path is not None and is_full(path):
        return sqlite3.SQLITE_FULL
    return kind
