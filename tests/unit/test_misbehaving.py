"""What comes of an attempt at each kind of partner that misbehaves: see the table."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from agents.judging import judge
from agents.parcels import Batch
from agents.replies import SILENT, read
from agents.retrying import Backoff, next_delay
from agents.webhooks import Answer, HttpSender
from streams import signing
from tests.misbehaving import Seen, answer, getaddrinfo, listening, trusting
from tests.misbehaviours import FLOOD_CAP, MISBEHAVIOURS, Misbehaviour, misbehaving
from tests.unit.fakes import written_notice

SECRET = signing.new_secret()
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
#: Seconds of an attempt that must end by the clock, and of one that must not.
SHORT, LONG = 0.45, 30.0
#: Seconds that a busy machine may add.
SLACK = 10.0


@asynccontextmanager
async def sending(timeout: float, *, allow_private: bool = True) -> AsyncIterator[HttpSender]:
    sender = HttpSender(
        timeout, allow_private=allow_private, networks=[LOOPBACK], tls=trusting(), getaddrinfo=getaddrinfo
    )
    try:
        yield sender
    finally:
        await sender.close()


def test_names_tell_them_apart() -> None:
    assert len({kind.name for kind in MISBEHAVIOURS}) == len(MISBEHAVIOURS)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("kind", MISBEHAVIOURS, ids=lambda kind: kind.name)
async def test_what_comes_of_it(kind: Misbehaviour) -> None:
    batch = Batch(0, 7, 7, "p", tuple(written_notice(number) for number in range(kind.notices)), (7,) * kind.notices)
    (parcel,) = batch.parcels(kind.notices)
    async with (
        sending(SHORT if kind.slow else LONG, allow_private=kind.private) as sender,
        misbehaving(kind) as partner,
    ):
        payload = sender.payload(parcel.notices, single=False, gzip=False)
        for number in range(kind.attempts):
            # What it does between two requests has time to arrive.
            await asyncio.sleep(0.1 * number)
            began = time.monotonic()
            answered = await sender.send(partner.url, SECRET, "msg_1", payload, datetime.now(UTC))
            took = time.monotonic() - began
    attempt = answered.attempt
    assert judge(attempt, reached=answered.reached) is kind.verdict, attempt
    assert re.fullmatch(kind.words, attempt.error or ""), attempt.error
    assert len(attempt.error or "") <= 1000
    assert took < (SHORT if kind.slow else LONG / 2) + SLACK
    assert took > (SHORT / 3 if kind.slow else 0) * 0.9
    assert partner.seen.requests == kind.requests
    assert partner.seen.sent <= FLOOD_CAP
    asked = [notice.id for notice in parcel.notices]
    reply = read(answered.reply, asked, answered.unread) if attempt.accepted else SILENT
    assert reply.acknowledged == kind.acknowledged
    if kind.wait is not None:
        assert next_delay(attempt, 1, Backoff(), 0.0, datetime.now(UTC)) == pytest.approx(kind.wait)


async def test_names_that_take_long_hold_up_no_other_name() -> None:
    """More of them than asyncio has threads on a small machine."""
    async with sending(LONG) as sender, listening(answer(200), Seen(), None) as port:
        payload = sender.payload([written_notice()], single=False, gzip=False)

        async def send(host: str) -> Answer:
            return await sender.send(f"http://{host}:{port}/", SECRET, "msg_1", payload, datetime.now(UTC))

        slow = [asyncio.ensure_future(send(f"slow{number}.example")) for number in range(8)]
        await asyncio.sleep(0)
        assert (await send("partner.example")).attempt.accepted
        assert not any(each.done() for each in slow)
        assert all("resolved" in (each.attempt.error or "") for each in await asyncio.gather(*slow))
