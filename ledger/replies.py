"""What partners' replies said of the notices that were sent, added up: how many notices they acknowledged, how many
replies were not understood, and the last of these. Runs inside the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from ledger.times import maybe_micros, maybe_moment, micros, moment
from ledger.veiling import Veil
from ledger.views import Replies, ReplyNotices, UnclearReply
from streams.events import BatchDelivered, OperatorActed

# MAX of anything and NULL is NULL.
_COUNT = """INSERT INTO replies (partner, acknowledged, not_understood, unanswered, problems, understood_at)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (partner) DO UPDATE SET
    acknowledged = acknowledged + excluded.acknowledged, not_understood = not_understood + excluded.not_understood,
    unanswered = unanswered + excluded.unanswered, problems = problems + excluded.problems,
    understood_at = MAX(
        COALESCE(understood_at, excluded.understood_at), COALESCE(excluded.understood_at, understood_at))"""
# Lanes of a partner have clocks of their own: the last one is the one that was read last only by chance.
_KEEP_LAST = """UPDATE replies SET problem_at = ?2, problem_webhook_id = ?3, problem_reason = ?4, problem_excerpt = ?5
    WHERE partner = ?1 AND (problem_at IS NULL OR (problem_at, problem_webhook_id) < (?2, ?3))"""
_SEEN = """INSERT INTO replies (partner, acknowledged, not_understood, unanswered, problems, seen_at, seen_until)
    VALUES (?, 0, 0, 0, 0, ?, ?) ON CONFLICT (partner) DO UPDATE SET
    seen_at = MAX(COALESCE(seen_at, excluded.seen_at), excluded.seen_at),
    seen_until = MAX(COALESCE(seen_until, excluded.seen_until), COALESCE(excluded.seen_until, seen_until))"""


class ReplyCounts:
    """The replies of a ledger, through one connection."""

    def __init__(self, connection: sqlite3.Connection, veil: Veil) -> None:
        self._execute = connection.execute
        self._veil = veil

    def delivered(self, data: BatchDelivered, at: int) -> None:
        """Count a delivery that was not counted before."""
        problem = data.reply_problem
        understood = problem is None and data.acknowledged > 0
        unanswered = max(0, data.notices - data.acknowledged - data.not_understood)
        counts = (data.acknowledged, data.not_understood, unanswered, problem is not None)
        self._execute(_COUNT, (data.partner, *counts, at if understood else None))
        if problem is not None:
            words = (self._veil.text(problem.reason), self._veil.text(problem.excerpt))
            self._execute(_KEEP_LAST, (data.partner, at, data.webhook_id, *words))

    def seen(self, acts: Iterable[OperatorActed]) -> None:
        """An operator marked what was not understood as seen. What that covers is told by the clock of the replies."""
        for act in acts:
            if act.partner is not None:
                self._execute(_SEEN, (act.partner, micros(act.acted_at), maybe_micros(act.seen_until)))


def replies_of(row: Mapping[str, Any]) -> Replies:
    """What a row of `replies` says; all of it is NULL of a partner that took nothing yet."""
    return Replies(
        not_understood=row["problems"] or 0,
        notices=ReplyNotices(row["acknowledged"] or 0, row["not_understood"] or 0, row["unanswered"] or 0),
        last_not_understood=_last(row),
        understood_at=maybe_moment(row["understood_at"]),
        seen_at=maybe_moment(row["seen_at"]),
    )


def _last(row: Mapping[str, Any]) -> UnclearReply | None:
    at = row["problem_at"]
    if at is None:
        return None
    understood, seen = row["understood_at"], row["seen_until"]
    return UnclearReply(
        at=moment(at),
        reason=row["problem_reason"],
        excerpt=row["problem_excerpt"],
        webhook_id=row["problem_webhook_id"],
        open=(understood is None or understood <= at) and (seen is None or seen < at),
    )
