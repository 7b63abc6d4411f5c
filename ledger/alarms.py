"""What is to be told of deadlines: to the log, to partners, to operators. Read through one connection.

None of it scans all notices: what is due stands at the beginning of an index, and of each partner there are counts.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlite_utils import Database

from ledger.again import Askable, notice_of
from ledger.queries import next_of_lanes
from ledger.reversal import REVERSED
from ledger.rows import listed
from ledger.times import micros, moment
from ledger.watching import COLUMNS, Reached, reached, watched
from streams import ids
from streams.deadlines import Deadline, Step
from streams.escalations import Rule
from streams.kinds import Action

_DUE = f"""SELECT wake_at, rowid, id, partner, delivered_at IS NOT NULL, {COLUMNS} FROM notices INDEXED BY notices_wake
    WHERE is_open AND wake_at <= ? AND (wake_at, rowid) > (?, ?) ORDER BY wake_at, rowid LIMIT ?"""
_TO_REMIND = f"""SELECT n.* FROM notices AS n JOIN deadline_marks AS mark ON mark.notice_id = n.id
    AND mark.deadline = ? AND mark.step = ? AND mark.event_id = ?
    WHERE n.id IN (SELECT value FROM json_each(?)) AND n.delivered_at IS NOT NULL AND n.is_open AND NOT {REVERSED}
    ORDER BY n.lane, n.offset, n.rowid"""
_TOLD = """SELECT COALESCE(MAX(up_to) FILTER (WHERE outcome IS NOT 'failed'), -1), COALESCE(MAX(window), -1)
    FROM escalations WHERE partner = ? AND clock = ? AND rule = ?"""
_NEWS = """SELECT MAX(offset), SUM(notices) FROM deadline_events
    WHERE partner = ? AND clock = ? AND step = ? AND offset > ? AND at <= ?"""
_WHICH = {
    Deadline.RECEIVE: ("receive_by", "to_receive"),
    Deadline.COMPLETE: ("due_by", "is_open"),
}


_COUNTS = "SELECT partner, name, n FROM counts WHERE partner <> '' AND name IN (SELECT value FROM json_each(?))"
_ESCALATIONS = "SELECT name, n FROM counts WHERE partner = '' AND name LIKE 'escalation@_%' ESCAPE '@'"
_NAMES = {f"{clock}_{step}": (clock, step) for clock in _WHICH for step in Step}


class Page(NamedTuple):
    """Notices by partner and by what they have come to. `next` is where the next page begins, None if there is none."""

    reached: dict[tuple[str, Reached], list[str]]
    next: tuple[int, int] | None


class Alarm(NamedTuple):
    """Something to tell operators, under an id that it has for whoever finds it. `news` is how many notices came to
    the step since somebody was told last; `late` are past the deadline now, and `due_at` is the oldest of these; where
    it is only near, the next one."""

    id: str
    partner: str
    deadline: Deadline
    rule: Rule
    window: int
    up_to: int
    news: int
    late: int
    due_at: datetime


def due(database: Database, now: datetime, after: tuple[int, int] | None, most: int) -> Page:
    """At most so many notices that have come to a step that nobody has told of."""
    rows = database.execute(_DUE, [micros(now), *(after or (-1, -1)), most]).fetchall()
    found: dict[tuple[str, Reached], list[str]] = {}
    for _, _, identity, partner, delivered, *row in rows:
        for each in reached(watched(row), micros(now), delivered=bool(delivered)):
            found.setdefault((partner, each), []).append(identity)
    return Page(found, (rows[-1][0], rows[-1][1]) if len(rows) == most else None)


def to_remind(database: Database, notices: Collection[str], step: Reached, event_id: str) -> Askable:
    """Those of which this event told first, which the partner took, did not complete, and is to obey still. Within one
    transaction."""
    checked = next_of_lanes(database)
    rows = database.query(_TO_REMIND, [*step, event_id, listed(notices)])
    return Askable([notice_of(row) for row in rows], checked)


def alarms(database: Database, rule: Rule, now: datetime, interval: int) -> list[Alarm]:
    """What a rule asks to be told now. Each partner and clock once an interval at most, and only if there is news."""
    partners = database.execute("SELECT id FROM partners WHERE removed_at IS NULL ORDER BY id").fetchall()
    found = (_alarm(database, partner, which, rule, now, interval) for (partner,) in partners for which in _WHICH)
    return [alarm for alarm in found if alarm is not None]


def claim_of(database: Database, escalation: str) -> str | None:
    """Who has claimed it first."""
    row = database.execute("SELECT claim FROM escalations WHERE id = ?", [escalation]).fetchone()
    return None if row is None else str(row[0])


def steps_told(database: Database) -> dict[tuple[str, Deadline, Step], int]:
    """How many notices of each partner came to each step, since ever."""
    rows = database.execute(_COUNTS, [listed(_NAMES)]).fetchall()
    return {(partner, *_NAMES[name]): count for partner, name, count in rows}


def escalated(database: Database) -> dict[str, int]:
    """How many messages to operators were claimed, and how many of these sent, failed, or unsure."""
    rows = database.execute(_ESCALATIONS).fetchall()
    return {name.removeprefix("escalation_"): count for name, count in rows}


def _alarm(database: Database, partner: str, which: Deadline, rule: Rule, now: datetime, interval: int) -> Alarm | None:
    window = int(now.timestamp()) // interval
    told_to, told_in = database.execute(_TOLD, [partner, which, rule.id]).fetchone()
    if told_in >= window:
        return None
    since = micros(now) - rule.after * 1_000_000
    up_to, news = database.execute(_NEWS, [partner, which, rule.step, told_to, since]).fetchone()
    if up_to is None:
        return None
    late, due_at = _standing(database, partner, which, rule.step, since)
    if due_at is None:
        return None
    identity = ids.derive("escalation", rule.id, partner, which, str(window))
    return Alarm(identity, partner, which, rule, window, up_to, news, late, moment(due_at))


def _standing(database: Database, partner: str, which: Deadline, step: Step, at: int) -> tuple[int, Any]:
    # Each action by itself: that is how the partial indexes have them in order.
    column, still = _WHICH[which]
    past = "<=" if step is Step.BREACHED else ">"
    of_action = f"FROM notices WHERE partner = :partner AND action = k.value AND {still} AND {column} {past} :at"
    count = f"(SELECT COUNT(*) {of_action})" if step is Step.BREACHED else "0"
    sql = f"""SELECT SUM(late), MIN(first) FROM (
        SELECT {count} AS late, (SELECT MIN({column}) {of_action}) AS first FROM json_each(:actions) AS k)"""
    given = {"partner": partner, "at": at, "actions": listed(Action)}
    row: tuple[int, Any] = database.execute(sql, given).fetchone()
    return row
