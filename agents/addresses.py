"""Where webhooks may go: the addresses that a partner's host is, or resolves to."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
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


class NoAddress(OSError):
    """A name that exists, and has no address."""


class ResolverSilent(socket.gaierror):
    """The resolver answers nobody, whatever it is asked."""


#: What there is no answer by: not "no such name", which is one.
_UNANSWERED = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL})


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
    this returns, so an answer cannot change between the check and the call.

    Where a name gets no answer, its owner's servers may be at fault, or the resolver: the resolver is asked for another
    name then, at the latest after `slow` seconds, and given as much time to answer.
    """

    def __init__(self, permits: Permits, getaddrinfo: GetAddrInfo = socket.getaddrinfo, slow: float = 5.0) -> None:
        self._permits = permits
        self._getaddrinfo = getaddrinfo
        self._slow = slow
        #: Names that are being looked up, and how often.
        self._pending: Counter[str] = Counter()
        #: Does the resolver answer anybody?
        self._control: asyncio.Task[bool] | None = None
        # Threads of its own: names that do not resolve take half a minute each, and asyncio's few are for others.
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self._pending[host] += 1
        try:
            results = await self._answered(host, port, family)
        finally:
            self._pending -= Counter([host])
        if not results:
            raise NoAddress
        for result in results:
            address = address_of(result["host"])
            if address is None or not self._permits(address):
                raise UnsafeAddress(f"{host} resolves to {result['host']}, which is not public")
        return results

    async def _answered(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._threads, self._look_up, host, port, family)
        try:
            done, _ = await asyncio.wait([looking], timeout=self._slow)
            if not done:
                self._ask_control()
            return await looking
        except socket.gaierror as error:
            if error.errno not in _UNANSWERED:
                raise
            control = self._ask_control()
            await asyncio.wait([control], timeout=self._slow)
            if _answers(control):
                raise
            raise ResolverSilent(*error.args) from error

    def silent_about(self, host: str) -> bool:
        """Is this name still being looked up, by a resolver that answers nobody?"""
        return host in self._pending and self._control is not None and not _answers(self._control)

    def _ask_control(self) -> asyncio.Task[bool]:
        if self._control is None or self._control.done():
            self._control = asyncio.ensure_future(self._answers_anybody())
        return self._control

    async def _answers_anybody(self) -> bool:
        """Ask for a name that nobody has asked for before, so that no cache answers; there is none, and to say so is
        an answer. The final dot keeps the host's own domains out of it."""
        name = f"{secrets.token_hex(8)}.arpa."
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._getaddrinfo, name, 443, 0, socket.SOCK_STREAM)
        except socket.gaierror as error:
            return error.errno not in _UNANSWERED
        except (OSError, RuntimeError):  # no descriptors, no threads: that says nothing of the resolver
            return True
        return True

    async def close(self) -> None:
        if self._control is not None:
            self._control.cancel()
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


def _answers(control: asyncio.Task[bool]) -> bool:
    return control.done() and not control.cancelled() and control.result()
