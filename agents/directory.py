"""Who the partners are: everything of `rescind.partners`, decoded, with a way to wait for it.

A GlobalTable of Faust would hold the same. But it reads within the consumer group, so it stands still in
every rebalance, and it makes all of an app wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Protocol

from agents.consuming import patiently
from streams.cloudevents import decode
from streams.errors import Undecodable
from streams.events import Partner, PartnerStatus, PartnerSuspended, PartnerTried, with_suspension
from streams.records import Appender, Message, TopicPartition
from streams.topics import PARTNERS

log = logging.getLogger(__name__)
_TP = TopicPartition(PARTNERS.name, 0)


class Followed(Protocol):
    """See `streams.log.Log.follow`."""

    def follow(self, topic: str) -> AsyncIterator[tuple[Sequence[Message], dict[TopicPartition, int]]]: ...


class Directory:
    """Partners by id, as of the newest registration that was read."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._registered: dict[str, Partner] = {}
        self._suspended: dict[str, PartnerSuspended] = {}
        #: As they count: registered, and suspended where nobody has changed them since.
        self._partners: dict[str, Partner] = {}
        #: Behind which record what waits for a partner is to be tried at once.
        self._tried: dict[str, int] = {}
        self._next_offset = 0
        self._changed = asyncio.Event()
        #: When it was last seen to be complete, in the event loop's seconds.
        self._complete_at = float("-inf")

    async def run(self, log: Followed) -> None:
        """Keep this directory, for ever. Several workers each hold all of it."""

        async def follow() -> None:
            async for messages, positions in log.follow(PARTNERS.name):
                self.take(messages, positions.get(_TP, 0))

        # Who begins again reads the same again.
        await patiently(follow)

    def take(self, messages: Sequence[Message], next_offset: int) -> None:
        """Read records of `rescind.partners`, up to `next_offset`."""
        for message in messages:
            if message.value is None:
                # A tombstone: whoever had this key is forgotten.
                key = (message.key or b"").decode("utf-8", "replace")
                self._registered.pop(key, None)
                self._partners.pop(key, None)
            else:
                self._keep(message)
        self._next_offset = next_offset
        self._changed.set()
        self._changed = asyncio.Event()

    def _keep(self, message: Message) -> None:
        try:
            envelope = decode(message.value, message.headers)
        except Undecodable as error:
            # The projection sets it aside in `rescind.poisoned`; here it must only not stop anybody.
            log.warning("%s@%d is no partner: %s", PARTNERS.name, message.offset, error)
        else:
            match envelope.data:
                case Partner() as partner:
                    self._register(partner, message.offset)
                case PartnerSuspended() as suspension:
                    self._suspended[suspension.partner] = suspension
                    self._count(suspension.partner)
                case PartnerTried(partner=identity):
                    self._try(identity, message.offset)

    def _register(self, partner: Partner, offset: int) -> None:
        # Of two records with one revision, from two hosts at once, the first counts for everybody.
        known = self._registered.get(partner.id)
        if known is None or known.revision < partner.revision:
            before = self._partners.get(partner.id)
            self._registered[partner.id] = partner
            self._count(partner.id)
            if before is not None and _is_to_be_tried(before, self._partners[partner.id]):
                self._try(partner.id, offset)

    def _try(self, identity: str, offset: int) -> None:
        # Who begins again reads the same again, and that is nothing new.
        self._tried[identity] = max(self._tried.get(identity, 0), offset + 1)

    def _count(self, identity: str) -> None:
        partner = self._registered.get(identity)
        if partner is not None:
            self._partners[identity] = with_suspension(partner, self._suspended.get(identity))

    def get(self, partner: str) -> Partner | None:
        return self._partners.get(partner)

    def tried(self, partner: str) -> int:
        """A number that grows whenever what waits for the partner is to be tried at once, whatever the wait was for: an
        operator asked for it, or resumed the partner, it took a test, or its URL or a secret is another. `changed`
        wakes then."""
        return self._tried.get(partner, 0)

    def all(self) -> Iterable[Partner]:
        return self._partners.values()

    async def caught_up(self, age: float = 0.0) -> None:
        """Wait for every registration that is durable now, or was so at most `age` seconds ago: the log may be
        far away. A decision that was made after a partner's registration was confirmed therefore always finds
        that partner."""
        now = asyncio.get_running_loop().time()
        if now - self._complete_at < age:
            return
        ends = await patiently(lambda: self._appender.end_offsets(PARTNERS.name))
        end = ends.get(_TP, 0)
        while self._next_offset < end:
            await self._changed.wait()
        self._complete_at = now

    def changed(self) -> Awaitable[object]:
        """Wait for the next change of any partner after this call, whenever it is awaited."""
        return self._changed.wait()


def _is_to_be_tried(before: Partner, after: Partner) -> bool:
    """Does what failed before say nothing of the partner any more?"""
    if after.status is not PartnerStatus.ACTIVE:
        return False
    return (before.status, before.url, before.secrets) != (after.status, after.url, after.secrets)
