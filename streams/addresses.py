"""Which IP addresses are public. Fails closed: what is not plainly public is refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: All that IANA gives out for anybody to be reached at (RFC 4291 section 2.4).
_UNICAST = ipaddress.ip_network("2000::/3")
#: What the standard library calls global, in some of its versions at least, and where no partner is.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments (RFC 6890); a cloud's metadata service stands in there
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "168.63.129.16/32",  # the host of a virtual machine in Azure
        "2001::/23",  # protocol assignments, Teredo among them (RFC 2928)
        "3fff::/20",  # documentation (RFC 9637)
    )
)


def address_of(host: str) -> Address | None:
    """The address that a host is written as, without its zone; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def may_be_dialled(address: Address, networks: Sequence[Network]) -> bool:
    """Whether it is public, or in a network that the operator allows."""
    return is_public(address) or any(_inner(address) in network for network in networks)


def is_public(address: Address) -> bool:
    """By the IANA special-purpose registries, as the standard library holds them, and what it holds not yet. An IPv4
    address inside an IPv6 one (mapped, 6to4, NAT64) counts as itself: it is where packets go."""
    inner = _inner(address)
    if isinstance(inner, ipaddress.IPv6Address) and inner not in _UNICAST:
        return False
    return inner.is_global and not inner.is_multicast and not any(inner in network for network in _NEVER)


def _inner(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
