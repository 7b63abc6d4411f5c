"""Final answers that partners gave after other final ones. Read through one connection."""

from __future__ import annotations

from typing import Any

import orjson
from sqlite_utils import Database

from ledger.times import maybe_moment, moment
from ledger.views import Contradiction, NoticeStatus
from streams.events import AckStatus
from streams.kinds import Action

_CONTRADICTIONS = """SELECT said.*, n.purpose, n.action, n.status AS stands, n.outcome AS stands_outcome,
        n.reason AS stands_reason, n.completed_at AS stands_since
    FROM acknowledgements AS said JOIN notices AS n ON n.id = said.notice_id
    WHERE said.verdict = 'contradiction'"""

#: Where a page ended; the next begins behind it.
Place = tuple[int, str]


def contradictions(database: Database, partner: str | None, before: Place | None, most: int) -> list[Contradiction]:
    """Of a partner, or of all; the newest first, at most so many."""
    sql, parameters = _CONTRADICTIONS, list[Any]()
    if partner is not None:
        sql += " AND said.partner = ?"
        parameters.append(partner)
    if before is not None:
        sql += " AND (said.at, said.id) < (?, ?)"
        parameters.extend(before)
    rows = database.query(f"{sql} ORDER BY said.at DESC, said.id DESC LIMIT ?", [*parameters, most])
    return [_contradiction(row) for row in rows]


def _contradiction(row: dict[str, Any]) -> Contradiction:
    return Contradiction(
        id=row["id"],
        notice_id=row["notice_id"],
        partner=row["partner"],
        subject=row["subject"],
        purpose=row["purpose"],
        action=Action(row["action"]),
        stands=NoticeStatus(row["stands"]),
        stands_outcome=row["stands_outcome"],
        stands_reason=row["stands_reason"],
        stands_since=maybe_moment(row["stands_since"]),
        status=AckStatus(row["status"]),
        outcome=row["outcome"],
        reason=row["reason"],
        detail=row["detail"],
        evidence=None if row["evidence"] is None else orjson.loads(row["evidence"]),
        via=row["via"],
        at=moment(row["at"]),
    )
