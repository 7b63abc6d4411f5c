"""Why there was no answer, in a word: what an operator would look at first. And whether the fault is our own.

What ends an attempt on our side of the network (no descriptors, no memory, no route) says nothing of the partner. It
is no attempt at all: no failure of the partner's, and nothing for its state.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from enum import StrEnum

import aiohttp

from agents.addresses import ResolverSilent, UnsafeAddress


class Fault(StrEnum):
    DNS = "dns"
    ADDRESS = "address_refused"  #: by us: it is not public
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    BROKEN = "broken"  #: the connection ended, or what came is not HTTP


def fault_of(error: Exception) -> Fault:
    """Of an attempt that got no answer."""
    # Subclasses before what they derive from.
    match error:
        case UnsafeAddress():
            return Fault.ADDRESS
        case TimeoutError():
            return Fault.TIMEOUT
        case aiohttp.ClientConnectorDNSError():
            return Fault.DNS
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return Fault.TLS
        case aiohttp.ClientConnectorError():
            return Fault.CONNECT
        case _:
            # By TLS 1.3 a partner that requires a client certificate says so after the handshake.
            return Fault.BROKEN if tls_error(error) is None else Fault.TLS


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """How TLS failed, if it was that."""
    # The client's own classes derive from it, too, and know nothing.
    found = (each for each in _chain(error) if not isinstance(each, aiohttp.ClientConnectorError))
    return next((each for each in found if isinstance(each, ssl.SSLError)), None)


NO_DESCRIPTOR = "this host has no file descriptors left"
NO_MEMORY = "this host has no memory left"
NO_THREAD = "this host lets no further thread start"
NO_DISK = "this host's disk is full"
NO_PORT = "this host has no local port or address left to connect from"
NO_ROUTE = "this host has no route to the partner"
NO_RESOLVER = "this host's resolver answers nobody"

#: Errors of the system that are ours whoever we talk to.
OURS = {
    errno.EMFILE: NO_DESCRIPTOR,
    errno.ENFILE: NO_DESCRIPTOR,
    errno.ENOMEM: NO_MEMORY,
    errno.ENOBUFS: NO_MEMORY,
    errno.ENOSPC: NO_DISK,
    errno.EDQUOT: NO_DISK,
    errno.EADDRNOTAVAIL: NO_PORT,
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: NO_ROUTE,
    errno.ENETDOWN: NO_ROUTE,
}


def own_fault(error: BaseException) -> str | None:
    """Why an attempt failed on our side, in words; None if the fault is the partner's, or may be.

    Where several addresses of one partner were tried, it is ours only if each of them failed by our fault: a host
    without IPv6 whose partner refuses by IPv4 has reached that partner.

    >>> own_fault(OSError(errno.EMFILE, "Too many open files"))
    'this host has no file descriptors left'
    >>> own_fault(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
    """
    if isinstance(error, BaseExceptionGroup):
        found = [own_fault(each) for each in error.exceptions]
        return found[0] if all(found) else None
    for each in _chain(error):
        if (reason := _own(each)) is not None:
            return reason
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it wraps or comes of, the outermost first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = getattr(each, "os_error", None)
        waiting += [inner if isinstance(inner, BaseException) else None, each.__cause__]


def _own(error: BaseException) -> str | None:
    reason = None
    match error:
        case MemoryError():
            reason = NO_MEMORY
        case RuntimeError(args=("can't start new thread",)):
            reason = NO_THREAD
        case ResolverSilent():
            reason = NO_RESOLVER
        case socket.gaierror(errno=number):
            # The resolver has numbers of its own.
            reason = NO_MEMORY if number == socket.EAI_MEMORY else None
        case OSError(errno=int(number)):
            reason = OURS.get(number)
        case OSError():
            reason = _of_each_address(str(error))
        case BaseExceptionGroup():
            reason = own_fault(error)
    return reason


def _of_each_address(text: str) -> str | None:
    """Addresses that failed unlike each other come as one error without a number, its text the texts of all; see
    `aiohappyeyeballs.start_connection`."""
    found = [OURS.get(int(number)) for number in re.findall(r"\[Errno (\d+)\]", text)]
    return found[0] if found and all(found) else None
