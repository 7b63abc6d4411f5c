"""Questions to the ledger. None of them scans all notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.lag import Health, Percentiles, percentiles, state_of
from ledger.times import maybe_moment, micros, moment
from ledger.views import Consent, NoticeRow, NoticeStatus, PartnerLag, TimelineEntry, Totals
from streams.events import Action, Choice, Partner, PartnerStatus

_OPEN = ("queued", "delivered", "received", "in_progress")
_OPEN_SQL = repr(_OPEN)  # a tuple of plain words reads the same in SQL
_HOUR_MICROS = 3_600_000_000

_OLDEST_OPEN = f"""SELECT MIN(issued_at) AS oldest FROM notices
    WHERE partner = ? AND status IN {_OPEN_SQL}"""
_TO_RECEIVE = """notices
    WHERE partner = ? AND delivered_at IS NULL AND status IN ('queued', 'received', 'in_progress')"""
_OLDEST_QUEUED = f"SELECT issued_at AS oldest FROM {_TO_RECEIVE} ORDER BY receive_by LIMIT 1"
_OVERDUE_RECEIVE = f"SELECT COUNT(*) AS n, MIN(receive_by) AS oldest FROM {_TO_RECEIVE} AND receive_by < ?"
_OVERDUE_BOTH = f"SELECT COUNT(*) AS n FROM {_TO_RECEIVE} AND receive_by < ? AND complete_by < ?"
_OVERDUE_COMPLETE = f"""SELECT COUNT(*) AS n, MIN(complete_by) AS oldest FROM notices
    WHERE partner = ? AND status IN {_OPEN_SQL} AND complete_by < ?"""
_LAST_PROGRESS = "SELECT last_at FROM progress WHERE partner = ?"
_HISTOGRAM = """SELECT bucket, SUM(n) AS n FROM lag_rollups
    WHERE partner = ? AND clock = ? AND hour >= ? GROUP BY bucket"""


def partner(database: Database, identity: str) -> Partner | None:
    rows = list(database.query("SELECT body FROM partners WHERE id = ?", [identity]))
    return Partner.model_validate_json(rows[0]["body"]) if rows else None


def partners(database: Database) -> list[Partner]:
    rows = database.query("SELECT body FROM partners ORDER BY id")
    return [Partner.model_validate_json(row["body"]) for row in rows]


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
    rows = database.query(
        "SELECT * FROM notices WHERE id IN (SELECT value FROM json_each(?))",
        [orjson.dumps(list(ids)).decode()],
    )
    return {
        row["id"]: NoticeRow(
            id=row["id"],
            partner=row["partner"],
            subject=row["subject"],
            purpose=row["purpose"],
            action=Action(row["action"]),
            status=NoticeStatus(row["status"]),
            issued_at=moment(row["issued_at"]),
            delivered_at=maybe_moment(row["delivered_at"]),
            completed_at=maybe_moment(row["completed_at"]),
        )
        for row in rows
    }


def totals(database: Database) -> Totals:
    own = _counts(database, "")
    sums: dict[str, int] = {}
    for row in database.query("SELECT name, SUM(n) AS n FROM counts WHERE partner <> '' GROUP BY name"):
        sums[row["name"]] = row["n"]
    return Totals(
        toggles=own.get("toggles", 0),
        consents=own.get("consents", 0),
        opted_out=own.get("opt_out", 0),
        requests=own.get("requests", 0),
        notices=sum(sums.get(status, 0) for status in NoticeStatus),
        open=sum(sums.get(status, 0) for status in _OPEN),
        acknowledged=sums.get("completed", 0) + sums.get("refused", 0),
        poisoned=own.get("poisoned", 0),
    )


def lag(database: Database, now: datetime, window: timedelta) -> list[PartnerLag]:
    rows = [_partner_lag(database, registered, now, window) for registered in partners(database)]
    return [row for row in rows if row.status is not PartnerStatus.REMOVED or row.open]


def _partner_lag(database: Database, registered: Partner, now: datetime, window: timedelta) -> PartnerLag:
    identity = registered.id
    counts = _counts(database, identity)
    oldest = maybe_moment(_one(database, _OLDEST_OPEN, identity)["oldest"])
    receive = _one(database, _OVERDUE_RECEIVE, identity, micros(now))
    complete = _one(database, _OVERDUE_COMPLETE, identity, micros(now))
    both = _one(database, _OVERDUE_BOTH, identity, micros(now), micros(now))
    overdue = receive["n"] + complete["n"] - both["n"]
    health = _one(database, "SELECT * FROM delivery_health WHERE partner = ?", identity)
    last_success = maybe_moment(health.get("last_success_at"))
    failures = health.get("consecutive_failures") or 0
    open_now = sum(counts.get(status, 0) for status in _OPEN)
    state = state_of(
        Health(
            active=registered.status is PartnerStatus.ACTIVE,
            open=open_now,
            backlog=counts.get("queued", 0),
            overdue=overdue,
            oldest_queued_at=maybe_moment(_one(database, _OLDEST_QUEUED, identity).get("oldest")),
            consecutive_failures=failures,
            last_success_at=last_success,
            last_progress_at=_latest(
                last_success, maybe_moment(_one(database, _LAST_PROGRESS, identity).get("last_at"))
            ),
            oldest_due_at=_earliest(maybe_moment(receive["oldest"]), maybe_moment(complete["oldest"])),
        )
    )
    return PartnerLag(
        partner=identity,
        name=registered.name,
        status=registered.status,
        state=state,
        open=open_now,
        delivered=counts.get("ever_delivered", 0),
        acknowledged=counts.get("completed", 0) + counts.get("refused", 0),
        oldest_open_at=oldest,
        oldest_open_seconds=None if oldest is None else max(0.0, (now - oldest).total_seconds()),
        overdue=overdue,
        overdue_receive=receive["n"],
        overdue_complete=complete["n"],
        backlog=counts.get("queued", 0),
        receive_lag=_percentiles(database, identity, "receive", now - window),
        complete_lag=_percentiles(database, identity, "complete", now - window),
        last_success_at=last_success,
        last_failure_at=maybe_moment(health.get("last_failure_at")),
        last_error=health.get("last_error"),
        next_attempt_at=maybe_moment(health.get("next_attempt_at")),
        consecutive_failures=failures,
    )


def _one(database: Database, sql: str, *parameters: Any) -> dict[str, Any]:
    rows = list(database.query(sql, list(parameters)))
    return rows[0] if rows else {}


def _counts(database: Database, identity: str) -> dict[str, int]:
    rows = database.query("SELECT name, n FROM counts WHERE partner = ?", [identity])
    return {row["name"]: row["n"] for row in rows}


def _percentiles(database: Database, identity: str, clock: str, since: datetime) -> Percentiles:
    rows = database.query(_HISTOGRAM, [identity, clock, micros(since) // _HOUR_MICROS])
    return percentiles({row["bucket"]: row["n"] for row in rows})


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _earliest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def timeline(database: Database, subject: str) -> list[TimelineEntry]:
    entries = [
        *(_toggled(row) for row in database.query("SELECT * FROM toggles WHERE subject = ?", [subject])),
        *(_decided(row) for row in database.query("SELECT * FROM decisions WHERE subject = ?", [subject])),
    ]
    rows = list(database.query("SELECT * FROM notices WHERE subject = ?", [subject]))
    for row in rows:
        entries.extend(_noticed(row))
    entries.extend(_acknowledged(row) for row in _acknowledgements(database, [row["id"] for row in rows]))
    return sorted(entries, key=lambda entry: (entry.at, _RANK[entry.kind], entry.event_id))


_RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            "toggled",
            "consent_changed",
            "deletion_requested",
            "notice_issued",
            "delivered",
            "acknowledged",
            "undeliverable",
            "cancelled",
        )
    )
}
_ASKS = {"stop": "to stop using it", "erase": "to stop and delete", "resume": "that it may use it again"}


def _acknowledgements(database: Database, ids: Sequence[str]) -> Iterable[dict[str, Any]]:
    sql = "SELECT * FROM acknowledgements WHERE notice_id IN (SELECT value FROM json_each(?))"
    rows: Iterable[dict[str, Any]] = database.query(sql, [orjson.dumps(list(ids)).decode()])
    return rows


def _toggled(row: dict[str, Any]) -> TimelineEntry:
    return TimelineEntry(
        at=moment(row["accepted_at"]),
        kind="toggled",
        summary=f"The user chose {_words(row['choice'])} for {row['purpose']}.",
        partner=None,
        purpose=row["purpose"],
        event_id=row["id"],
        detail={"occurred_at": moment(row["occurred_at"]).isoformat(), "source": row["source"]},
    )


def _decided(row: dict[str, Any]) -> TimelineEntry:
    changed = row["kind"] == "consent_changed"
    summary = (
        f"Consent for {row['purpose']} is now {_words(row['choice'])}."
        if changed
        else f"Deletion was requested of every partner registered for {row['purpose']}."
    )
    return TimelineEntry(
        at=moment(row["accepted_at"]),
        kind=row["kind"],
        summary=summary,
        partner=None,
        purpose=row["purpose"],
        event_id=row["id"],
        detail={"toggle_id": row["toggle_id"]},
    )


def _noticed(row: dict[str, Any]) -> Iterable[TimelineEntry]:
    name = row["partner"]
    happened = (
        ("notice_issued", row["issued_at"], f"{name} is asked {_ASKS[row['action']]}."),
        ("delivered", row["delivered_at"], f"{name} took delivery."),
        ("undeliverable", row["undeliverable_at"], f"{name} refuses the notice for good."),
        ("cancelled", row["cancelled_at"], f"{name} was removed; the notice is cancelled."),
    )
    for kind, at, summary in happened:
        if at is not None:
            yield TimelineEntry(
                at=moment(at),
                kind=kind,
                summary=summary,
                partner=name,
                purpose=row["purpose"],
                event_id=row["id"],
                detail={"action": row["action"], "complete_by": moment(row["complete_by"]).isoformat()},
            )


def _acknowledged(row: dict[str, Any]) -> TimelineEntry:
    because = row["outcome"] or row["reason"]
    said = row["status"] + (f" ({because})" if because else "")
    note = {None: "", "applied": "", "repeated": " again"}.get(row["verdict"], f"; recorded as {row['verdict']}")
    return TimelineEntry(
        at=moment(row["at"]),
        kind="acknowledged",
        summary=f"{row['partner']} says {said}{note}.",
        partner=row["partner"],
        purpose=None,
        event_id=row["id"],
        detail={
            "notice_id": row["notice_id"],
            "via": row["via"],
            "verdict": row["verdict"],
            "detail": row["detail"],
            "occurred_at": moment(row["occurred_at"]).isoformat(),
        },
    )


def _words(choice: str) -> str:
    return choice.replace("_", "-")
