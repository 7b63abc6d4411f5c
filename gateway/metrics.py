"""Metrics for Prometheus, read from the ledger when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger import LagState, Ledger, PartnerLag
from streams.clock import Clock


class LedgerCollector(Collector):
    """One series a partner and figure; partners are few, so labels stay bounded."""

    def __init__(self, ledger: Ledger, clock: Clock, held_records: Callable[[], Mapping[str, int]]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._held_records = held_records

    def describe(self) -> list[Metric]:
        """Nothing: the registry must not ask the ledger before there is one to ask."""
        return []

    def collect(self) -> Iterator[Metric]:
        rows, totals = self._ledger.overview(self._clock())
        yield GaugeMetricFamily(
            "rescind_subjects_opted_out", "Standing opt-outs, by subject and purpose", totals.opted_out
        )
        yield GaugeMetricFamily("rescind_messages_poisoned", "Messages that could not be processed", totals.poisoned)
        yield _by_partner(rows, "rescind_notices_open", "Notices not completed or refused yet", lambda row: row.open)
        yield _by_partner(rows, "rescind_backlog_notices", "Notices not delivered yet", lambda row: row.backlog)
        yield _by_partner(
            rows,
            "rescind_oldest_open_seconds",
            "Age of the oldest open notice",
            lambda row: row.oldest_open_seconds or 0,
        )
        yield _overdue(rows)
        yield _lag(rows)
        yield _states(rows)
        held = GaugeMetricFamily(
            "rescind_log_records_held", "Records kept beyond their retention for a reader behind", labels=["topic"]
        )
        for topic, count in self._held_records().items():
            held.add_metric([topic], count)
        yield held


def registry_for(ledger: Ledger, clock: Clock, held_records: Callable[[], Mapping[str, int]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger, clock, held_records))
    return registry


def _by_partner(rows: list[PartnerLag], name: str, text: str, value: object) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["partner"])
    for row in rows:
        family.add_metric([row.partner], value(row))  # type: ignore[operator]
    return family


def _overdue(rows: list[PartnerLag]) -> Metric:
    family = GaugeMetricFamily("rescind_notices_overdue", "Open notices past their clock", labels=["partner", "clock"])
    for row in rows:
        family.add_metric([row.partner, "receive"], row.overdue_receive)
        family.add_metric([row.partner, "complete"], row.overdue_complete)
    return family


def _lag(rows: list[PartnerLag]) -> Metric:
    family = GaugeMetricFamily(
        "rescind_lag_seconds", "From issue to the answer, over the last day", labels=["partner", "clock", "quantile"]
    )
    for row in rows:
        for clock, lag in (("receive", row.receive_lag), ("complete", row.complete_lag)):
            for quantile, seconds in (("0.5", lag.p50), ("0.95", lag.p95), ("0.99", lag.p99)):
                if seconds is not None:
                    family.add_metric([row.partner, clock, quantile], seconds)
    return family


def _states(rows: list[PartnerLag]) -> Metric:
    family = GaugeMetricFamily("rescind_partner_state", "1 for the state a partner is in", labels=["partner", "state"])
    for row in rows:
        for state in LagState:
            family.add_metric([row.partner, state], float(row.state is state))
    return family
