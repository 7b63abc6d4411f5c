"""Partners' endpoints at the `Sender` seam: what came, in which order, and what was answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import orjson

from agents.faults import Fault
from agents.retrying import Attempt
from agents.webhooks import Answer, Payload, body_of
from streams.written import WrittenNotice

_ADDRESS = "192.0.2.1:443"


@dataclass(frozen=True, slots=True)
class Request:
    """One that came: the how many'th, after how much time, and what is in it."""

    number: int
    after: timedelta
    url: str
    notices: tuple[WrittenNotice, ...]


Says = Callable[[Request], Answer]


def status(code: int, retry_after: str | None = None) -> Answer:
    """With an empty body."""
    error = None if code < 300 else f"HTTP {code}"
    return Answer(Attempt(code, error, retry_after), 5.0, address=_ADDRESS, dialled=True)


TAKEN = status(200)
TIMED_OUT = Answer(
    Attempt(None, "no answer within 15 s", fault=Fault.TIMEOUT), 15_000.0, address=_ADDRESS, dialled=True
)
CLOSED = Answer(
    Attempt(None, "the connection was closed without an answer", fault=Fault.BROKEN),
    5.0,
    address=_ADDRESS,
    dialled=True,
)
NOT_CONNECTED = Answer(Attempt(None, "connection refused", fault=Fault.CONNECT), 1.0)


def saying(request: Request, *items: dict[str, object]) -> Answer:
    """200, with results."""
    return Answer(Attempt(200), 5.0, address=_ADDRESS, reply=orjson.dumps({"results": items}), dialled=True)


@dataclass(slots=True)
class Endpoints:
    """A `Sender` for many partners, told apart by the host of their URLs."""

    now: Callable[[], datetime]
    start: datetime
    says: dict[str, Says] = field(default_factory=dict)
    #: By host, in order, with what was answered.
    came: dict[str, list[tuple[Request, Answer]]] = field(default_factory=dict)
    _payloads: dict[bytes, tuple[WrittenNotice, ...]] = field(default_factory=dict)

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        body, media_type = body_of(notices, single=single)
        self._payloads[body] = tuple(notices)
        return Payload(body, media_type, gzip)

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: datetime) -> Answer:
        host = urlsplit(url).hostname or ""
        partner = host.partition(".")[0]
        came = self.came.setdefault(partner, [])
        request = Request(len(came) + 1, self.now() - self.start, url, self._payloads[payload.body])
        answer = self.says[partner](request)
        came.append((request, answer))
        return answer
