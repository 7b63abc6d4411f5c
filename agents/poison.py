"""Messages that we cannot process go aside with the reason, and the stream goes on."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agents.consuming import append_until_durable
from streams import ids
from streams.clock import Clock
from streams.cloudevents import Envelope, Headers, decode
from streams.errors import Undecodable
from streams.events import Data, MessagePoisoned
from streams.records import Appender, Record, record
from streams.topics import POISONED


class Received(NamedTuple):
    """An event of ours, as it stood in the log."""

    envelope: Envelope
    topic: str
    partition: int
    offset: int
    timestamp: datetime


class Intake:
    """Decodes what a stream brings; sets aside what is not an event of the expected types."""

    def __init__(self, appender: Appender, clock: Clock, *expected: type[Data]) -> None:
        self._appender = appender
        self._clock = clock
        self._expected = expected

    async def read(self, batch: Sequence[Any]) -> list[Received]:
        """The good events of a batch, in order. The others are durable in `rescind.poisoned` on return."""
        good, bad = self.sort([event.message for event in batch])
        if bad:
            await append_until_durable(self._appender, bad)
        return good

    def sort(self, messages: Sequence[Any]) -> tuple[list[Received], list[Record]]:
        """The good events, and the records that tell of the others."""
        good, bad = [], []
        for message in messages:
            try:
                envelope = decode(message.value, message.headers)
                if not isinstance(envelope.data, self._expected):
                    raise Undecodable(f"{envelope.data.TYPE} does not belong into {message.topic}")
            except Undecodable as error:
                bad.append(poisoned(message, str(error), self._clock()))
            else:
                stamp = timestamp_of(message)
                good.append(Received(envelope, message.topic, message.partition, message.offset, stamp))
        return good, bad


def timestamp_of(message: Any) -> datetime:
    """When a Faust message became durable."""
    return datetime.fromtimestamp(message.timestamp, UTC)


def poisoned(message: Any, reason: str, now: datetime) -> Record:
    """The record that tells of a message that we cannot process."""
    data = MessagePoisoned(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        reason=reason[:2000],
        key_base64=_base64(message.key),
        value_base64=_base64(message.value),
        headers=_headers(message.headers),
        poisoned_at=now,
    )
    # Two readers of one topic may both find the same bad message; it is still one.
    identity = ids.derive("poisoned", message.topic, str(message.partition), str(message.offset))
    return record(POISONED.name, Envelope(identity, now, data))


def _headers(headers: Headers) -> tuple[tuple[str, str | None], ...]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple((name, _base64(value)) for name, value in pairs)


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()
