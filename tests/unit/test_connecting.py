"""Connections to partners, apart from what partners do to them: where they go, what they ask for, how old they get."""

from __future__ import annotations

import asyncio
import gc
import os
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.connecting import KEPT_FOR, Socket, verbatim
from agents.webhooks import Answer, HttpSender
from gateway.registering import check_url
from streams import signing
from tests.misbehaving import NOTHING, OK, Seen, Wire, answer, getaddrinfo, listening
from tests.unit.fakes import written_notice

SECRET = signing.new_secret()


def test_a_socket_that_is_forgotten_closes_nothing() -> None:
    """Its descriptor is somebody else's by then."""
    socket = Socket()
    descriptor = socket.fileno()
    del socket
    gc.collect()
    os.close(descriptor)


async def post(sender: HttpSender, url: str) -> Answer:
    payload = sender.payload([written_notice()], single=False, gzip=False)
    return await sender.send(url, (SECRET,), "msg_1", payload, datetime.now(UTC))


# -- the URL


@dataclass(slots=True)
class Listener:
    """What came to a partner: the heads of requests."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    sender: HttpSender = field(default_factory=lambda: HttpSender(5, allow_private=True, getaddrinfo=getaddrinfo))


@asynccontextmanager
async def listener() -> AsyncIterator[Listener]:
    heads: list[bytes] = []

    async def serve(wire: Wire) -> None:
        while True:
            heads.append(await wire.request())
            await wire.send(OK + NOTHING)

    async with listening(serve, Seen(), None) as port:
        found = Listener(port, heads)
        try:
            yield found
        finally:
            await found.sender.close()


TARGETS = [
    "", "/", "?", "/?", "?a=b", "/?a=b", "/hook", "/hook?", "/hook?a", "/hook?a=", "/hook?=&&=", "//hook", "/hook//",
    "/a%2Fb?c=d%2Fe", "/a%2fb?c=d%2fe", "/%7Euser/~user", "/%41%5f?q=%41", "/a/../b/./c", "/..", "/../../etc",
    "/a;b=c;d", "/a+b?c+d=e+f%2B%20", "/?q=%", "/%zz?%zz", "/?a=b?c=d", "/?url=https://x.example/?y=z", "/a:b@c",
    "/!$&'()*,;=:@-._", "/?a[]=1&b[c]=2", "/\"<>^`{|}\\", "/?\"<>^`{|}\\", "/%C3%A9?%C3%A9=%E2%82%AC", "/%e2%82%ac",
    "/?sp=%2Ftriggers%2Frun&sv=1.0",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
async def test_a_url_is_called_byte_by_byte_as_registered(target: str) -> None:
    async with listener() as at:
        url = check_url(f"http://127.0.0.1:{at.port}{target}", allow_private=True)
        assert (await post(at.sender, url)).attempt.accepted
    expected = target if target.startswith("/") else f"/{target}"
    first, host, *_ = at.heads[0].split(b"\r\n")
    assert first == f"POST {expected} HTTP/1.1".encode()
    assert host.lower() == b"host: 127.0.0.1:%d" % at.port


@given(st.text(string.printable[:94].replace("#", ""), max_size=40), st.sampled_from(["/", "?"]))
def test_no_url_that_can_be_registered_is_called_otherwise(rest: str, begin: str) -> None:
    url = check_url(f"https://partner.example{begin}{rest}", allow_private=False)
    expected = f"{begin}{rest}" if begin == "/" else f"/{begin}{rest}"
    target = verbatim(url)
    assert target.raw_path_qs == expected
    assert (target.scheme, target.raw_host, target.port) == ("https", "partner.example", 443)


@given(st.text(max_size=20), st.sampled_from(["https://p.example/", "https://p.example?", "https://p", "http"]))
def test_nothing_but_printable_ascii_goes_out(rest: str, begin: str) -> None:
    try:
        target = verbatim(begin + rest)
    except ValueError:
        return
    assert target.raw_path_qs.isascii()
    assert target.raw_path_qs.isprintable()
    assert " " not in target.raw_path_qs
    assert (target.raw_host or "").isascii()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://partner.example:{}/", "partner.example:{}"),
        ("http://Partner.Example:{}/", "partner.example:{}"),
        ("HTTP://partner.example:{}", "partner.example:{}"),
    ],
)
async def test_the_host_header_names_the_host(url: str, host: str) -> None:
    async with listener() as at:
        assert (await post(at.sender, url.format(at.port))).attempt.accepted
    assert b"\r\nhost: %b\r\n" % host.format(at.port).encode() in at.heads[0].lower()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://partner.example:443/", "partner.example"),
        ("https://[2606:4700:4700::1111]:8443/", "[2606:4700:4700::1111]:8443"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_named_as_http_names_it(url: str, host: str) -> None:
    assert verbatim(check_url(url, allow_private=False)).host_port_subcomponent == host


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/é", "http://127.0.0.1:9/a b", "http://127.0.0.1:9/\r\nx: y", "http://127.0.0.1:9/#x"]
)
async def test_a_url_that_cannot_be_called_as_it_is_is_not_called(url: str) -> None:
    sender = HttpSender(5, allow_private=True)
    try:
        attempt = (await post(sender, url)).attempt
    finally:
        await sender.close()
    assert (attempt.status, attempt.error) == (None, "the URL is not one that can be called")


# -- how old a connection gets


class Time:
    """For our connections, and for the client's own idea of what is idle and which names it knows still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("aiohttp.connector.monotonic", self)

    def __call__(self) -> float:
        return self.now


async def test_a_connection_is_kept_for_five_minutes_and_then_a_changed_record_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Time(monkeypatch)
    addresses = ["127.0.0.1"]
    here, there = Seen(), Seen()

    def names(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (addresses[0], port))]

    sender = HttpSender(5, allow_private=True, getaddrinfo=names, clock=clock)
    async with listening(answer(200), here, None) as port:
        server = await asyncio.start_server(lambda reader, writer: moved(reader, writer, there), "127.0.0.2", port)
        try:
            url = f"http://partner.example:{port}/"
            began = clock.now
            while clock.now < began + KEPT_FOR:
                assert (await post(sender, url)).address == f"127.0.0.1:{port}"
                addresses[0] = "127.0.0.2"
                clock.now += 12.5
            assert (here.connections, here.requests) == (1, 24)
            answered = await post(sender, url)
            assert answered.attempt.accepted
            assert answered.dialled
            assert answered.address == f"127.0.0.2:{port}"
            assert here.requests == 24
        finally:
            await sender.close()
            server.close()
            await server.wait_closed()


async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    await answer(200)(Wire(reader, writer, seen))


async def test_a_request_that_is_under_way_as_its_connection_grows_old_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Time(monkeypatch)
    seen = Seen()

    async def serve(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(OK + b"content-length: 2\r\n\r\n{")
            clock.now += KEPT_FOR
            await wire.send(b"}")

    sender = HttpSender(5, allow_private=True, clock=clock)
    try:
        async with listening(serve, seen, None) as port:
            for number in (1, 2):
                answered = await post(sender, f"http://127.0.0.1:{port}/")
                assert (answered.attempt.status, answered.reply, answered.dialled) == (200, b"{}", True)
                assert seen.connections == number
    finally:
        await sender.close()
