"""The directory of partners: the newest state of each, and a way to wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.directory import Directory
from streams.cloudevents import Envelope, encode
from streams.events import ConsentToggled, PartnerSuspended, PartnerTried
from streams.kinds import Choice
from streams.records import Message, Record, record
from streams.topics import PARTNERS
from tests.unit.fakes import NOON, MemoryLog, announce, message, partner, settle


async def test_the_newest_state_of_a_partner_counts() -> None:
    log = MemoryLog()
    directory = Directory(log)
    await announce(log, directory, partner("a"))
    await announce(log, directory, partner("b"))
    await announce(log, directory, partner("a", url="https://new.example", revision=2))
    found = directory.get("a")
    assert found is not None
    assert found.url == "https://new.example"
    assert {known.id for known in directory.all()} == {"a", "b"}
    assert directory.get("c") is None


async def test_of_two_records_with_one_revision_the_first_counts() -> None:
    """As in the ledger: two hosts may have registered the same id at once."""
    log = MemoryLog()
    directory = Directory(log)
    for url in ("https://first.example", "https://second.example"):
        await announce(log, directory, partner("a", url=url, revision=1))
    found = directory.get("a")
    assert found is not None
    assert found.url == "https://first.example"


async def test_a_tombstone_forgets_a_partner() -> None:
    log = MemoryLog()
    directory = Directory(log)
    await announce(log, directory, partner("a"))
    for offset, key in enumerate((b"other", None, b"\xff", b"a"), start=1):
        assert directory.get("a") is not None
        directory.take([message(Record(PARTNERS.name, key, None), offset)], offset + 1)
    assert directory.get("a") is None


@pytest.mark.parametrize(
    ("changes", "tried"),
    [
        ([{"status": "paused"}], False),
        ([{"status": "paused"}, {"status": "active"}], True),
        ([{"status": "suspended"}, {"status": "active"}], True),
        ([{"url": "https://new.example"}], True),
        ([{"secrets": [{"scheme": "v1", "sealed": "y"}]}], True),
        ([{"url": "https://new.example", "status": "paused"}], False),
        ([{"gzip": True}], False),
        ([{"batch_size": 1}, {"max_requests_per_second": 1.0}], False),
        ([{"status": "removed"}], False),
    ],
)
async def test_what_may_help_is_tried_at_once(changes: list[dict[str, Any]], tried: bool) -> None:
    log = MemoryLog()
    directory = Directory(log)
    await announce(log, directory, partner("a"))
    assert directory.tried("a") == 0
    for revision, change in enumerate(changes, start=2):
        await announce(log, directory, partner("a", revision=revision, **change))
    assert (directory.tried("a") > 0) is tried


async def test_a_resumption_after_the_worker_gave_up_is_tried_at_once() -> None:
    log = MemoryLog()
    directory = Directory(log)
    await announce(log, directory, partner("a"))
    gone = PartnerSuspended(partner="a", revision=1, reason="gone", suspended_at=NOON)
    directory.take([message(record(PARTNERS.name, Envelope("s", NOON, gone)), 1)], 2)
    await announce(log, directory, partner("a", revision=2))
    assert directory.tried("a") > 0


def tries(*offsets: int, whom: str = "a") -> list[Message]:
    tried = PartnerTried(partner=whom, tried_at=NOON)
    return [message(record(PARTNERS.name, Envelope(f"t{offset}", NOON, tried)), offset) for offset in offsets]


async def test_whoever_waits_hears_that_a_partner_is_tried_and_counts_each_once() -> None:
    directory = Directory(MemoryLog())
    waiting = asyncio.ensure_future(directory.changed())
    await settle()
    directory.take(tries(3), 4)
    await asyncio.wait_for(waiting, 30)
    first = directory.tried("a")
    assert (first > 0, directory.tried("b")) == (True, 0)
    directory.take(tries(5), 6)
    second = directory.tried("a")
    assert second > first
    # Whoever follows the log begins again after an error.
    directory.take(tries(3, 5), 6)
    assert directory.tried("a") == second


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"{}",
        b"[" * 2000,
        encode(
            Envelope("t", NOON, ConsentToggled(subject="u:1", purpose="ai", choice=Choice.OPT_IN, occurred_at=NOON))
        ),
    ],
)
async def test_what_is_no_partner_stops_nobody(value: bytes) -> None:
    log = MemoryLog()
    directory = Directory(log)
    await announce(log, directory, partner("a"))
    log.ends[next(iter(log.ends))] += 1
    directory.take([message(Record(PARTNERS.name, b"a", value), 1)], 2)
    await asyncio.wait_for(directory.caught_up(), 30)
    assert directory.get("a") is not None


async def test_caught_up_waits_for_what_is_durable_now_and_for_no_more() -> None:
    log = MemoryLog()
    directory = Directory(log)
    await directory.caught_up()
    items = [record(PARTNERS.name, Envelope(name, NOON, partner(name))) for name in ("a", "b", "c")]
    await log.append(items[:2])
    waiting = asyncio.ensure_future(directory.caught_up())
    await settle()
    await log.append(items[2:])
    directory.take([message(items[0], 0)], 1)
    await settle()
    assert not waiting.done()
    directory.take([message(items[1], 1)], 2)
    await asyncio.wait_for(waiting, 30)
    assert directory.get("c") is None


async def test_every_change_wakes_everybody_who_waits() -> None:
    log = MemoryLog()
    directory = Directory(log)
    waiting = [asyncio.ensure_future(directory.changed()) for _ in range(3)]
    await settle()
    await announce(log, directory, partner("a"))
    await asyncio.wait_for(asyncio.gather(*waiting), 30)
    again = asyncio.ensure_future(directory.changed())
    await settle()
    assert not again.done()
    again.cancel()


async def test_a_change_right_after_somebody_began_to_wait_is_not_missed() -> None:
    """Who waits for several things at once does so in tasks, which begin a moment later."""
    log = MemoryLog()
    directory = Directory(log)
    waiting = asyncio.ensure_future(directory.changed())
    directory.take([], 0)
    await asyncio.wait_for(waiting, 30)
