"""The webhook: notices as CloudEvents, signed by Standard Webhooks, and what a partner may reply."""

from __future__ import annotations

import functools
import gzip
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import aiohttp
import orjson

from agents.addresses import GetAddrInfo, Resolver, UnsafeAddress, check
from agents.connecting import allow_reply, dialled, peer, session, verbatim
from agents.fault_words import explained
from agents.faults import NO_RESOLVER, fault_of, own_fault
from agents.reply_bodies import Body, read_body
from agents.reply_budget import reply_cap
from agents.retrying import Attempt
from streams import signing
from streams.addresses import Address, Network, may_be_dialled
from streams.cloudevents import SOURCE
from streams.errors import RescindError
from streams.plain_text import one_line
from streams.written import WrittenNotice

log = logging.getLogger(__name__)

NOTICE_TYPE = "io.rescind.notice"
#: Bytes of a reply that took nothing, which people read.
_WORDS_CAP = 32 * 1024
#: Of JSON and pages for people, frameworks choose by `accept` what an error is told in.
_HEADERS = {
    "user-agent": "Rescind/0.1",
    "accept": "application/json, */*;q=0.5",
    "accept-encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt. `address` is whom it went to, if it came that far, and `dialled` whether that was by a
    connection of its own. `reply` is the body of its answer, with any compression undone. The whole body of a 2xx is
    there, unless `unread` says in words why the rest could not be read; of any other answer, the beginning is."""

    attempt: Attempt
    duration_ms: float
    address: str | None = None
    reply: bytes = b""
    dialled: bool = False
    unread: str | None = None

    @property
    def reached(self) -> bool:
        """Was the endpoint connected to at all?"""
        return self.dialled or self.address is not None


@dataclass(frozen=True, slots=True)
class Payload:
    """A request's body and what it is. How long a reply to it may be follows from how many `notices` it holds."""

    body: bytes
    media_type: str
    gzip: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    notices: int = 1


class Sender(Protocol):
    """The seam for other dialects than Standard Webhooks."""

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        """What would be sent: a batch, or one event for a partner that takes one."""
        ...

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: datetime) -> Answer:
        """One attempt, signed with each of the secrets. Never raises for what a partner does."""
        ...


def body_of(notices: Sequence[WrittenNotice], *, single: bool) -> tuple[bytes, str]:
    """The body and its media type: a CloudEvents batch, or one event for a partner that takes one."""
    events = [_event(notice) for notice in notices]
    if single:
        return orjson.dumps(events[0]), "application/cloudevents+json"
    return orjson.dumps(events), "application/cloudevents-batch+json"


def _event(notice: WrittenNotice) -> dict[str, Any]:
    data: dict[str, Any] = {
        "action": notice.action,
        "subject": notice.subject,
        "purpose": notice.purpose,
        "occurred_at": notice.occurred_at,
        "issued_at": notice.issued_at,
        "receive_by": notice.receive_by,
        "complete_by": notice.complete_by,
        "toggle_id": notice.toggle_id,
    }
    if notice.rank is not None:
        data["rank"] = notice.rank
    if notice.extended_complete_by is not None:
        data["extended_complete_by"] = notice.extended_complete_by
    if notice.legal_receive_by is not None:
        data["legal_receive_by"] = notice.legal_receive_by
    if notice.legal_complete_by is not None:
        data["legal_complete_by"] = notice.legal_complete_by
    if notice.suppression_completes:
        data["suppression_completes"] = True
    if notice.reminder is not None:
        data["reminder"] = notice.reminder
    if notice.datasets is not None:
        data["datasets"], data["datasets_count"] = notice.datasets, notice.datasets_count
    return {
        "specversion": "1.0",
        "id": notice.id,
        "source": SOURCE,
        "type": NOTICE_TYPE,
        "subject": notice.subject,
        "time": notice.issued_at,
        "datacontenttype": "application/json",
        "data": data,
    }


