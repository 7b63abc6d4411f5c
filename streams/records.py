"""Records as they go into a log, and the one face through which the gateway appends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from streams.cloudevents import STRUCTURED_HEADERS, Envelope, encode


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Record(NamedTuple):
    """What somebody wants appended. Without a partition the key decides (murmur2)."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = STRUCTURED_HEADERS


class Message(NamedTuple):
    """A record as it stands in a log. `timestamp` is when it became durable, in seconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    headers: Sequence[tuple[str, bytes]]
    key: bytes | None
    value: bytes | None


class Position(NamedTuple):
    """Where a record came to stand."""

    topic: str
    partition: int
    offset: int


#: Characters of a commit's note. Brokers take 4,096 by default (`offset.metadata.max.bytes`).
MOST_OF_NOTE = 4_000


class Commit(NamedTuple):
    """How far a consumer group has come in a partition. `offset` is the one that it wants next. `note` is for its next
    reader: ASCII that says what is done already from there on; empty if nothing is."""

    offset: int
    note: str = ""


class Appender(Protocol):
    """Appends durably. Both engines give one; tests give their own."""

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """Return when every record is durable, in the order given.

        Raises `LogUnavailable` if any is not known to be; some may be durable nevertheless, so the
        caller repeats with the same ids.
        """
        ...

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """The offset that the next record of each partition will get."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has now; there may be more later, never fewer."""
        ...


def behind(positions: Iterable[Position]) -> dict[TopicPartition, int]:
    """The offsets that follow them: who has read up to there has read them all."""
    ends: dict[TopicPartition, int] = {}
    for topic, partition, offset in positions:
        tp = TopicPartition(topic, partition)
        ends[tp] = max(ends.get(tp, 0), offset + 1)
    return ends


def record(topic: str, envelope: Envelope, partition: int | None = None) -> Record:
    """The record of an event, under the event's own key."""
    key = envelope.data.key()
    return Record(topic, None if key is None else key.encode(), encode(envelope), partition)
