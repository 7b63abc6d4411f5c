"""Everything that happened to a subject, in words. Read through one connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from sqlite_utils import Database

from ledger.extending import WORDS, Extended
from ledger.folded import Folded
from ledger.queries import discarded_words, reversed_at
from ledger.rows import listed
from ledger.times import moment
from ledger.transitions import Verdict
from ledger.views import TimelineEntry
from streams.deadlines import Step, Told


def timeline(database: Database, folded: Folded, subject: str) -> list[TimelineEntry]:
    entries = [
        *(_toggled(row) for row in database.query("SELECT * FROM toggles WHERE subject = ?", [subject])),
        *(_decided(row) for row in database.query("SELECT * FROM decisions WHERE subject = ?", [subject])),
    ]
    notices = {row["id"]: row for row in database.query("SELECT * FROM notices WHERE subject = ?", [subject])}
    for row in notices.values():
        entries.extend(_noticed(row, _stands(row, notices.values())))
    again = _once(_of_notices(database, "SELECT * FROM places WHERE again IS NOT NULL AND notice_id IN", notices))
    entries.extend(_asked_again(row, notices[row["notice_id"]]) for row in again)
    refusals = _of_notices(database, "SELECT * FROM undeliverable WHERE notice_id IN", notices)
    entries.extend(_refused(row, notices[row["notice_id"]]) for row in refusals)
    parked = _of_notices(database, "SELECT * FROM parked WHERE notice_id IN", notices)
    entries.extend(_parked(row, notices[row["notice_id"]]) for row in parked)
    discarded = _of_notices(database, "SELECT * FROM discarded WHERE notice_id IN", notices)
    entries.extend(_discarded(row, notices[row["notice_id"]]) for row in discarded)
    past = folded.of(notices.values())
    answers = list(_of_notices(database, "SELECT * FROM acknowledgements WHERE notice_id IN", notices))
    answers += past.acknowledgements
    entries.extend(_acknowledged(row) for row in answers)
    said = {(row["notice_id"], row["id"]): row for row in answers}
    asked = ((row, said.get((row["notice_id"], row["id"]))) for row in _of_notices(database, _EXTENSIONS, notices))
    entries.extend(_extended(row, words, notices[row["notice_id"]]) for row, words in asked if words is not None)
    for mark in [*_of_notices(database, _MARKS, notices), *_told_of(database, past.marks)]:
        notice = notices[mark["notice_id"]]
        entries.append(_marked(mark, notice))
        entries.extend(_told(row, notice) for row in database.query(_ESCALATIONS, mark) if _open_at(row["at"], notice))
    return sorted(entries, key=lambda entry: (entry.at, _RANK[entry.kind], entry.event_id))


_RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            "toggled",
            "consent_changed",
            "deletion_requested",
            "withdrawal_requested",
            "notice_issued",
            "issued_late",
            "asked_again",
            "retried",
            "reminded",
            "delivered",
            "acknowledged",
            "extended",
            "extension_refused",
            "at_risk",
            "breached",
            "escalated",
            "parked",
            "undeliverable",
            "discarded",
            "cancelled",
        )
    )
}
_ASKS = {"stop": "to stop using it", "erase": "to stop and delete", "resume": "that it may use it again"}


# With the event that told of it first, and what operators were told first from there on.
_MARKS = """SELECT mark.notice_id, mark.deadline, mark.step, mark.at, event.partner, event.clock, event.offset
    FROM deadline_marks AS mark JOIN deadline_events AS event ON event.id = mark.event_id
    WHERE mark.step IN ('at_risk', 'breached') AND mark.notice_id IN"""
_ESCALATIONS = """SELECT id, MIN(window), at, target, outcome FROM escalations
    WHERE partner = :partner AND clock = :clock AND step = :step AND up_to >= :offset AND outcome IS NOT 'failed'
    GROUP BY rule"""
_EVENTS = "SELECT id, partner, clock, offset FROM deadline_events WHERE id IN (SELECT value FROM json_each(?))"
_EXTENSIONS = "SELECT * FROM extensions WHERE verdict IS NOT NULL AND notice_id IN"


def _of_notices(database: Database, sql: str, ids: Iterable[str]) -> Iterable[dict[str, Any]]:
    rows: Iterable[dict[str, Any]] = database.query(f"{sql} (SELECT value FROM json_each(?))", [listed(ids)])
    return rows


def _told_of(database: Database, marks: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The same as `_MARKS`, of marks that were folded."""
    wanted = [mark for mark in marks if mark["step"] in (Step.AT_RISK, Step.BREACHED)]
    rows = database.query(_EVENTS, [listed({mark["event_id"] for mark in wanted})])
    events = {row.pop("id"): row for row in rows}
    return [mark | events[mark["event_id"]] for mark in wanted if mark["event_id"] in events]


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
    if row["kind"] == "consent_changed":
        summary = f"Consent for {row['purpose']} is now {_words(row['choice'])}."
    elif row["partner"] is None:
        summary = f"Deletion was requested of every partner registered for {row['purpose']}."
    else:
        given = _named(row["datasets"])
        summary = f"{row['partner']} was given {given} though the user had chosen otherwise; its deletion is requested."
    return TimelineEntry(
        at=moment(row["accepted_at"]),
        kind=row["kind"],
        summary=summary,
        partner=row["partner"],
        purpose=row["purpose"],
        event_id=row["id"],
        detail={"toggle_id": row["toggle_id"]},
    )