class HttpSender:
    """Standard Webhooks over HTTP(S). Bounded in time and in what it reads; follows no redirect; takes no
    proxy from the environment.

    `timeout` is how many seconds an attempt may take in all, a third of them to connect. `allow_private` lets partners
    have http:// and any address; otherwise the address is public or in one of the `networks`. `tls` says whom to trust;
    None means whom the system trusts. By the `clock`, in seconds, connections grow old.
    """

    def __init__(
        self,
        timeout: float,
        *,
        allow_private: bool,
        networks: Sequence[Network] = (),
        tls: ssl.SSLContext | None = None,
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=timeout / 3)
        self._allow_private = allow_private
        self._tls = tls
        self._clock = clock
        self._permits = _anything if allow_private else functools.partial(may_be_dialled, networks=networks)
        self._resolver = Resolver(self._permits, getaddrinfo, timeout / 3)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        return Payload(*body_of(notices, single=single), gzip, notices=len(notices))

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: datetime) -> Answer:
        headers = _HEADERS | {"content-type": payload.media_type, **payload.headers}
        body = payload.body
        try:
            if payload.gzip:
                # The signature is over what the partner's program sees, and most see it unpacked.
                headers["content-encoding"] = "gzip"
                body = gzip.compress(payload.body, compresslevel=1, mtime=0)
            headers |= signing.headers(secrets, webhook_id, now, payload.body)
        except RescindError as error:
            return Answer(Attempt(None, str(error)), 0.0)
        except MemoryError as error:
            return Answer(Attempt(None, explained(error), ours=own_fault(error)), 0.0)
        started = time.perf_counter()
        attempt, read, address = await self._post(url, headers, body, payload.notices)
        duration_ms = (time.perf_counter() - started) * 1000
        return Answer(attempt, duration_ms, address, read.content, dialled.get(), read.unread)

    async def _post(
        self, url: str, headers: dict[str, str], body: bytes, notices: int
    ) -> tuple[Attempt, Body, str | None]:
        peer.set(None)
        dialled.set(False)
        cap = reply_cap(notices)
        allow_reply(cap)
        try:
            target = verbatim(url)
            if not self._allow_private:
                check(target, self._permits)
            async with self._open().post(target, data=body, headers=headers, allow_redirects=False) as response:
                if 200 <= response.status < 300:
                    return Attempt(response.status), await read_body(response, cap, notices), peer.get()
                read = await read_body(response, _WORDS_CAP)
                error = _words(response, read)
                attempt = Attempt(response.status, error, response.headers.get("retry-after"))
                return attempt, replace(read, unread=None), peer.get()
        except Exception as error:  # noqa: BLE001 - what a partner provokes in the client is its own failed attempt
            return self._failed(error, url), Body(), peer.get()

    def _failed(self, error: Exception, url: str) -> Attempt:
        waited = isinstance(error, TimeoutError) and peer.get() is None
        silent = waited and self._resolver.silent_about(verbatim(url).raw_host or "")
        ours = NO_RESOLVER if silent else own_fault(error)
        known = isinstance(error, aiohttp.ClientError | UnsafeAddress | OSError | ValueError)
        if not known and ours is None:
            log.error("an attempt failed in a way that nobody expected", exc_info=error)
        return Attempt(None, explained(error), fault=fault_of(error) if known else None, ours=ours)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = session(self._resolver, self._timeout, self._tls, self._clock)
        return self._session


def _anything(address: Address) -> bool:
    return True


def _words(response: aiohttp.ClientResponse, read: Body) -> str:
    """What an operator reads of an answer that took nothing."""
    location = response.headers.get("location")
    if 300 <= response.status < 400 and location is not None:
        return f"HTTP {response.status}: redirects are not followed; to {one_line(location[:200])}"
    if read.packed:
        return one_line(f"HTTP {response.status}; its body is {read.unread}")
    text = one_line(read.content[:500].decode("utf-8", "replace"))
    return f"HTTP {response.status}: {text}" if text else f"HTTP {response.status}"
