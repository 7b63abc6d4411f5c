"""Where webhooks may go: the addresses that a partner's host is, or resolves to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from streams.addresses import Address, address_of
from streams.errors import RescindError

Permits = Callable[[Address], bool]
GetAddrInfo = Callable[..., Any]


class UnsafeAddress(RescindError):
    """A partner's host is, or resolves to, an address that is not public."""


class ResolverSilent(socket.gaierror):
    """The resolver answers nothing, whatever it is asked."""


def check(url: URL, permits: Permits) -> None:
    """Refuse a URL in the clear, and a host that is an IP address and not permitted. aiohttp asks no resolver for
    those, nor for what only looks like one: `127.1` and `2130706433` are loopback to the system, so they are
    refused too."""
    if url.scheme == "http":
        raise UnsafeAddress("http:// is for development only (--allow-private-partners)")
    host = url.host or ""
    address = address_of(host)
    if address is None:
        if ":" in host or host.replace(".", "").isdigit():
            raise UnsafeAddress(f"{host} is not an address in its usual form")
        return  # a name; the resolver will judge what it stands for
    if not permits(address):
        raise UnsafeAddress(f"{host} is not a public address")


class Resolver(AbstractResolver):
    """Resolves names, and refuses the whole answer if any address in it is not permitted. aiohttp dials what
    this returns, so an answer cannot change between the check and the call."""

    def __init__(self, permits: Permits, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self._permits = permits
        self._getaddrinfo = getaddrinfo
        # Threads of its own: names that do not resolve take half a minute each, and asyncio's few are for others.
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, host, port, family)
        if not results:
            raise OSError(None, "it has no address")
        for result in results:
            address = address_of(result["host"])
            if address is None or not self._permits(address):
                raise UnsafeAddress(f"{host} resolves to {result['host']}, which is not public")
        return results

    async def close(self) -> None:
        # What hangs in the resolver is not waited for.
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        found = self._getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]
