"""Which addresses a partner may have. Fails closed: what is not plainly public is refused."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from streams.errors import RescindError


class UnsafeAddress(RescindError):
    """A partner's host is, or resolves to, an address that is not public."""


def is_public(address: str) -> bool:
    """By the IANA special-purpose registries, as the standard library holds them; an IPv4 address inside
    an IPv6 one (mapped, 6to4, Teredo, NAT64) counts as itself."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast


def check_literal(host: str) -> None:
    """Refuse a host that is an IP address and not public. aiohttp asks no resolver for those, nor for what
    only looks like one: `127.1` and `2130706433` are loopback to the system, so they are refused too."""
    try:
        public = is_public(host.strip("[]"))
    except ValueError:
        if ":" in host or host.replace(".", "").isdigit():
            raise UnsafeAddress(f"{host} is not an address in its usual form") from None
        return  # a name; the resolver will judge what it stands for
    if not public:
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
            if not is_public(result["host"]):
                raise UnsafeAddress(f"{host} resolves to {result['host']}, which is not public")
        return results

    async def close(self) -> None:
        await self._inner.close()
