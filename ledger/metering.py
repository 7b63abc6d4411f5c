"""What is counted since ever, and what is due first: for metrics. Read through one connection.

None of it looks at all notices: a few rows a partner, and the first entry of an index.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlite_utils import Database

from ledger.rows import listed
from ledger.times import maybe_moment
from ledger.views import NoticeStatus
from streams.deadlines import Deadline
from streams.kinds import Action

_ISSUED = """SELECT partner, kind, SUM(n) FROM counts WHERE kind <> '' AND name IN (SELECT value FROM json_each(?))
    GROUP BY partner, kind"""
_ATTEMPTS = "SELECT partner, name, n FROM counts WHERE kind = '' AND name LIKE 'attempt@_%' ESCAPE '@'"
_LAGS = "SELECT partner, kind, clock, upper, n FROM lag_ever"
# From the partial indexes: the oldest of what is to be received is the one that is due first, near enough, since
# the time of issue stands in no index beside it.
_FIRST = """SELECT p.value, k.value,
    (SELECT issued_at FROM notices WHERE partner = p.value AND action = k.value AND to_receive
        ORDER BY receive_by LIMIT 1),
    (SELECT MIN(receive_by) FROM notices WHERE partner = p.value AND action = k.value AND to_receive),
    (SELECT MIN(issued_at) FROM notices WHERE partner = p.value AND action = k.value AND is_open),
    (SELECT MIN(due_by) FROM notices WHERE partner = p.value AND action = k.value AND is_open)
    FROM json_each(?) AS p CROSS JOIN json_each(?) AS k"""
#: What an attempt met, by the first digit of its status.
_OUTCOMES = {"0": "no_answer", "2": "2xx", "3": "3xx", "4": "4xx", "5": "5xx"}
#: All that there are; an answer that HTTP does not know is `other`.
OUTCOMES = (*_OUTCOMES.values(), "other")


class Clocked(NamedTuple):
    """A kind of notice and one of its clocks, of one partner."""

    partner: str
    kind: str
    clock: str


class First(NamedTuple):
    """Of what is open: since when the oldest is, and when the first is due. None if nothing is."""

    issued_at: datetime | None
    due_at: datetime | None


class Metered(NamedTuple):
    """`issued` counts notices by partner and kind, `attempts` deliveries by partner and outcome, and `lags` answered
    notices by where their bucket of `ledger.lag.EVER_ENDS` ends: none of it ever falls, taken from the lowest bucket
    up."""

    issued: dict[tuple[str, str], int]
    attempts: Counter[tuple[str, str]]
    lags: dict[Clocked, dict[int, int]]
    first: dict[Clocked, First]


def metered(database: Database, partners: Iterable[str]) -> Metered:
    """All that was counted, and what is due first of these partners."""
    issued = {(row[0], row[1]): row[2] for row in database.execute(_ISSUED, [listed(NoticeStatus)]).fetchall()}
    attempts: Counter[tuple[str, str]] = Counter()
    for partner, name, n in database.execute(_ATTEMPTS).fetchall():
        attempts[partner, _OUTCOMES.get(name.removeprefix("attempt_"), "other")] += n
    lags: dict[Clocked, dict[int, int]] = defaultdict(dict)
    for partner, kind, clock, upper, n in database.execute(_LAGS).fetchall():
        lags[Clocked(partner, kind, clock)][upper] = n
    return Metered(issued, attempts, lags, _first(database, partners))


def _first(database: Database, partners: Iterable[str]) -> dict[Clocked, First]:
    found = {}
    for partner, kind, *times in database.execute(_FIRST, [listed(partners), listed(Action)]).fetchall():
        queued_at, receive_by, opened_at, due_by = map(maybe_moment, times)
        found[Clocked(partner, kind, Deadline.RECEIVE)] = First(queued_at, receive_by)
        found[Clocked(partner, kind, Deadline.COMPLETE)] = First(opened_at, due_by)
    return found
