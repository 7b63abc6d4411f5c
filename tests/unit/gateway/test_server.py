"""The server under the application, asked through sockets: what is no HTTP, and what never ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from gateway import listening
from tests.unit.gateway.harness import PROBLEM, Gateway


@pytest.fixture
async def port(gateway: Gateway) -> AsyncIterator[int]:
    async with serving(gateway) as number:
        yield number


class serving:
    """A gateway that listens on a free port. `asked` is set by the first request."""

    def __init__(self, gateway: Gateway) -> None:
        self.asked = asyncio.Event()
        self._app = gateway.app
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = listening(self._asked, self._listener)

    async def _asked(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self._app(scope, receive, send)

    async def __aenter__(self) -> int:
        assert (await self._context.__aenter__()).startswith("http://127.0.0.1:")
        return int(self._listener.getsockname()[1])

    async def __aexit__(self, *how: Any) -> None:
        await self._context.__aexit__(*how)


async def exchange(port: int, sent: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """What is answered to some bytes: status, headers, and the problem."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /v1/toggles HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        b"POST /v1/toggles HTTP/1.1\r\nhost: x\r\ntransfer-encoding: magic\r\n\r\n",
    ],
    ids=["tls", "no host", "no length", "unknown encoding"],
)
async def test_what_is_no_http_is_a_problem(port: int, sent: bytes) -> None:
    status, headers, problem = await exchange(port, sent)
    assert (status, headers["content-type"], headers["connection"]) == (400, PROBLEM, "close")
    assert (problem["type"], problem["status"]) == ("/problems/malformed", 400)


async def test_an_unfinished_request_is_told_that_the_service_stops(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    server = serving(gateway)
    async with server as port:
        key = gateway.platform["authorization"].encode()
        head = b"POST /v1/toggles HTTP/1.1\r\nhost: x\r\nauthorization: " + key + b"\r\ncontent-length: 100\r\n\r\n{"
        asked = asyncio.create_task(exchange(port, head))
        await asyncio.wait_for(server.asked.wait(), 30)
    status, headers, problem = await asked
    assert (status, headers["content-type"], problem["detail"]) == (503, PROBLEM, "the service is stopping")
    assert not [record for record in caplog.records if record.exc_info]
