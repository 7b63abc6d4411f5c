"""Metrics for Prometheus, read from the ledger when they are asked for: the same from every gateway, whatever process
was started when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import product

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.families import counter, gauge, histogram
from ledger import Clocked, LagState, LedgerReader, Metered, PartnerLag, Totals, Window, WindowLag
from ledger.lag import EVER_ENDS
from ledger.metering import OUTCOMES
from streams.clock import Clock
from streams.deadlines import Deadline, Step, Told
from streams.failures import THRESHOLD
from streams.kinds import Action

_KINDS, _CLOCKS = tuple(Action), (Deadline.RECEIVE, Deadline.COMPLETE)
_LATE = (Step.AT_RISK, Step.BREACHED)
#: Where the buckets of lag end, in seconds.
_ENDS = {end: end / 1_000_000 for end in EVER_ENDS[:-1]} | {EVER_ENDS[-1]: float("inf")}


class LedgerCollector(Collector):
    """One series a partner and figure, at most one a kind and clock; partners are few, so labels stay bounded."""

    def __init__(self, ledger: LedgerReader, clock: Clock, held_records: Callable[[], Mapping[str, int]]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._held_records = held_records

    def describe(self) -> list[Metric]:
        """Nothing: the registry must not ask the ledger before there is one to ask."""
        return []

    def collect(self) -> Iterator[Metric]:
        now = self._clock()
        rows, totals = self._ledger.overview(now, Window.DAY, tuple(Window))
        partners = [row.partner for row in rows]
        known = self._ledger.metered(partners)
        yield gauge("rescind_build_info", "Which version this is", ["version"], [([version("rescind")], 1)])
        yield from _totals(totals)
        yield from _standing(rows)
        yield from _states(rows)
        yield from _replies(rows)
        yield from _delivering(rows, known)
        yield from _open(partners, known, now.timestamp())
        yield from _lags(rows, known)
        yield from _answers(rows)
        held = [([topic], count) for topic, count in self._held_records().items()]
        yield gauge(
            "rescind_log_records_held", "Records kept beyond their retention for a reader behind", ["topic"], held
        )
        yield from _deadlines(partners, self._ledger)


def registry_for(
    ledger: LedgerReader, clock: Clock, held_records: Callable[[], Mapping[str, int]]
) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger, clock, held_records))
    return registry


def _totals(totals: Totals) -> Iterator[Metric]:
    for name, text, value in (
        ("rescind_subjects_opted_out", "Standing opt-outs, by subject and purpose", totals.opted_out),
        ("rescind_messages_poisoned_open", "Messages of ours neither redriven nor discarded", totals.poisoned_open),
    ):
        yield gauge(name, text, [], [([], value)])
    yield counter("rescind_messages_poisoned", "Messages that could not be processed", [], [([], totals.poisoned)])


def _standing(rows: list[PartnerLag]) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, Callable[[PartnerLag], float]], ...] = (
        ("rescind_notices_open", "Notices not completed or refused yet", lambda row: row.open),
        ("rescind_backlog_notices", "Notices not delivered yet", lambda row: row.backlog),
        ("rescind_notices_undeliverable", "Notices refused for good", lambda row: row.undeliverable),
        ("rescind_notices_parked", "Notices that fail while others are taken", lambda row: row.parked),
    )
    for name, text, value in figures:
        yield gauge(name, text, ["partner"], [([row.partner], value(row)) for row in rows])
    late = [([row.partner, Deadline.RECEIVE], row.overdue_receive) for row in rows]
    late += [([row.partner, Deadline.COMPLETE], row.overdue_complete) for row in rows]
    yield gauge("rescind_notices_overdue", "Open notices past their clock", ["partner", "clock"], late)
    near = [
        ([row.partner, kind.kind, clock], count)
        for row in rows
        for kind in row.kinds
        for clock, count in ((Deadline.RECEIVE, kind.at_risk_receive), (Deadline.COMPLETE, kind.at_risk_complete))
    ]
    text = "Open notices near the end of their clock, and not past it"
    yield gauge("rescind_notices_at_risk", text, ["partner", "kind", "clock"], near)
    yield counter(
        "rescind_acknowledgements_contradictory",
        "Final answers after other final ones",
        ["partner"],
        [([row.partner], row.contradictions) for row in rows],
    )


def _states(rows: list[PartnerLag]) -> Iterator[Metric]:
    states = [([row.partner, state], float(row.state is state)) for row in rows for state in LagState]
    yield gauge("rescind_partner_state", "1 for the state a partner is in", ["partner", "state"], states)


def _replies(rows: list[PartnerLag]) -> Iterator[Metric]:
    name, text = "rescind_replies_not_understood", "Replies that were not understood, or only in part"
    yield counter(name, text, ["partner"], [([row.partner], row.replies.not_understood) for row in rows])
    said = [
        ([row.partner, result], count)
        for row in rows
        for result, count in (
            ("acknowledged", row.replies.notices.acknowledged),
            ("not_understood", row.replies.notices.not_understood),
            ("unanswered", row.replies.notices.unanswered),
        )
    ]
    text = "Notices that were delivered, by what the reply said of them"
    yield counter("rescind_reply_notices", text, ["partner", "result"], said)
    unclear = [([row.partner], float(row.replies.unclear is not None)) for row in rows]
    text = "1 after a reply that was not understood, until a later one is or it is marked as seen"
    yield gauge("rescind_reply_unclear", text, ["partner"], unclear)


def _delivering(rows: list[PartnerLag], known: Metered) -> Iterator[Metric]:
    attempts = [([row.partner, outcome], known.attempts[row.partner, outcome]) for row in rows for outcome in OUTCOMES]
    yield counter(
        "rescind_delivery_attempts",
        "Attempts that failed or ended a batch, by what came back",
        ["partner", "outcome"],
        attempts,
    )
    failures = [([row.partner], row.consecutive_failures) for row in rows]
    yield gauge("rescind_delivery_failures_in_a_row", "Attempts that failed since one was taken", ["partner"], failures)
    broken = [([row.partner], float(row.consecutive_failures >= THRESHOLD)) for row in rows]
    yield gauge("rescind_breaker_open", "1 if a partner is tried by one request at a time", ["partner"], broken)
    last = [([row.partner], row.last_success_at.timestamp()) for row in rows if row.last_success_at is not None]
    yield gauge("rescind_delivery_last_success_timestamp_seconds", "When a partner last took one", ["partner"], last)


def _open(partners: list[str], known: Metered, now: float) -> Iterator[Metric]:
    labels = ["partner", "kind", "clock"]
    issued = [([partner, kind], known.issued.get((partner, kind), 0)) for partner in partners for kind in _KINDS]
    yield counter("rescind_notices_issued", "Notices issued", labels[:2], issued)
    first = [(each, known.first[each]) for each in _clocked(partners)]
    ages = [(each, 0 if found.issued_at is None else now - found.issued_at.timestamp()) for each, found in first]
    text = "Age of the oldest open notice, 0 if none is; `receive` is about those not taken yet"
    yield gauge("rescind_oldest_open_seconds", text, labels, ((each, max(0.0, age)) for each, age in ages))
    due = [(each, found.due_at.timestamp()) for each, found in first if found.due_at is not None]
    yield gauge("rescind_open_due_timestamp_seconds", "When the first open notice is due", labels, due)


def _lags(rows: list[PartnerLag], known: Metered) -> Iterator[Metric]:
    yield histogram(
        "rescind_acknowledgement_lag_seconds",
        "From the acceptance of a toggle until its notice was taken (receive) and finally answered (complete)",
        ["partner", "kind", "clock"],
        tuple(_ENDS.values()),
        (
            (each, {_ENDS[end]: n for end, n in known.lags.get(each, {}).items()})
            for each in _clocked([row.partner for row in rows])
        ),
    )
    percentiles = [
        ([row.partner, clock, percentile], seconds)
        for row in rows
        for clock, lag in ((Deadline.RECEIVE, row.receive_lag), (Deadline.COMPLETE, row.complete_lag))
        for percentile, seconds in (("50", lag.p50), ("95", lag.p95), ("99", lag.p99))
        if seconds is not None
    ]
    yield gauge("rescind_lag_seconds", "The same, over the last day", ["partner", "clock", "percentile"], percentiles)


def _answers(rows: list[PartnerLag]) -> Iterator[Metric]:
    every = [(row.partner, kind.kind, lag) for row in rows for kind in row.kinds for lag in kind.windows]
    yield gauge(
        "rescind_answers",
        "Final answers in a window: `in_time` and `late` are all of them, and `refused` are among both",
        ["partner", "kind", "window", "answer"],
        (
            ([partner, kind, lag.window, answer], count)
            for partner, kind, lag in every
            for answer, (count, _) in _by_answer(lag).items()
        ),
    )
    yield gauge(
        "rescind_answers_share",
        "The same as parts of all final answers, from 0 to 1, over the last day",
        ["partner", "kind", "answer"],
        (
            ([partner, kind, answer], share)
            for partner, kind, lag in every
            if lag.window is Window.DAY
            for answer, (_, share) in _by_answer(lag).items()
            if share is not None
        ),
    )


def _by_answer(lag: WindowLag) -> dict[str, tuple[int, float | None]]:
    return {
        "in_time": (lag.in_time, lag.in_time_share),
        "late": (lag.late, lag.late_share),
        "refused": (lag.refused, lag.refused_share),
    }


def _deadlines(partners: list[str], ledger: LedgerReader) -> Iterator[Metric]:
    steps, messages = ledger.deadlines_told()
    # Of what is to be received nobody is reminded.
    nothing = {
        each: 0 for each in product(partners, _CLOCKS, Step) if each[1] is not Deadline.RECEIVE or each[2] in _LATE
    }
    text = "Notices reminded of, at risk, or late"
    labels = ["partner", "clock", "step"]
    yield counter("rescind_deadline_steps", text, labels, (nothing | steps).items())
    told = [([outcome], messages.get(outcome, 0)) for outcome in ("claimed", *Told)]
    yield counter("rescind_escalations", "Messages to operators, by what became of them", ["outcome"], told)


def _clocked(partners: list[str]) -> list[Clocked]:
    return [Clocked(*each) for each in product(partners, _KINDS, _CLOCKS)]
