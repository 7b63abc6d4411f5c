"""Metrics in the form of Prometheus: gauges, counters and histograms of values by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

#: A value and the values of its labels, in the family's order.
Series = Iterable[tuple[Sequence[str], float]]


def gauge(name: str, text: str, labels: Sequence[str], series: Series) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), series)


def counter(name: str, text: str, labels: Sequence[str], series: Series) -> Metric:
    """`name` without the `_total` that it gets."""
    return _filled(CounterMetricFamily(name, text, labels=labels), series)


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    ends: Sequence[float],
    series: Iterable[tuple[Sequence[str], Mapping[float, int]]],
) -> Metric:
    """Of counts by where their bucket ends; `ends` are all that there are, the last one infinite. It has no sum: ours
    could fall, and a counter that falls passes for one that began anew."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, counts in series:
        below, buckets = 0, []
        for end in ends:
            below += counts.get(end, 0)
            buckets.append((_end(end), float(below)))
        family.add_metric(list(values), buckets, sum_value=None)
        family.add_sample(f"{name}_count", dict(zip(labels, values, strict=True)), below)
    return family


def _end(end: float) -> str:
    # As Prometheus writes numbers itself.
    return str(floatToGoString(end))  # type: ignore[no-untyped-call]


def _filled(family: GaugeMetricFamily | CounterMetricFamily, series: Series) -> Metric:
    for labels, value in series:
        family.add_metric(labels, value)
    return family
