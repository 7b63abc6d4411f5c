"""Signed callbacks, as they were signed."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from ledger.folded import Folded
from ledger.folding import Folding
from ledger.rows import insert
from ledger.times import micros, moment
from ledger.veiling import Veil
from ledger.views import Entry, Statement
from streams.cloudevents import Envelope

INSERT_STATEMENTS = "INSERT OR IGNORE INTO statements VALUES {}"


def project(
    connection: sqlite3.Connection, veil: Veil, folding: Folding, items: Sequence[tuple[Entry, Envelope, Any]]
) -> None:
    """Callbacks, in order; one that is repeated counts as it came first."""
    rows = [
        (
            envelope.id,
            data.partner,
            veil.text(data.webhook_id),
            data.webhook_timestamp,
            data.webhook_signature,
            veil.blob(base64.b64decode(data.body_base64)),
            micros(data.received_at),
        )
        for _, envelope, data in items
    ]
    insert(connection, INSERT_STATEMENTS, folding.unknown(rows))


def statement(database: Database, folded: Folded, identity: str) -> Statement | None:
    kept = list(database.query("SELECT * FROM statements WHERE id = ?", [identity]))
    for row in kept or folded.statement(identity):
        body = base64.b64encode(row.pop("body")).decode()
        return Statement(body_base64=body, received_at=moment(row.pop("at")), **row)
    return None