def _named(datasets: str) -> str:
    return ", ".join(f"{each['dataset']} {each['version']}" for each in orjson.loads(datasets))


def _more(notice: dict[str, Any]) -> str:
    """How many datasets a notice does not name."""
    left = notice["datasets_count"] - len(orjson.loads(notice["datasets"]))
    return f" and {left} more" if left else ""


def _stands(resume: dict[str, Any], notices: Iterable[dict[str, Any]]) -> bool:
    """Does a partner that may use it again have been asked to delete, and took it? Nothing takes that back."""
    return resume["action"] == "resume" and any(
        row["action"] == "erase"
        and (row["partner"], row["purpose"]) == (resume["partner"], resume["purpose"])
        and row["delivered_at"] is not None
        and row["issued_at"] <= resume["issued_at"]
        for row in notices
    )


def _noticed(row: dict[str, Any], stands: bool) -> Iterable[TimelineEntry]:
    name = row["partner"]
    but = "; what it was asked to delete before, and took, stands" if stands else ""
    what = "" if row["datasets"] is None else f", also what is in {_named(row['datasets'])}{_more(row)}"
    late = row["legal_receive_by"] is not None or row["legal_complete_by"] is not None
    happened = (
        ("notice_issued", row["issued_at"], f"{name} is asked {_ASKS[row['action']]}{what}{but}."),
        ("issued_late", row["issued_at"] if late else None, f"{_missed(row)} {name} has its time from then on."),
        ("delivered", row["delivered_at"], f"{name} took delivery."),
        (
            "cancelled",
            reversed_at(row),
            f"The user chose otherwise before {name} took delivery; the notice is cancelled.",
        ),
        ("cancelled", row["cancelled_at"], f"{name} was removed; the notice is cancelled."),
    )
    for kind, at, summary in happened:
        if at is not None:
            yield _of_notice(kind, at, summary, row)


def _missed(row: dict[str, Any]) -> str:
    """What the platform was late with, where it was."""
    dates = (("take it", row["legal_receive_by"]), ("complete it", row["legal_complete_by"]))
    missed = " and ".join(f"to {what} ({_day(at)})" for what, at in dates if at is not None)
    return f"By the person's request the time {missed} had passed when the notice was issued: the platform was late."


