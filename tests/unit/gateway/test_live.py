"""The overview as it changes: one look for all who watch, rows only when they change, and an end to every stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway import pages
from gateway.live import Live
from ledger import Board, LedgerReader
from streams.errors import StorageUnusable
from tests.unit.gateway.harness import Gateway, at, logged_in
from tests.unit.gateway.test_lag import completed, delivered, four_states


async def always() -> bool:
    return True


async def next_news(stream: AsyncIterator[bytes]) -> tuple[str, dict[str, Any]]:
    """The cursor and the data of the next event that brings any."""
    async with asyncio.timeout(10):
        async for event in stream:
            if event.startswith(b"id: "):
                head, _, data = event.partition(b"\n")
                return head[4:].decode(), orjson.loads(data.removeprefix(b"data: "))
    raise AssertionError("the stream ended")


def live_of(gateway: Gateway, every: float = 0.01) -> Live:
    return Live(gateway.ledger, gateway.clock, every)


async def test_a_page_is_told_only_what_came_after_it(gateway: Gateway) -> None:
    four_states(gateway)
    live = live_of(gateway)
    page = await live.fresh()
    assert list(page.rows) == ["dead", "stuck", "slow", "fine"]
    async with aclosing(live.events(page.cursor, always, asyncio.Event())) as stream:
        gateway.clock.now = at(62)
        completed(gateway, 2, "slow")
        cursor, news = await next_news(stream)
        assert list(news["rows"]) == ["slow"]
        assert '<dt>open</dt><dd class="">4</dd>' in news["summary"]
        assert "order" not in news, "its answers were late, so it stays where it is"
        gateway.registered("newcomer", lane=5)
        _, news = await next_news(stream)
        assert list(news["rows"]) == ["newcomer"]
        assert set(news["order"]) == {"dead", "stuck", "slow", "fine", "newcomer"}
    # Whoever comes back is told from there on.
    async with aclosing(live.events(cursor, always, asyncio.Event())) as stream:
        _, news = await next_news(stream)
        assert list(news["rows"]) == ["newcomer"]


async def test_nothing_is_said_of_what_only_grew_older(gateway: Gateway) -> None:
    four_states(gateway)
    live = live_of(gateway)
    before = await live.fresh()
    gateway.clock.now = at(61.5)
    after = await live.fresh()
    assert after.cursor == before.cursor
    assert live.looks == 2


async def test_the_bar_of_the_oldest_moves_as_time_passes(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    delivered(gateway)
    live = live_of(gateway)
    before = await live.fresh()
    gateway.clock.now = at(30)
    after = await live.fresh()
    assert after.rows["acme"].look > before.rows["acme"].look
    assert 'width="50.0"' in after.rows["acme"].html


async def test_who_comes_from_another_gateway_is_told_everything(gateway: Gateway) -> None:
    four_states(gateway)
    live, other = live_of(gateway), live_of(gateway)
    for cursor in ((await other.fresh()).cursor, "", "x", "-", f"{(await live.fresh()).epoch}-x", "é-1"):
        async with aclosing(live.events(cursor, always, asyncio.Event())) as stream:
            _, news = await next_news(stream)
            assert len(news["rows"]) == len(news["order"]) == 4


async def test_a_removed_partner_leaves_the_order(gateway: Gateway) -> None:
    gateway.registered()
    gateway.registered("other", lane=1)
    live = live_of(gateway)
    page = await live.fresh()
    await gateway.http.delete("/v1/partners/acme", headers=gateway.operator)
    async with aclosing(live.events(page.cursor, always, asyncio.Event())) as stream:
        _, news = await next_news(stream)
    assert news["order"] == ["other"]


async def test_a_stream_ends_with_its_session_and_with_the_service(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.live._QUIET", 0.02)
    live = live_of(gateway)
    answers = iter([True, True, False])

    async def still() -> bool:
        return next(answers)

    events = [event async for event in live.events("", still, asyncio.Event())]
    assert events[-1].startswith(b"event: over")
    assert any(event.startswith(b":") for event in events)
    stopping = asyncio.Event()
    stream = live.events("", always, stopping)
    await next_news(stream)
    stopping.set()
    async with asyncio.timeout(5):
        assert [event async for event in stream if event.startswith(b"id")] == []


class Failing(LedgerReader):
    """Answers, then not, then again."""

    def __init__(self, inner: LedgerReader) -> None:
        super().__init__(inner.path)
        self._inner = inner
        self.failing = False

    def board(self, now: Any, hours: int) -> Board:
        if self.failing:
            raise StorageUnusable("there is no ledger")
        return self._inner.board(now, hours)


async def test_a_ledger_that_is_away_is_said_and_comes_back(gateway: Gateway) -> None:
    ledger = Failing(gateway.ledger)
    live = Live(ledger, gateway.clock, 0.01)
    async with aclosing(live.events("", always, asyncio.Event())) as stream:
        await next_news(stream)
        ledger.failing = True
        async with asyncio.timeout(10):
            assert b"there is no ledger" in await anext(stream)
        ledger.failing = False
        gateway.registered()
        assert list((await next_news(stream))[1]["rows"]) == ["acme"]


async def test_whoever_goes_away_takes_nothing_from_the_others(gateway: Gateway) -> None:
    four_states(gateway)
    live = live_of(gateway)
    first, second = asyncio.ensure_future(live.shared()), asyncio.ensure_future(live.shared())
    await asyncio.sleep(0)
    first.cancel()
    assert len((await second).rows) == 4
    assert live.looks == 1


@pytest.mark.parametrize("listeners", [1, 100])
async def test_a_hundred_listeners_cost_what_one_costs(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, listeners: int
) -> None:
    """However many listen, the ledger is asked once for each period, a row is rendered once for each change, and an
    event is written once for each look."""
    rendered: Counter[str] = Counter()
    written: list[bytes] = []

    def render(template: str, **values: Any) -> str:
        rendered[template] += 1
        return pages.rendered(template, **values)

    def write(value: Any) -> bytes:
        written.append(orjson.dumps(value))
        return written[-1]

    monkeypatch.setattr("gateway.live.rendered", render)
    monkeypatch.setattr("gateway.live.orjson", SimpleNamespace(dumps=write))
    for lane in range(30):
        gateway.registered(f"partner-{lane}", lane=lane)
    every, changes, loop = 0.05, 5, asyncio.get_running_loop()
    live, began = live_of(gateway, every), loop.time()
    streams = [live.events("", always, asyncio.Event()) for _ in range(listeners)]
    await asyncio.gather(*map(next_news, streams))
    for number in range(changes):
        gateway.registered("partner-0", lane=0, revision=number + 2, name=f"Acme {number}")
        for _, news in await asyncio.gather(*map(next_news, streams)):
            assert f"Acme {number}" in news["rows"]["partner-0"]
    assert live.looks <= 2 + (loop.time() - began) / every
    assert rendered["row.html"] == 30 + changes
    assert len(written) == 1 + changes
    for stream in streams:
        await stream.aclose()


async def test_the_stream_over_http(gateway: Gateway) -> None:
    four_states(gateway)
    await logged_in(gateway)
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stopping.set)

    async def scoped(scope: Any, receive: Any, send: Any) -> None:
        await gateway.app(scope | {"rescind.stopping": stopping}, receive, send)

    gateway.http._transport.app = scoped  # type: ignore[attr-defined]
    answer = await gateway.http.get("/dashboard/events", params={"since": ""})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    (event,) = [part for part in answer.text.split("\n\n") if part.startswith("id: ")]
    assert len(orjson.loads(event.partition("data: ")[2])["rows"]) == 4
