"""The webhook: notices as CloudEvents, signed by Standard Webhooks, and what a partner may reply."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Protocol

import aiohttp
import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from agents.addresses import GetAddrInfo, Resolver, UnsafeAddress, check
from agents.connecting import allow_reply, dialled, peer, session, verbatim
from agents.fault_words import explained, printable
from agents.faults import NO_RESOLVER, fault_of, own_fault
from agents.reply_bodies import Body, read_body
from agents.reply_budget import reply_cap
from agents.retrying import Attempt
from streams import signing
from streams.addresses import Address, Network, may_be_dialled
from streams.cloudevents import SOURCE
from streams.errors import RescindError
from streams.events import EVIDENCE_CAP, AckStatus, Code, Outcome, RefusalReason, Vocabulary
from streams.explaining import explain
from streams.moments import Moment
from streams.vocabulary import meaning
from streams.written import WrittenNotice

log = logging.getLogger(__name__)

NOTICE_TYPE = "io.rescind.notice"
#: Items of a reply that are read: each notice of the largest request may have one for each status.
ITEMS_CAP = 4 * 1000
#: Bytes of a reply that is parsed at once; and of one that took nothing, which people read.
_PARSED_AT_ONCE, _WORDS_CAP = 64 * 1024, 32 * 1024
#: Characters of a detail, as `streams.events.Acknowledged` takes it.
DETAIL_CAP = 1000
_HEADERS = {"user-agent": "Rescind/0.1", "accept-encoding": "identity"}


def _cut(text: Any) -> Any:
    return text[:DETAIL_CAP] if isinstance(text, str) else text


def _plainly_true(value: Any) -> bool:
    return value is True


def _fitting(evidence: Any) -> Any:
    try:
        fits = isinstance(evidence, dict) and len(orjson.dumps(evidence)) <= EVIDENCE_CAP
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return None
    return evidence if fits else None


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


class ReplyItem(BaseModel):
    """One acknowledgement in a reply. Fields that we do not know are a partner's own business; a detail that is too
    long is cut, and what is no evidence that we keep, or no time, is left out: the acknowledgement itself must not be
    lost over it. In the place of a status may stand a code of a public vocabulary."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: str
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str | None, BeforeValidator(_cut)] = None
    extend: Annotated[bool, BeforeValidator(_plainly_true)] = False
    expected_by: Annotated[Moment | None, WrapValidator(_or_none)] = None
    evidence: Annotated[dict[str, Any] | None, BeforeValidator(_fitting)] = None
    vocabulary: Vocabulary | None = None
    code: Annotated[Code | None, WrapValidator(_or_none)] = None
    amends: Annotated[bool, BeforeValidator(_plainly_true)] = False

    @model_validator(mode="before")
    @classmethod
    def _in_our_words(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("vocabulary") is None:
            return given
        if given.get("status") is not None:
            # Our own words count; the code is kept beside them as the partner's own.
            return {name: value for name, value in given.items() if name != "vocabulary"}
        return given | meaning(str(given["vocabulary"]), str(given.get("code")))._asdict()


_REPLY_ITEM = TypeAdapter(ReplyItem)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt. `address` is whom it went to, if it came that far, and `dialled` whether that was by a
    connection of its own. `reply` is the answer's body, unpacked. Of a 2xx it is the whole, unless `unread` says in
    words why that could not be read: then it is the beginning."""

    attempt: Attempt
    duration_ms: float
    items: tuple[ReplyItem, ...] = ()
    address: str | None = None
    reply: bytes = b""
    dialled: bool = False
    unread: str | None = None


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


def parse_reply(body: bytes) -> tuple[ReplyItem, ...]:
    """The acknowledgements in a reply's body. Anything else in it is no acknowledgement, and no error:
    the 2xx alone says "received"."""
    if not body:
        return ()
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ()
    results = parsed.get("results") if isinstance(parsed, dict) else None
    if not isinstance(results, list):
        return ()
    items = []
    first: ValidationError | None = None
    for result in results[:ITEMS_CAP]:
        try:
            items.append(_REPLY_ITEM.validate_python(result))
        except ValidationError as error:
            first = first or error
    if len(items) < len(results):
        # One line a reply, whatever it holds: a partner does not decide how much we log.
        why = f"too many at once; {ITEMS_CAP} are read" if first is None else f"the first: {explain(first)!r:.300}"
        log.warning("%d items of a reply are no acknowledgements; %s", len(results) - len(items), why)
    return tuple(items)


class HttpSender:
    """Standard Webhooks over HTTP(S). Bounded in time and in what it reads; follows no redirect; takes no
    proxy from the environment.

    `timeout` is how many seconds an attempt may take in all. A third of it is enough to connect, and two thirds
    without a byte are too many. `allow_private` lets partners have http:// and any address; otherwise the address is
    public or in one of the `networks`. `tls` says whom to trust; None means whom the system trusts. By the `clock`, in
    seconds, connections grow old.
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
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=timeout / 3, sock_read=timeout * 2 / 3)
        self._allow_private = allow_private
        self._tls = tls
        self._clock = clock
        self._permits = _anything if allow_private else functools.partial(may_be_dialled, networks=networks)
        self._resolver = Resolver(self._permits, getaddrinfo, timeout / 3)
        self._session: aiohttp.ClientSession | None = None
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="replies")

    async def close(self) -> None:
        self._parser.shutdown(wait=False, cancel_futures=True)
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
        items: tuple[ReplyItem, ...] = ()
        if attempt.accepted and read.unread is None:
            items = await self._parsed(read.content)
        return Answer(attempt, duration_ms, items, address, read.content, dialled.get(), read.unread)

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

    async def _parsed(self, reply: bytes) -> tuple[ReplyItem, ...]:
        # A long one takes its time, and many times its size of memory: one at a time.
        with contextlib.suppress(RuntimeError):  # this host lets no further thread start
            if len(reply) > _PARSED_AT_ONCE:
                return await asyncio.get_running_loop().run_in_executor(self._parser, parse_reply, reply)
        return parse_reply(reply)

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
        return f"HTTP {response.status}: redirects are not followed; to {printable(location[:200])}"
    if read.packed:
        return f"HTTP {response.status}, in words that are {read.unread}"
    text = printable(read.content[:500].decode("utf-8", "replace"))
    return f"HTTP {response.status}: {text}" if text else f"HTTP {response.status}"
