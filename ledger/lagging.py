"""Lag of partners and kinds of notices, from counters, roll-ups and the indexes of open notices. Read through one
connection.

A few statements answer for all partners at once: however many notices there are, they look at one row a counter, at
one a bucket of the hours or days asked for, and at the index entries of what is overdue; and of all this only where
something changed since it was last asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from ledger.flows import ACTIONS, Flows, Within, changes_of
from ledger.lag import Window
from ledger.partner_state import Assessment, Health, state_of
from ledger.replies import replies_of
from ledger.rows import listed
from ledger.standing import Owing, Standing, Standings
from ledger.times import maybe_moment
from ledger.views import KindLag, PartnerLag, Replies, WindowLag
from streams.events import Partner, PartnerStatus
from streams.kinds import Action

#: The windows by whose rates a state is judged.
_JUDGED_BY = (Window.HOUR, Window.DAY)

_HEALTH = """SELECT p.value AS id, last_success_at, last_failure_at, last_error, next_attempt_at, consecutive_failures,
        replies.*
    FROM json_each(?) AS p LEFT JOIN delivery_health AS health ON health.partner = p.value
    LEFT JOIN replies ON replies.partner = p.value"""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was worked out of one file. An answer is the same with and without."""

    flows: Flows = field(default_factory=Flows)
    standings: Standings = field(default_factory=Standings)


def lag(
    database: Database,
    registered: Iterable[Partner],
    now: datetime,
    main: Window,
    windows: Sequence[Window],
    remembered: Remembered,
) -> list[PartnerLag]:
    """One row for each partner that is registered, or still owes something; its own percentiles are over the `main`
    window, and it and its kinds tell of all of `windows`."""
    partners = {partner.id: partner for partner in registered}
    changes = changes_of(database, partners)
    owing = remembered.standings.of(database, now, changes)
    health = {row["id"]: row for row in database.query(_HEALTH, [listed(partners)])}
    flows = {
        window: remembered.flows.within(database, window, now, changes)
        for window in dict.fromkeys((main, *_JUDGED_BY, *windows))
    }
    rows = [
        _partner_lag(
            partner,
            owing[identity],
            {window: flow[identity] for window, flow in flows.items()},
            health[identity],
            now,
            main,
            windows,
        )
        for identity, partner in partners.items()
    ]
    return [row for row in rows if row.status is not PartnerStatus.REMOVED or row.open]


def _partner_lag(
    registered: Partner,
    owing: Owing,
    flows: Mapping[Window, Within],
    health: Mapping[str, Any],
    now: datetime,
    main: Window,
    windows: Sequence[Window],
) -> PartnerLag:
    every, last_success, replies = owing.every, maybe_moment(health["last_success_at"]), replies_of(health)
    state, reason = _assessed(registered, every, flows, health, replies, now)
    return PartnerLag(
        partner=registered.id,
        name=registered.name,
        status=registered.status,
        state=state,
        reason=reason,
        open=every.open,
        delivered=every.delivered,
        acknowledged=every.acknowledged,
        oldest_open_at=every.oldest_open,
        oldest_open_seconds=_age(every.oldest_open, now),
        overdue=every.overdue,
        overdue_receive=every.overdue_receive,
        overdue_complete=every.overdue_complete,
        at_risk=every.at_risk,
        at_risk_receive=every.at_risk_receive,
        at_risk_complete=every.at_risk_complete,
        backlog=every.backlog,
        undeliverable=every.undeliverable,
        parked=every.parked,
        contradictions=every.contradictions,
        replies=replies,
        receive_lag=flows[main].every.receive_lag,
        complete_lag=flows[main].every.complete_lag,
        last_success_at=last_success,
        last_failure_at=maybe_moment(health["last_failure_at"]),
        last_error=health["last_error"],
        next_attempt_at=maybe_moment(health["next_attempt_at"]),
        consecutive_failures=health["consecutive_failures"] or 0,
        windows=tuple([flows[window].every for window in windows]),
        kinds=tuple(
            [
                _kind_lag(kind, standing, tuple([flows[window].kinds[number] for window in windows]), now)
                for number, (kind, standing) in enumerate(zip(ACTIONS, owing.kinds, strict=True))
            ]
        ),
    )


def _assessed(
    registered: Partner,
    every: Standing,
    flows: Mapping[Window, Within],
    health: Mapping[str, Any],
    replies: Replies,
    now: datetime,
) -> Assessment:
    hour, day = (flows[window] for window in _JUDGED_BY)
    return state_of(
        Health(
            status=registered.status,
            open=every.open,
            waiting=every.waiting,
            undeliverable=every.undeliverable,
            parked=every.parked,
            oldest_open_at=every.oldest_open,
            oldest_queued_at=every.oldest_queued,
            consecutive_failures=health["consecutive_failures"] or 0,
            last_success_at=maybe_moment(health["last_success_at"]),
            replies_not_understood=replies.not_understood,
            unclear_reply=None if replies.unclear is None else replies.unclear.reason,
            clocks=every.clocks,
            answers=day.answers,
            arrived=(hour.every.arrived, day.every.arrived),
            answered=(hour.every.answered, day.every.answered),
        ),
        now,
    )


def _kind_lag(kind: Action, standing: Standing, windows: tuple[WindowLag, ...], now: datetime) -> KindLag:
    return KindLag(
        kind=kind,
        open=standing.open,
        oldest_open_at=standing.oldest_open,
        oldest_open_seconds=_age(standing.oldest_open, now),
        overdue=standing.overdue,
        overdue_receive=standing.overdue_receive,
        overdue_complete=standing.overdue_complete,
        at_risk=standing.at_risk,
        at_risk_receive=standing.at_risk_receive,
        at_risk_complete=standing.at_risk_complete,
        backlog=standing.backlog,
        undeliverable=standing.undeliverable,
        parked=standing.parked,
        overdue_taken_at=standing.overdue_taken_at,
        overdue_answered_at=standing.overdue_answered_at,
        windows=windows,
    )


def _age(oldest: datetime | None, now: datetime) -> float | None:
    return None if oldest is None else max(0.0, (now - oldest).total_seconds())
