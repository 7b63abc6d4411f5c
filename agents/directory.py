"""Who the partners are: a global table over `rescind.partners`, decoded, with a way to wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from streams.cloudevents import decode
from streams.errors import Undecodable
from streams.events import Partner
from streams.records import Appender, TopicPartition
from streams.topics import PARTNERS

log = logging.getLogger(__name__)
_TP = TopicPartition(PARTNERS.name, 0)


class Directory:
    """Partners by id, as of the newest registration that was read."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._partners: dict[str, Partner] = {}
        self._next_offset = 0
        self._changed = asyncio.Event()

    def attach(self, app: Any) -> None:
        """Make a Faust app keep this directory. Several workers each hold all of it."""
        app.GlobalTable(
            "partners",
            partitions=PARTNERS.partitions,
            key_type=bytes,
            value_type=bytes,
            # Faust buffers changelog events before it applies them; a registration counts at once.
            recovery_buffer_size=1,
            on_changelog_event=self._on_event,
            changelog_topic=app.topic(
                PARTNERS.name,
                key_type=bytes,
                value_type=bytes,
                key_serializer="raw",
                value_serializer="raw",
                partitions=PARTNERS.partitions,
                compacting=True,
                deleting=False,
                acks=False,
                internal=True,
                allow_empty=True,
            ),
        )

    async def _on_event(self, event: Any) -> None:
        message = event.message
        self.take(message.offset, message.key, message.value, message.headers)

    def take(self, offset: int, key: bytes | None, value: bytes | None, headers: Any) -> None:
        """Read one record of `rescind.partners`."""
        if value is None:
            # A tombstone: whoever had this key is forgotten.
            self._partners.pop((key or b"").decode("utf-8", "replace"), None)
        else:
            self._keep(offset, value, headers)
        self._next_offset = offset + 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _keep(self, offset: int, value: bytes, headers: Any) -> None:
        try:
            envelope = decode(value, headers)
        except Undecodable as error:
            # The projection sets it aside in `rescind.poisoned`; here it must only not stop anybody.
            log.warning("%s@%d is no partner: %s", PARTNERS.name, offset, error)
        else:
            if isinstance(envelope.data, Partner):
                self._partners[envelope.data.id] = envelope.data

    def get(self, partner: str) -> Partner | None:
        return self._partners.get(partner)

    def all(self) -> Iterable[Partner]:
        return self._partners.values()

    async def caught_up(self) -> None:
        """Wait for every registration that is durable now. A decision that was made after a partner's
        registration was confirmed therefore always finds that partner."""
        end = (await self._appender.end_offsets(PARTNERS.name)).get(_TP, 0)
        while self._next_offset < end:
            await self._changed.wait()

    async def changed(self) -> None:
        """Wait for the next change of any partner."""
        await self._changed.wait()
