"""One partner from near: what it owes longest, how far its notices came, why it refused, what became of the latest
attempts. Read through one connection, and never by a look at all notices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlite_utils import Database

from ledger.history import Block
from ledger.rows import listed
from ledger.times import micros, moment
from ledger.views import NoticeStatus, PartnerLag, Totals
from streams.deadlines import Deadline
from streams.events import Partner
from streams.kinds import Action

#: How far back refusals are counted, how many of them at most, and how many attempts are shown.
REFUSALS_OF = timedelta(days=30)
_REFUSALS, _ATTEMPTS = 10_000, 12

# The oldest of a partner's kinds comes last, and stays.
_OLDEST = """SELECT p.value, n.issued_at, n.to_receive, n.receive_by, n.due_by
    FROM json_each(:partners) AS p CROSS JOIN json_each(:kinds) AS k
    JOIN notices AS n ON n.rowid = (
        SELECT rowid FROM notices WHERE partner = p.value AND action = k.value AND is_open
        ORDER BY issued_at, id LIMIT 1)
    ORDER BY n.issued_at DESC"""
_FUNNEL = "SELECT name, SUM(n) FROM counts WHERE partner = ? AND kind <> '' GROUP BY name"
_REASONS = """SELECT reason, COUNT(*) FROM (
        SELECT n.reason FROM json_each(:kinds) AS k CROSS JOIN notices AS n INDEXED BY notices_undone
        ON n.partner = :partner AND n.action = k.value AND n.issued_at >= :since
        WHERE n.status = 'refused' AND n.status IN ('refused', 'undeliverable', 'cancelled') LIMIT :most)
    GROUP BY reason ORDER BY COUNT(*) DESC, reason"""
_LATEST = """SELECT at, delivered, status_code, error, attempt, notices, duration_ms, webhook_id, acknowledged,
        not_understood
    FROM deliveries WHERE partner = ? ORDER BY at DESC, id LIMIT ?"""
_SAID = (NoticeStatus.RECEIVED, NoticeStatus.IN_PROGRESS, NoticeStatus.COMPLETED, NoticeStatus.REFUSED)


class Oldest(NamedTuple):
    """The oldest open notice, and which of its clocks runs now, until when."""

    issued_at: datetime
    deadline: Deadline
    due_at: datetime


class Funnel(NamedTuple):
    """How many notices were ever asked, of these taken by the endpoint, and of these answered at all; and what became
    of them in the end."""

    asked: int
    delivered: int
    received: int
    completed: int
    refused: int
    undeliverable: int
    cancelled: int
    #: Of what is to be erased, how many the partner says it only suppressed; open, or completed by contract.
    suppressed: int = 0
    #: Issued after a date by the person's request.
    issued_late: int = 0


class Attempt(NamedTuple):
    """A request to a partner's endpoint. `error` says what went wrong, in the endpoint's words where it had any. Of one
    that was delivered, `acknowledged` and `not_understood` count the notices of which the reply said something that we
    understand, or do not; of `unanswered` it said nothing."""

    at: datetime
    delivered: bool
    status_code: int | None
    error: str | None
    attempt: int
    notices: int
    duration_ms: float
    webhook_id: str
    acknowledged: int
    not_understood: int

    @property
    def unanswered(self) -> int:
        return max(0, self.notices - self.acknowledged - self.not_understood) if self.delivered else 0


@dataclass(frozen=True, slots=True)
class Board:
    """All partners, as of one moment: their lag, what each owes longest, and what was open hour by hour."""

    rows: list[PartnerLag]
    totals: Totals
    oldest: Mapping[str, Oldest]
    opened: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Closeup:
    """`lag` is None of a partner that is removed and owes nothing."""

    partner: Partner
    lag: PartnerLag | None
    oldest: Oldest | None
    funnel: Funnel
    refusals: list[tuple[str, int]]
    attempts: list[Attempt]
    blocks: list[Block]


def oldest(database: Database, partners: Iterable[str]) -> dict[str, Oldest]:
    """What each of them owes longest; who owes nothing is left out."""
    given = {"partners": listed(partners), "kinds": listed(Action)}
    return {
        partner: Oldest(
            moment(issued),
            Deadline.RECEIVE if to_receive else Deadline.COMPLETE,
            moment(min(receive_by, due_by) if to_receive else due_by),
        )
        for partner, issued, to_receive, receive_by, due_by in database.execute(_OLDEST, given).fetchall()
    }


def funnel(database: Database, partner: str) -> Funnel:
    counts: dict[str, int] = dict(database.execute(_FUNNEL, [partner]).fetchall())
    return Funnel(
        asked=sum(counts.get(status, 0) for status in NoticeStatus),
        delivered=counts.get("ever_delivered", 0),
        received=sum(counts.get(status, 0) for status in _SAID),
        completed=counts.get(NoticeStatus.COMPLETED, 0),
        refused=counts.get(NoticeStatus.REFUSED, 0),
        undeliverable=counts.get(NoticeStatus.UNDELIVERABLE, 0),
        cancelled=counts.get(NoticeStatus.CANCELLED, 0),
        suppressed=counts.get("suppressed", 0),
        issued_late=counts.get("issued_late", 0),
    )


def refusals(database: Database, partner: str, now: datetime) -> list[tuple[str, int]]:
    """By reason, the most frequent first: of what was issued in the last `REFUSALS_OF`, 10,000 at most."""
    since = micros(now - REFUSALS_OF)
    given = {"partner": partner, "kinds": listed(Action), "since": since, "most": _REFUSALS}
    return [(reason or "other", count) for reason, count in database.execute(_REASONS, given).fetchall()]


def attempts(database: Database, partner: str) -> list[Attempt]:
    """The latest first."""
    rows = database.query(_LATEST, [partner, _ATTEMPTS])
    return [Attempt(**row | {"at": moment(row["at"]), "delivered": bool(row["delivered"])}) for row in rows]
