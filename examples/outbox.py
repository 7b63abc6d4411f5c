"""A platform that loses no choice: the outbox of `rescind.emitter`, on nothing but the standard library.

RESCIND_KEY=rsk_platform_... python examples/outbox.py http://127.0.0.1:8321

In Django, `flip` is a view in `transaction.atomic`, `deliver` a Celery task that `transaction.on_commit` starts and
beat repeats every minute; with Kafka, the emitter is `Emitter("kafka://...", platform="/blogs")`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import uuid
from datetime import UTC, datetime

from rescind.emitter import HttpEmitter, NotEmitted

SCHEMA = """
CREATE TABLE IF NOT EXISTS choices (blog TEXT PRIMARY KEY, choice TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, blog TEXT NOT NULL, choice TEXT NOT NULL, at TEXT NOT NULL);
"""


def flip(database: sqlite3.Connection, blog: str, choice: str) -> None:
    """The user's click. Choice and outbox change together or not at all; nobody waits for the log."""
    with database:
        database.execute("INSERT OR REPLACE INTO choices VALUES (?, ?)", [blog, choice])
        row = [str(uuid.uuid4()), blog, choice, datetime.now(UTC).isoformat()]
        database.execute("INSERT INTO outbox VALUES (?, ?, ?, ?)", row)


def deliver(database: sqlite3.Connection, emitter: HttpEmitter) -> None:
    """The worker's task. A row that was emitted, but not deleted before a crash, goes out again under its id."""
    rows = database.execute("SELECT * FROM outbox ORDER BY rowid LIMIT 1000").fetchall()
    emitted = [
        (id_, emitter.emit(f"blog:{blog}", "ai-training", choice, occurred_at=datetime.fromisoformat(at), id=id_))
        for id_, blog, choice, at in rows
    ]
    for id_, future in emitted:
        try:
            future.result()
        except NotEmitted as error:
            print(f"{id_} stays in the outbox: {error}", flush=True)
        else:
            with database:
                database.execute("DELETE FROM outbox WHERE id = ?", [id_])
            print(f"{id_} is in the log", flush=True)


if __name__ == "__main__":
    platform = sqlite3.connect(":memory:")
    platform.executescript(SCHEMA)
    flip(platform, "staff.example.com", "opt_out")
    flip(platform, "staff.example.com", "opt_in")
    flip(platform, "photos.example.com", "opt_out")
    with HttpEmitter(sys.argv[1], os.environ["RESCIND_KEY"]) as to_rescind:
        deliver(platform, to_rescind)
