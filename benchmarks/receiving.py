"""Partners' servers that cost little, so that what is measured is the sender: they read the JSON that they get, as
everybody must, and do nothing with it.

    python -m benchmarks.receiving PARTNERS

serves so many in a process of its own, for as long as its standard input stays open; writes their ports, and then a
line for each line that it is sent: how many requests came until then.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import cast

import orjson
import uvloop

_TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Receiver(asyncio.Protocol):
    """Takes one request after the other on its connection, and answers 200 unless `take` says otherwise. It knows
    nothing of HTTP but what our sender sends."""

    def __init__(self, take: Callable[[bytes], bool]) -> None:
        self._take = take
        self._data = bytearray()
        self._wanted = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._wanted:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            length = bytes(self._data[:end]).lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._wanted = end + 4 + int(length)
        if len(self._data) >= self._wanted:
            body = bytes(self._data[self._data.index(b"\r\n\r\n") + 4 :])
            self._data.clear()
            self._wanted = 0
            if self._take(body):
                self._transport.write(_TAKEN)


async def receiving(takes: Sequence[Callable[[bytes], bool]]) -> list[tuple[asyncio.Server, str]]:
    """A server for each, and where it is."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda take=take: Receiver(take), "127.0.0.1", 0) for take in takes]  # type: ignore[misc]
    return [(server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") for server in servers]


async def main(partners: int) -> None:
    requests = 0

    def take(body: bytes) -> bool:
        nonlocal requests
        orjson.loads(body)
        requests += 1
        return True

    print(*(url for _, url in await receiving([take] * partners)), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(requests, flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
