"""Questions to the ledger. None of them scans all notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.rows import listed
from ledger.times import maybe_moment, moment
from ledger.views import OPEN, Cancelled, Consent, Done, NoticeRow, NoticeStatus, Totals
from streams.events import Act, Partner
from streams.kinds import Action, Choice
from streams.records import TopicPartition
from streams.topics import NOTICES


@lru_cache(maxsize=1024)
def _partner(body: str) -> Partner:
    # Frozen, and asked for whole and often, while it seldom changes.
    return Partner.model_validate_json(body)


def partner(database: Database, identity: str) -> Partner | None:
    rows = list(database.query("SELECT body FROM partners WHERE id = ?", [identity]))
    return _partner(rows[0]["body"]) if rows else None


def partners(database: Database) -> list[Partner]:
    rows = database.query("SELECT body FROM partners ORDER BY id")
    return [_partner(row["body"]) for row in rows]


def offsets(database: Database) -> dict[TopicPartition, int]:
    rows = database.execute("SELECT topic, partition, next FROM offsets").fetchall()
    return {TopicPartition(topic, partition): following for topic, partition, following in rows}


def next_of_lanes(database: Database) -> dict[int, int]:
    """By lane, the offset of `rescind.notices` that is read next; none of a lane that nothing was read of."""
    sql = "SELECT partition, next FROM offsets WHERE topic = ?"
    return dict(database.execute(sql, [NOTICES.name]).fetchall())


def consents(database: Database, subject: str) -> list[Consent]:
    rows = database.query("SELECT * FROM consents WHERE subject = ? ORDER BY purpose", [subject])
    return [
        Consent(
            subject=row["subject"],
            purpose=row["purpose"],
            choice=Choice(row["choice"]),
            version=row["version"],
            occurred_at=moment(row["occurred_at"]),
            toggle_id=row["toggle_id"],
            decided_at=moment(row["decided_at"]),
        )
        for row in rows
    ]


def notices(database: Database, ids: Sequence[str]) -> dict[str, NoticeRow]:
    rows = database.query("SELECT * FROM notices WHERE id IN (SELECT value FROM json_each(?))", [listed(ids)])
    return {row["id"]: notice_row(row) for row in rows}


def notice_row(row: dict[str, Any]) -> NoticeRow:
    return NoticeRow(
        id=row["id"],
        partner=row["partner"],
        subject=row["subject"],
        purpose=row["purpose"],
        action=Action(row["action"]),
        status=NoticeStatus(row["status"]),
        outcome=row["outcome"],
        reason=row["reason"],
        occurred_at=moment(row["occurred_at"]),
        issued_at=moment(row["issued_at"]),
        receive_by=moment(row["receive_by"]),
        complete_by=moment(row["complete_by"]),
        delivered_at=maybe_moment(row["delivered_at"]),
        received_at=maybe_moment(row["received_at"]),
        completed_at=maybe_moment(row["completed_at"]),
        undeliverable_at=maybe_moment(row["undeliverable_at"]),
        parked=bool(row["parked"]),
        retry_at=maybe_moment(row["retry_at"] if row["parked"] else None),
        last_words=row["held_words"] if row["parked"] or row["status"] == NoticeStatus.UNDELIVERABLE else None,
        cancelled_at=maybe_moment(min(_ends(row).values(), default=None)),
        cancelled_because=_because(row),
        extended_complete_by=maybe_moment(row["extended_complete_by"]),
        extended_by=row["extended_by"],
        expected_by=maybe_moment(row["expected_by"]),
        suppression_completes=row["suppression_completes"] == 1,
        legal_receive_by=maybe_moment(row["legal_receive_by"]),
        legal_complete_by=maybe_moment(row["legal_complete_by"]),
        answered_first_at=maybe_moment(row["answered_first_at"]),
    )


def _ends(row: dict[str, Any]) -> dict[Cancelled, int]:
    """When a notice was cancelled, for each reason that there is."""
    ends = {
        Cancelled.REMOVED: row["cancelled_at"],
        Cancelled.REVERSED: reversed_at(row),
        Cancelled.DISCARDED: row["discarded_at"],
    }
    return {why: at for why, at in ends.items() if at is not None}


def _because(row: dict[str, Any]) -> Cancelled | None:
    """What an operator did, else the first reason."""
    ends = _ends(row)
    if row["status"] != NoticeStatus.CANCELLED:
        return None
    return Cancelled.DISCARDED if Cancelled.DISCARDED in ends else min(ends, key=ends.__getitem__)


def reversed_at(row: dict[str, Any]) -> int | None:
    """When a notice was left out of its lane, or closed while it was held up, since the user chose otherwise; None also
    if it was delivered all the same."""
    times = [at for at in (row["superseded_at"], row["reversed_at"]) if at is not None]
    return min(times, default=None) if row["delivered_at"] is None else None


def discarded_words(act: dict[str, Any]) -> str:
    """Who gave a notice up, and why; of a row of `discarded`."""
    return f"discarded by {act['asked_by']}: {act['reason'] or 'no reason given'}"


def actions(database: Database, partner: str | None, before: tuple[int, str] | None, most: int) -> list[Done]:
    sql, parameters = "SELECT * FROM actions WHERE TRUE", list[Any]()
    if partner is not None:
        sql += " AND partner = ?"
        parameters.append(partner)
    if before is not None:
        sql += " AND (at, id) < (?, ?)"
        parameters.extend(before)
    rows = database.query(f"{sql} ORDER BY at DESC, id DESC LIMIT ?", [*parameters, most])
    return [
        Done(
            id=row["id"],
            act=Act(row["act"]),
            at=moment(row["at"]),
            key=row["key"],
            role=row["role"],
            label=row["label"],
            partner=row["partner"],
            details=orjson.loads(row["details"]),
        )
        for row in rows
    ]


def traces(database: Database, ids: Sequence[str]) -> dict[str, str]:
    """Where these notices stand in traces, if that is known."""
    sql = "SELECT notice_id, trace FROM traces WHERE notice_id IN (SELECT value FROM json_each(?))"
    return dict(database.execute(sql, [listed(ids)]).fetchall())


def said_before(database: Database, answers: Iterable[tuple[str, str]]) -> set[str]:
    """Those of these acknowledgements, each a notice's id with its own, that partners gave already; but for what was
    folded."""
    sql = """SELECT known.id FROM json_each(?) AS said JOIN acknowledgements AS known
        ON known.notice_id = json_extract(said.value, '$[0]') AND known.id = json_extract(said.value, '$[1]')"""
    return {identity for (identity,) in database.execute(sql, [listed(answers)]).fetchall()}


def totals(database: Database) -> Totals:
    own = dict(database.execute("SELECT name, n FROM counts WHERE partner = ''").fetchall())
    sums: dict[str, int] = {}
    for row in database.query("SELECT name, SUM(n) AS n FROM counts WHERE partner <> '' GROUP BY name"):
        sums[row["name"]] = row["n"]
    return Totals(
        toggles=own.get("toggles", 0),
        consents=own.get("consents", 0),
        opted_out=own.get("opt_out", 0),
        requests=own.get("requests", 0),
        notices=sum(sums.get(status, 0) for status in NoticeStatus),
        open=sum(sums.get(status, 0) for status in OPEN),
        acknowledged=sums.get("completed", 0) + sums.get("refused", 0),
        undeliverable=sums.get("undeliverable", 0),
        parked=sums.get("parked", 0),
        poisoned=own.get("poisoned", 0),
        poisoned_open=own.get("poisoned_open", 0),
    )
