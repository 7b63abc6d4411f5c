"""Why there was no answer, in a word: what an operator would look at first."""

from __future__ import annotations

from enum import StrEnum

import aiohttp

from agents.addresses import UnsafeAddress


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
            return Fault.BROKEN