def _once(places: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Without what only repeats an event, as two ledgers or a crash may."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for place in sorted(places, key=lambda place: (place["at"], place["lane"], place["offset"])):
        first.setdefault((place["notice_id"], place["pack"]), place)
    return first.values()


def _asked_again(place: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    if place["again"] == "reminder":
        summary = f"{notice['partner']} is reminded {_ASKS[notice['action']]}."
        return _of_notice("reminded", place["at"], summary, notice)
    if place["again"] == "retry":
        return _of_notice("retried", place["at"], f"The notice is tried again at {notice['partner']}.", notice)
    summary = f"{notice['partner']} is asked again {_ASKS[notice['action']]}: {place['again']} by {place['asked_by']}."
    return _of_notice("asked_again", place["at"], summary, notice)


def _refused(refusal: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    summary = f"{notice['partner']} refuses the notice for good: {refusal['detail']}"
    return _of_notice("undeliverable", refusal["at"], summary, notice)


def _parked(parking: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    summary = (
        f"{notice['partner']} does not take the notice, though it takes others; it is tried again from"
        f" {_day(parking['retry_at'])} on: {parking['detail']}"
    )
    return _of_notice("parked", parking["at"], summary, notice)


def _discarded(act: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    return _of_notice("discarded", act["at"], f"The notice is {discarded_words(act)}", notice)


def _marked(mark: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    if mark["step"] == Step.AT_RISK:
        summary = f"{notice['partner']} must {mark['clock']} it soon."
    else:
        summary = f"{notice['partner']} did not {mark['clock']} it in time."
    return _of_notice(mark["step"], mark["at"], summary, notice)


def _told(escalation: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    became = "told" if escalation["outcome"] == Told.SENT else "maybe told"
    summary = f"Operators were {became} of {notice['partner']}, by {escalation['target']}."
    return _of_notice("escalated", escalation["at"], summary, notice)


def _open_at(at: int, notice: dict[str, Any]) -> bool:
    return notice["completed_at"] is None or at < notice["completed_at"]


def _extended(request: dict[str, Any], said: dict[str, Any], notice: dict[str, Any]) -> TimelineEntry:
    granted = request["verdict"] == Extended.GRANTED
    what = f"until {_day(notice['extended_complete_by'])}" if granted else f"in vain: {WORDS[request['verdict']]}"
    summary = f"{notice['partner']} asks for more time, {what}. It says: {said['detail'] or 'nothing'}"
    return _of_notice("extended" if granted else "extension_refused", said["at"], summary, notice)


def _of_notice(kind: str, at: int, summary: str, notice: dict[str, Any]) -> TimelineEntry:
    return TimelineEntry(
        at=moment(at),
        kind=kind,
        summary=summary,
        partner=notice["partner"],
        purpose=notice["purpose"],
        event_id=notice["id"],
        detail={"action": notice["action"], "complete_by": moment(notice["due_by"]).isoformat()},
    )


def _acknowledged(row: dict[str, Any]) -> TimelineEntry:
    return TimelineEntry(
        at=moment(row["at"]),
        kind="acknowledged",
        summary=_answer(row),
        partner=row["partner"],
        purpose=None,
        event_id=row["id"],
        detail={
            "notice_id": row["notice_id"],
            "via": row["via"],
            "statement": row["statement"],
            "vocabulary": row["vocabulary"],
            "code": row["code"],
            "verdict": row["verdict"],
            "detail": row["detail"],
            "expected_by": None if row["expected_by"] is None else moment(row["expected_by"]).isoformat(),
            "evidence": None if row["evidence"] is None else orjson.loads(row["evidence"]),
            "occurred_at": moment(row["occurred_at"]).isoformat(),
        },
    )


#: Verdicts that the words tell already.
_TOLD_ABOVE = (None, "applied", "repeated", "amended", "suppressed", "reopened")


def _day(at: int) -> str:
    return f"{moment(at):%Y-%m-%d %H:%M}Z"


def _answer(row: dict[str, Any]) -> str:
    if row["verdict"] == Verdict.NOT_UNDERSTOOD:
        word = "" if row["code"] is None else f': "{row["code"]}"'
        return f"{row['partner']} says {row['status']} with an outcome that we do not know{word}; it completes nothing."
    because = row["outcome"] or row["reason"]
    words = f"{row['partner']} says {row['status']}" + (f" ({because})" if because else "")
    if row["verdict"] == "repeated":
        words += " again"
    if row["verdict"] in ("amended", "reopened"):
        words += f", in the place of its earlier answer: {row['detail']}"
    if row["verdict"] in ("suppressed", "reopened"):
        words += "; the data is still there, so the notice stays open"
    if row["expected_by"] is not None:
        words += f", to be done by {moment(row['expected_by']):%Y-%m-%d %H:%M} UTC"
        if row["verdict"] == "applied" and row["detail"]:
            words += f": {row['detail']}"
    if row["verdict"] not in _TOLD_ABOVE:
        words += f"; recorded as {row['verdict']}"
    return f"{words}."


def _words(choice: str) -> str:
    return choice.replace("_", "-")
