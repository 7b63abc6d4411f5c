"""Where webhooks may go: the addresses that a partner's host is, or resolves to."""

from __future__ import annotations

import socket

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from streams.addresses import address_of, is_public
from streams.errors import RescindError


class UnsafeAddress(RescindError):
    """A partner's host is, or resolves to, an address that is not public."""


def check_literal(host: str) -> None:
    """Refuse a host that is an IP address and not public. aiohttp asks no resolver for those, nor for what
    only looks like one: `127.1` and `2130706433` are loopback to the system, so they are refused too."""
    address = address_of(host.strip("[]"))
    if address is None:
        if ":" in host or host.replace(".", "").isdigit():
            raise UnsafeAddress(f"{host} is not an address in its usual form")
        return  # a name; the resolver will judge what it stands for
    if not is_public(address):
        raise UnsafeAddress(f"{host} is not a public address")


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses the whole answer if any address in it is not public. aiohttp dials what
    this returns, so an answer cannot change between the check and the call."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._inner.resolve(host, port, family)
        for result in results:
            address = address_of(result["host"])
            if address is None or not is_public(address):
                raise UnsafeAddress(f"{host} resolves to {result['host']}, which is not public")
        return results

    async def close(self) -> None:
        await self._inner.close()
