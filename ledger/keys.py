"""API keys: made once, shown once, stored as digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock

from sqlite_utils import Database

from ledger.files import PATIENCE, open_database
from ledger.times import maybe_moment, micros, moment
from streams.errors import InvalidInput, StorageUnusable

_SCHEMA = """CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, partner TEXT, label TEXT, digest BLOB NOT NULL,
    created_at INTEGER NOT NULL, revoked_at INTEGER
) WITHOUT ROWID"""
_PREFIX = "rsk"


class Role(StrEnum):
    PLATFORM = "platform"
    PARTNER = "partner"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `partner` is set for the role partner only."""

    id: str
    role: Role
    partner: str | None
    label: str | None
    created_at: datetime
    revoked_at: datetime | None


class KeyStore:
    """The file of keys. The service and the command line may have it open at once, and each call reads
    the file: a key that was revoked elsewhere is refused at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._database.execute(_SCHEMA)

    @classmethod
    def open(cls, path: Path, *, patience: float = PATIENCE) -> KeyStore:
        """Raises `StorageUnusable`."""
        database = open_database(path, patience=patience)
        try:
            return cls(database)
        except sqlite3.Error as error:
            database.close()
            raise StorageUnusable(f"cannot use {path}: {error}") from None

    def close(self) -> None:
        """Waits for a call that is under way: SQLite does not survive a close below another thread's feet."""
        with self._lock:
            self._database.close()

    def create(
        self, role: Role, now: datetime, partner: str | None = None, label: str | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key. The second value is the key itself; nobody can show it again.

        Raises `InvalidInput` unless a partner is named for the role partner, and for no other.
        """
        if (role is Role.PARTNER) != (partner is not None):
            raise InvalidInput("a key of role partner names its partner, and no other key does")
        identity = secrets.token_hex(6)
        plain = f"{_PREFIX}_{role}_{identity}_{secrets.token_urlsafe(32)}"
        with self._used() as database:
            database["keys"].insert(
                {
                    "id": identity,
                    "role": str(role),
                    "partner": partner,
                    "label": label,
                    "digest": _digest(plain),
                    "created_at": micros(now),
                    "revoked_at": None,
                }
            )
        return ApiKey(identity, role, partner, label, now, None), plain

    def authenticate(self, plain: str) -> ApiKey | None:
        """The key, unless it is unknown or revoked."""
        parts = plain.split("_", 3)
        if len(parts) != 4 or not plain.isascii():
            return None
        with self._used() as database:
            rows = list(database.query("SELECT * FROM keys WHERE id = ? AND revoked_at IS NULL", [parts[2]]))
        if not rows or not hmac.compare_digest(rows[0]["digest"], _digest(plain)):
            return None
        return _key(rows[0])

    def in_force(self, identity: str) -> ApiKey | None:
        """The key of this id, unless it is unknown or revoked: for who has shown it before."""
        with self._used() as database:
            rows = list(database.query("SELECT * FROM keys WHERE id = ? AND revoked_at IS NULL", [identity]))
        return _key(rows[0]) if rows else None

    def list(self) -> list[ApiKey]:
        """All keys, the revoked ones too, oldest first."""
        with self._used() as database:
            return [_key(row) for row in database.query("SELECT * FROM keys ORDER BY created_at, id")]

    def revoke(self, identity: str, now: datetime) -> bool:
        """False if there is no such key in force."""
        with self._used() as database:
            sql = "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            return bool(database.execute(sql, [micros(now), identity]).rowcount)

    @contextmanager
    def _used(self) -> Iterator[Database]:
        try:
            with self._lock:
                yield self._database
        except sqlite3.Error as error:
            raise StorageUnusable(f"the key file cannot be used: {error}") from None


def _digest(plain: str) -> bytes:
    # A plain hash is right here: a key has 256 random bits, so there is nothing to guess that a slow hash
    # would protect, and every request pays for the hash.
    return hashlib.sha256(plain.encode()).digest()


def _key(row: dict[str, object]) -> ApiKey:
    created, revoked = row["created_at"], row["revoked_at"]
    return ApiKey(
        id=str(row["id"]),
        role=Role(str(row["role"])),
        partner=None if row["partner"] is None else str(row["partner"]),
        label=None if row["label"] is None else str(row["label"]),
        created_at=moment(int(str(created))),
        revoked_at=maybe_moment(None if revoked is None else int(str(revoked))),
    )
