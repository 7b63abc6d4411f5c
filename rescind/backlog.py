"""What partners have still to take, by the offsets that the delivering consumer group has committed: the figures of
Kafka's own tools, with names. Asks the log itself, and needs neither a gateway nor a ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass

from agents.app import GROUP
from agents.directory import Directory
from rescind.running.places import check_log
from streams.errors import LogUnavailable
from streams.events import Partner, PartnerStatus
from streams.log import Log, opened
from streams.records import TopicPartition
from streams.settings import Settings
from streams.topics import NOTICES, PARTNERS

#: Seconds that a log may take to answer.
_PATIENCE = 30.0
_PARTNERS = TopicPartition(PARTNERS.name, 0)


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane that somebody has, or that holds something. `backlog` counts packs, each of one notice or more; on
    Kafka every transaction that put some there counts as one more."""

    number: int
    partners: tuple[Partner, ...]
    backlog: int


async def lanes(settings: Settings) -> list[Lane]:
    """Every lane of interest. Raises `LogUnavailable`, `StorageUnusable` and what opening a log raises."""
    check_log(settings)
    try:
        async with asyncio.timeout(_PATIENCE), opened(settings) as log:
            partners = await registered(log)
            backlog = await log.backlog(GROUP, NOTICES.name)
    except TimeoutError:
        raise LogUnavailable(f"the log did not answer within {_PATIENCE:.0f} s") from None
    return of_interest({tp.partition: behind for tp, behind in backlog.items()}, partners)


async def registered(log: Log) -> list[Partner]:
    """Everybody who is registered in the log now, removed ones included."""
    directory = Directory(log)
    end = (await log.end_offsets(PARTNERS.name))[_PARTNERS]
    if end:
        async with aclosing(log.follow(PARTNERS.name)) as following:  # type: ignore[type-var]
            async for messages, positions in following:
                directory.take(messages, positions[_PARTNERS])
                if positions[_PARTNERS] >= end:
                    break
    return list(directory.all())


def of_interest(backlog: dict[int, int], partners: Iterable[Partner]) -> list[Lane]:
    """By number. A removed partner's name stands by its lane only while something is left there, and nobody else
    has the lane."""
    active: dict[int, list[Partner]] = {}
    removed: dict[int, list[Partner]] = {}
    for partner in sorted(partners, key=lambda partner: partner.id):
        group = removed if partner.status is PartnerStatus.REMOVED else active
        for lane in partner.lanes:
            group.setdefault(lane, []).append(partner)
    return [
        Lane(number, tuple(active.get(number) or removed.get(number) or ()), behind)
        for number, behind in sorted(backlog.items())
        if behind or number in active
    ]
