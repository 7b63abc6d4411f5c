"""What came and went of partners and kinds of notices in windows of time, from the roll-ups. Read through one
connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlite_utils import Database

from ledger.lag import Window, percentiles
from ledger.partner_state import AnswerFigures
from ledger.rows import listed
from ledger.views import WindowLag
from streams.kinds import Action

ACTIONS = tuple(Action)
#: How often something changed of a partner's notices of each action. They only ever grow; 0 where there is none.
Changes = tuple[int, ...]

_CHANGES = "SELECT partner, kind, n FROM lag_changes WHERE partner IN (SELECT value FROM json_each(?))"
# A histogram each: half as long on its way as a row for each bucket. How they were answered stands above the bucket.
_ROLLED_UP = """WITH wanted (partner, kind) AS MATERIALIZED (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs))
SELECT wanted.partner, wanted.kind, c.value, (
        SELECT json_group_object(bucket + 256 * answer, n) FROM (
            SELECT bucket, answer, SUM(n) AS n FROM lag_rollups
            WHERE partner = wanted.partner AND kind = wanted.kind AND clock = c.value AND hours = :hours
                AND start >= :first
            GROUP BY bucket, answer))
    FROM wanted CROSS JOIN json_each('["issue", "receive", "complete"]') AS c"""


@dataclass(slots=True)
class _Flow:
    """`answers` counts final answers by how they were given: in time, late, refused in time, refused late."""

    arrived: int = 0
    receive: dict[int, int] = field(default_factory=dict)
    complete: dict[int, int] = field(default_factory=dict)
    answers: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def add(self, clock: str, histogram: Mapping[str, int]) -> None:
        if clock == "issue":
            self.arrived = sum(histogram.values())
        elif clock == "receive":
            self.receive.update({int(bucket): n for bucket, n in histogram.items()})
        else:
            for place, n in histogram.items():
                answer, bucket = divmod(int(place), 256)
                self.complete[bucket] = self.complete.get(bucket, 0) + n
                self.answers[answer] += n


@dataclass(frozen=True, slots=True)
class Within:
    """Of all of a partner's notices, and of those of each action."""

    every: WindowLag
    kinds: tuple[WindowLag, ...]
    #: Of the actions that were answered late, or refused.
    answers: tuple[AnswerFigures, ...]


@dataclass(frozen=True, slots=True)
class _Kind:
    flow: _Flow
    lag: WindowLag


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a partner in a window that began with a block, after so many changes."""

    changes: Changes
    first: int
    kinds: tuple[_Kind, ...]
    within: Within


@dataclass(frozen=True, slots=True)
class Flows:
    """What was added up of a file, so that only what changed since is added up again. Any thread may ask: what an
    older or newer view of the file put here does not fit its count of changes, and is not taken."""

    _known: dict[tuple[str, Window], _Known] = field(default_factory=dict)

    def within(
        self, database: Database, window: Window, now: datetime, partners: Mapping[str, Changes]
    ) -> dict[str, Within]:
        first, found, stale = window.first_block(now), dict[str, Within](), dict[str, list[_Kind | None]]()
        nothing = _kind(window, _Flow())
        for partner, changes in partners.items():
            known = self._known.get((partner, window))
            if known is not None and known.changes == changes and known.first == first:
                found[partner] = known.within
            else:
                stale[partner] = _holding(known, changes, first, nothing)
        read = _read(database, window, first, missing(stale))
        for partner, holding in stale.items():
            kinds = tuple(of or _kind(window, read[partner, kind]) for of, kind in zip(holding, ACTIONS, strict=True))
            found[partner] = Within(
                _window_lag(window, _joined([of.flow for of in kinds])),
                tuple(of.lag for of in kinds),
                _figures(kinds),
            )
            self._known[partner, window] = _Known(partners[partner], first, kinds, found[partner])
        return found


def _holding(known: _Known | None, changes: Changes, first: int, nothing: _Kind) -> list[_Kind | None]:
    """What need not be read, by action."""
    if known is None or known.first != first:
        return [None if n else nothing for n in changes]
    return [of if then == n else None for of, then, n in zip(known.kinds, known.changes, changes, strict=True)]


def _kind(window: Window, flow: _Flow) -> _Kind:
    return _Kind(flow, _window_lag(window, flow))


def missing(known: Mapping[str, Sequence[object | None]]) -> list[tuple[str, Action]]:
    """Partners and actions of which nothing is known; the values go by action."""
    return [
        (partner, kind)
        for partner, kinds in known.items()
        for kind, of in zip(Action, kinds, strict=True)
        if of is None
    ]


def changes_of(database: Database, partners: Iterable[str]) -> dict[str, Changes]:
    found: dict[str, dict[str, int]] = {partner: {} for partner in partners}
    for partner, kind, n in database.execute(_CHANGES, [listed(found)]).fetchall():
        found[partner][kind] = n
    return {partner: tuple([kinds.get(kind, 0) for kind in ACTIONS]) for partner, kinds in found.items()}


def _read(
    database: Database, window: Window, first: int, pairs: Sequence[tuple[str, Action]]
) -> dict[tuple[str, str], _Flow]:
    found: dict[tuple[str, str], _Flow] = {pair: _Flow() for pair in pairs}
    given = {"pairs": listed(pairs), "hours": window.block_hours, "first": first}
    for partner, kind, clock, histogram in database.execute(_ROLLED_UP, given).fetchall() if pairs else ():
        if histogram != "{}":
            found[partner, kind].add(clock, orjson.loads(histogram))
    return found


def _joined(flows: Sequence[_Flow]) -> _Flow:
    joined = _Flow(sum(flow.arrived for flow in flows))
    for flow in flows:
        _add(joined.receive, flow.receive)
        _add(joined.complete, flow.complete)
        joined.answers = [one + other for one, other in zip(joined.answers, flow.answers, strict=True)]
    return joined


def _add(into: dict[int, int], histogram: Mapping[int, int]) -> None:
    for bucket, n in histogram.items():
        into[bucket] = into.get(bucket, 0) + n


def _window_lag(window: Window, flow: _Flow) -> WindowLag:
    hours, answered = window.span / Window.HOUR.span, sum(flow.answers)
    in_time, late, refused, refused_late = flow.answers
    return WindowLag(
        window=window,
        arrived=flow.arrived,
        answered=answered,
        in_time=in_time + refused,
        late=late + refused_late,
        refused=refused + refused_late,
        late_or_refused=answered - in_time,
        in_time_share=_share(in_time + refused, answered),
        late_share=_share(late + refused_late, answered),
        refused_share=_share(refused + refused_late, answered),
        arrivals_per_hour=round(flow.arrived / hours, 3),
        answers_per_hour=round(answered / hours, 3),
        receive_lag=percentiles(flow.receive),
        complete_lag=percentiles(flow.complete),
    )


def _figures(kinds: Iterable[_Kind]) -> tuple[AnswerFigures, ...]:
    return tuple(
        [
            AnswerFigures(action, kind.lag.answered, kind.lag.late, kind.lag.refused, kind.lag.late_or_refused)
            for action, kind in zip(ACTIONS, kinds, strict=True)
            if kind.lag.late_or_refused
        ]
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
