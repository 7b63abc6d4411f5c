"""The webhook: notices as CloudEvents, signed by Standard Webhooks, and what a partner may reply."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol

import aiohttp
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from yarl import URL

from agents.addresses import PublicResolver, UnsafeAddress, check_literal
from agents.retrying import Attempt
from streams import signing
from streams.cloudevents import SOURCE, explain
from streams.errors import RescindError
from streams.events import AckStatus, Notice, Outcome, RefusalReason

log = logging.getLogger(__name__)

NOTICE_TYPE = "io.rescind.notice"
#: A reply is read this far and no further.
REPLY_CAP = 1024 * 1024
#: Characters of a detail, as `streams.events.Acknowledged` takes it.
DETAIL_CAP = 1000
_USER_AGENT = "Rescind/0.1"


def _cut(text: Any) -> Any:
    return text[:DETAIL_CAP] if isinstance(text, str) else text


class ReplyItem(BaseModel):
    """One acknowledgement in a reply. Fields that we do not know are a partner's own business, and a detail
    that is too long is cut: the acknowledgement itself must not be lost over it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: str
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str | None, BeforeValidator(_cut)] = None


_REPLY_ITEM = TypeAdapter(ReplyItem)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt."""

    attempt: Attempt
    duration_ms: float
    items: tuple[ReplyItem, ...] = ()


class Sender(Protocol):
    """The seam for other dialects than Standard Webhooks."""

    async def send(
        self,
        url: str,
        secret: str,
        webhook_id: str,
        notices: Sequence[Notice],
        *,
        single: bool,
        now: datetime,
    ) -> Answer:
        """One attempt. Never raises for what a partner does."""
        ...


def body_of(notices: Sequence[Notice], *, single: bool) -> tuple[bytes, str]:
    """The body and its media type: a CloudEvents batch, or one event for a partner that takes one."""
    events = [_event(notice) for notice in notices]
    if single:
        return orjson.dumps(events[0], option=orjson.OPT_UTC_Z), "application/cloudevents+json"
    return orjson.dumps(events, option=orjson.OPT_UTC_Z), "application/cloudevents-batch+json"


def _event(notice: Notice) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": notice.id,
        "source": SOURCE,
        "type": NOTICE_TYPE,
        "subject": notice.subject,
        "time": notice.issued_at,
        "datacontenttype": "application/json",
        "data": {
            "action": notice.action,
            "subject": notice.subject,
            "purpose": notice.purpose,
            "occurred_at": notice.occurred_at,
            "issued_at": notice.issued_at,
            "receive_by": notice.receive_by,
            "complete_by": notice.complete_by,
            "toggle_id": notice.toggle_id,
        },
    }


def parse_reply(body: bytes) -> tuple[ReplyItem, ...]:
    """The acknowledgements in a reply's body. Anything else in it is no acknowledgement, and no error:
    the 2xx alone says "received"."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ()
    results = parsed.get("results") if isinstance(parsed, dict) else None
    if not isinstance(results, list):
        return ()
    items = []
    refused: list[str] = []
    for result in results:
        try:
            item = _REPLY_ITEM.validate_python(result)
        except ValidationError as error:
            refused.append(explain(error))
        else:
            items.append(item)
    if refused:
        # One line a reply, whatever it holds: a partner does not decide how much we log.
        log.warning("%d items of a reply are no acknowledgements; the first: %.300r", len(refused), refused[0])
    return tuple(items)


class HttpSender:
    """Standard Webhooks over HTTP(S). Bounded in time and in what it reads; follows no redirect; takes no
    proxy from the environment."""

    def __init__(self, timeout: float, *, allow_private: bool) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        url: str,
        secret: str,
        webhook_id: str,
        notices: Sequence[Notice],
        *,
        single: bool,
        now: datetime,
    ) -> Answer:
        body, media_type = body_of(notices, single=single)
        headers = {"content-type": media_type, "user-agent": _USER_AGENT}
        try:
            headers |= signing.headers(secret, webhook_id, now, body)
        except RescindError as error:
            return Answer(Attempt(None, str(error)), 0.0)
        started = time.perf_counter()
        attempt, reply = await self._post(url, headers, body)
        duration_ms = (time.perf_counter() - started) * 1000
        return Answer(attempt, duration_ms, parse_reply(reply) if attempt.accepted else ())

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> tuple[Attempt, bytes]:
        try:
            if not self._allow_private:
                check_literal(URL(url).host or "")
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as response:
                reply = await self._read(response)
                error = None if 200 <= response.status < 300 else _words(response.status, reply)
                return Attempt(response.status, error, response.headers.get("retry-after")), reply
        except TimeoutError:
            return Attempt(None, "no complete answer in time"), b""
        except (aiohttp.ClientError, UnsafeAddress, OSError, ValueError) as error:
            return Attempt(None, explained(error)), b""
        except Exception as error:
            # Whatever a partner provokes in the client is its own failed attempt, and nobody else's trouble.
            log.exception("an attempt failed in a way that nobody expected")
            return Attempt(None, f"{type(error).__name__}: {error}"[:1000]), b""

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.content.readexactly(REPLY_CAP)
        except asyncio.IncompleteReadError as short:
            return short.partial

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._allow_private else PublicResolver()
            connector = aiohttp.TCPConnector(resolver=resolver, limit=0, limit_per_host=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def explained(error: Exception) -> str:
    """Why there was no answer, in words for an operator, not for whoever knows the HTTP library."""
    # Subclasses before what they derive from.
    match error:
        case aiohttp.ClientConnectorDNSError():
            text = f"the host name cannot be resolved: {error.os_error}"
        case aiohttp.ClientConnectorCertificateError():
            text = f"TLS: the certificate is not valid: {error.certificate_error}"
        case aiohttp.ClientConnectorSSLError():
            text = f"TLS: {error.os_error}"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            text = f"cannot connect: {os.strerror(number) if number else error.os_error}"
        case aiohttp.ServerDisconnectedError():
            text = "the connection was closed before there was an answer"
        case aiohttp.ClientResponseError():
            first, *_ = error.message.strip().splitlines() or ["no status line"]
            text = f"the answer is not HTTP: {first.rstrip(':')}"
        case aiohttp.ClientPayloadError():
            text = "the answer ended before it was complete"
        case UnsafeAddress():
            text = str(error)
        case OSError():
            text = f"the connection broke: {error.strerror or error}"
        case _:
            text = f"{type(error).__name__}: {error}"
    return text[:1000]


def _words(status: int, reply: bytes) -> str:
    text = " ".join(reply[:500].decode("utf-8", "replace").split())
    return f"HTTP {status}: {text}" if text else f"HTTP {status}"
