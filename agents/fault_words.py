"""Why there was no answer, in words for an operator: ours, and not those of the libraries that tell us."""

from __future__ import annotations

import errno
import re
import socket
import ssl

import aiohttp

from agents.addresses import NoAddress, UnsafeAddress
from agents.connecting import Flooded, NotHttp, peer
from agents.faults import NO_MEMORY, OURS, tls_error
from streams.plain_text import one_line

_SYSTEM = OURS | {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ECONNRESET: "the connection was reset",
    errno.ECONNABORTED: "the connection was given up",
    errno.EPIPE: "the connection was closed while the request was sent",
    errno.ETIMEDOUT: "the host does not answer",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.EHOSTDOWN: "the host is down",
    errno.ENETUNREACH: "the host's network cannot be reached",
    errno.ENETDOWN: "this host's network is down",
    errno.EACCES: "this host does not permit it",
    errno.EPERM: "this host does not permit it",
}

_NAMES = {
    socket.EAI_NONAME: "nobody knows it",
    socket.EAI_NODATA: "it has no address",
    socket.EAI_AGAIN: "no name server has answered",
    socket.EAI_FAIL: "the name servers have failed",
    socket.EAI_MEMORY: NO_MEMORY,
}

_CLIENT_CERTIFICATE = "the partner requires a client certificate, and Rescind has none"
_NO_TLS = "what answers does not speak TLS"
_VERSION = "the partner speaks no version of TLS that is taken here (1.2 or newer)"
_BROKEN_OFF = "the partner closed the connection without ending TLS"

#: By what OpenSSL calls a failure, without the `TLSV1_` and the like that precedes an alert; see RFC 8446 section 6.2.
_TLS = {
    "ALERT_CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "ALERT_NO_CERTIFICATE": _CLIENT_CERTIFICATE,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _CLIENT_CERTIFICATE,
    "ALERT_HANDSHAKE_FAILURE": "the partner broke off the handshake: it may require a client certificate, or share no"
    " cipher with us (handshake failure)",
    "ALERT_BAD_CERTIFICATE": "the partner refused the client certificate, and Rescind has none (bad certificate)",
    "ALERT_UNKNOWN_CA": "the partner does not trust the client certificate, and Rescind has none (unknown CA)",
    "ALERT_ACCESS_DENIED": "the partner denies access, maybe for want of a client certificate",
    "ALERT_PROTOCOL_VERSION": _VERSION,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "WRONG_SSL_VERSION": _VERSION,
    "VERSION_TOO_LOW": _VERSION,
    "ALERT_INSUFFICIENT_SECURITY": "the partner asks for stronger ciphers than ours",
    "ALERT_INTERNAL_ERROR": "the partner's TLS failed by an error of its own",
    "ALERT_UNRECOGNIZED_NAME": "the partner does not serve the host name in its URL",
    "UNRECOGNIZED_NAME": "the partner does not serve the host name in its URL",
    "ALERT_NO_APPLICATION_PROTOCOL": "the partner does not speak HTTP/1.1 over TLS",
    "NO_APPLICATION_PROTOCOL": "the partner does not speak HTTP/1.1 over TLS",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": _BROKEN_OFF,
    "DH_KEY_TOO_SMALL": "the partner's key is too short to be safe",
    "EE_KEY_TOO_SMALL": "the partner's key is too short to be safe",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "the partner asks for a renegotiation that is not safe",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what the partner sends was changed on its way",
    "BAD_RECORD_MAC": "what the partner sends was changed on its way",
}
_PREFIX = re.compile(r"(TLSV13|TLSV1|SSLV3)_(?=ALERT_|UNRECOGNIZED_NAME)")

#: By OpenSSL's numbers, https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_CERTIFICATE = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its chain ends in an authority that is not trusted here",
    2: "its issuer is unknown, or not in the chain that the partner sends",
    20: "its issuer is unknown, or not in the chain that the partner sends",
    21: "its issuer is unknown, or not in the chain that the partner sends",
    23: "it was revoked",
    24: "one of its issuers may not issue certificates",
    26: "it is not meant for a server",
    62: "it is for another host",
    64: "it is for another address",
    66: "its key is too short to be safe",
    67: "the key of one of its issuers is too short to be safe",
    68: "it is signed by a digest that is not safe",
}


def explained(error: Exception) -> str:
    """Why there was no answer, on one line."""
    return one_line(_explained(error)[:1000])


def _explained(error: Exception) -> str:
    # Subclasses before what they derive from.
    match error:
        case TimeoutError():
            text = "no complete answer in time" if peer.get() else "no connection in time"
        case aiohttp.ClientConnectorDNSError():
            text = f"the host name cannot be resolved: {_of_system(error.os_error)}"
        case NotHttp(message=why):
            text = f"the answer is not HTTP: {why}"
        case UnsafeAddress() | Flooded():
            text = str(error)
        case MemoryError():
            text = "no memory is left"
        case _:
            tls = tls_error(error)
            text = _of_connection(error) if tls is None else f"TLS: {_of_tls(tls)}"
    return text


def _of_connection(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorError():
            text = f"cannot connect: {_of_system(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            text = "the connection was closed before there was an answer"
        case aiohttp.ClientPayloadError():
            text = "the answer ended before it was complete"
        case aiohttp.ClientConnectionResetError():
            text = "the connection was closed while the request was sent"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            text = "the URL is not one that can be called"
        case OSError():
            text = _of_system(error)
        case aiohttp.ClientConnectionError():
            text = "the connection was closed while the request was sent"
        case aiohttp.ClientError():
            text = "the HTTP client failed and does not explain how"
        case _:
            text = "an error of our own, which the service's log shows"
    return text


def _of_system(error: BaseException) -> str:
    match error:
        case NoAddress():
            text = "it has no address"
        case socket.gaierror(errno=int(number)):
            # The resolver's errors have numbers apart from the system's, below zero.
            text = _NAMES.get(number, "the resolver has failed")
        case OSError(errno=int(number)):
            text = _SYSTEM.get(number) or f"the system reports an error ({errno.errorcode.get(number, number)})"
        case ConnectionResetError():
            text = _SYSTEM[errno.ECONNRESET]
        case ConnectionAbortedError():
            text = _SYSTEM[errno.ECONNABORTED]
        case BrokenPipeError():
            text = _SYSTEM[errno.EPIPE]
        case _:
            # Addresses that failed unlike each other come as one error, without a number; see `agents.faults`.
            numbers = dict.fromkeys(int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error)))
            text = "; ".join(_of_system(OSError(number, "")) for number in numbers) or "the connection failed"
    return text


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _CERTIFICATE.get(error.verify_code, f"it fails a check (OpenSSL's number {error.verify_code})")
        return f"the certificate is not valid: {why}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _BROKEN_OFF
    reason = error.reason or ""
    words = _TLS.get(_PREFIX.sub("", reason))
    if words is None:
        alert = "_ALERT_" in reason
        code = reason.rpartition("_ALERT_")[2].replace("_", " ").lower() or "no reason given"
        words = f"the partner broke it off ({code})" if alert else f"it failed ({code})"
    return words
