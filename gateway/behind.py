"""How far the ledger, and the index of disclosures beside it, are behind the log: in records, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.families import gauge
from ledger import Disclosures, LedgerReader
from streams.clock import Clock
from streams.errors import LogUnavailable, StorageUnusable
from streams.records import Appender, TopicPartition
from streams.topics import ALL, TOGGLES

#: Seconds to wait for the log; whoever asks for metrics has little patience.
_PATIENCE = 2.0
#: Moments that are remembered while the ledger is behind.
_MOST = 240


class Delay:
    """For how long the ledger has not had what was in the log: since the earliest look at which something was there
    that it has not read yet. So it is exact to the time between two looks, and begins at 0."""

    def __init__(self) -> None:
        self._seen: list[tuple[datetime, Mapping[TopicPartition, int]]] = []

    def look(self, now: datetime, ends: Mapping[TopicPartition, int], left: Mapping[TopicPartition, int]) -> float:
        """In seconds, given where the log ends and how many records of each partition are still to be read."""
        read = {tp: end - left[tp] for tp, end in ends.items()}
        self._seen = [(at, then) for at, then in self._seen if _beyond(then, read)]
        if not any(left.values()):
            return 0.0
        self._seen.append((now, ends))
        if len(self._seen) > _MOST:
            del self._seen[1::2]
        return max(0.0, (now - self._seen[0][0]).total_seconds())


class LedgerBehind(Collector):
    """As of the last `look`, which goes before every answer."""

    def __init__(self, ledger: LedgerReader, disclosures: Disclosures, appender: Appender, clock: Clock) -> None:
        self._ledger = ledger
        self._disclosures = disclosures
        self._appender = appender
        self._clock = clock
        self._delay = Delay()
        self._records: dict[str, int] | None = None
        self._seconds = 0.0

    def describe(self) -> list[Metric]:
        """Nothing: there is nothing yet."""
        return []

    async def look(self) -> None:
        """Ask the log and the ledger. Raises `StorageUnusable` if there is no ledger; a log that does not answer is a
        metric of its own."""
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await asyncio.gather(*(self._appender.end_offsets(topic.name) for topic in ALL))
        except (TimeoutError, LogUnavailable):
            self._records = None
            return
        ends = {tp: end for each in found for tp, end in each.items()}
        left = await asyncio.to_thread(lambda: self._ledger.behind(ends, self._indexed()))
        self._records = {topic.name: sum(n for tp, n in left.items() if tp.topic == topic.name) for topic in ALL}
        # On Kafka a transaction of a platform ends with a record that nobody ever reads. What its toggles lead to is
        # looked at all the same.
        timed = {tp: end for tp, end in ends.items() if tp.topic != TOGGLES.name}
        self._seconds = self._delay.look(self._clock(), timed, {tp: left[tp] for tp in timed})

    def _indexed(self) -> dict[TopicPartition, int]:
        try:
            return self._disclosures.offsets()
        except StorageUnusable:  # it is not there yet, and has read nothing
            return {}

    def collect(self) -> Iterator[Metric]:
        records = self._records
        yield gauge("rescind_log_reachable", "1 if the log answers, else 0", [], [([], float(records is not None))])
        if records is None:
            return
        series = [([topic], n) for topic, n in records.items()]
        yield gauge(
            "rescind_ledger_behind_records", "Records in the log that the ledger has not read yet", ["topic"], series
        )
        text = "For how long the ledger has not had what was in the log"
        yield gauge("rescind_ledger_behind_seconds", text, [], [([], self._seconds)])


def _beyond(ends: Mapping[TopicPartition, int], read: Mapping[TopicPartition, int]) -> bool:
    return any(end > read.get(tp, 0) for tp, end in ends.items())
