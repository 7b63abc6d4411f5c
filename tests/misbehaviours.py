"""Partners that misbehave and what must come of each: one table.

    python -m tests.misbehaviours

serves all of it for as long as its standard input stays open, and first writes where, as JSON by name.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.judging import AttemptVerdict as Verdict
from tests import misbehaving as how
from tests.misbehaving import NOTHING, OK, Seen, Serve, Wire, answer, flooding, saying, trickling

#: Bytes that a flood may get rid of: what we read, and what lies in the buffers of both sides.
FLOOD_CAP = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    name: str
    serve: Serve
    #: Of the last attempt, with more than one notice.
    verdict: Verdict
    #: What an operator reads of it: a regular expression. Empty: nothing.
    words: str = ""
    #: Whether it is only the clock that ends the attempt.
    slow: bool = False
    attempts: int = 1
    #: How many requests the partner saw then.
    requests: int = 1
    #: Acknowledgements that came of it.
    acknowledged: int = 0
    #: Seconds until the next attempt, at the least, where the partner has a say in that.
    wait: float | None = None
    notices: int = 2
    listen: how.Listen = how.listening
    #: Its certificate; None speaks plain HTTP, or nothing at all.
    tls: str | None = None
    scheme: str = ""
    host: str = "127.0.0.1"
    #: Whether partners may be private; if not, loopback may, for the test's sake.
    private: bool = True

    def url(self, port: int) -> str:
        return f"{self.scheme or ('https' if self.tls else 'http')}://{self.host}:{port}/hook"


def taken(name: str, serve: Serve, **more: Any) -> Misbehaviour:
    return Misbehaviour(name, serve, Verdict.ACCEPTED, **more)


def again(name: str, serve: Serve, words: str, **more: Any) -> Misbehaviour:
    return Misbehaviour(name, serve, Verdict.RETRY, words, **more)


def failed(name: str, serve: Serve, words: str, **more: Any) -> Misbehaviour:
    return Misbehaviour(name, serve, Verdict.FAILED, words, **more)


def refused(name: str, serve: Serve, words: str, **more: Any) -> Misbehaviour:
    return Misbehaviour(name, serve, Verdict.REFUSED, words, **more)


def late(name: str, serve: Serve, words: str = "no complete answer in time", **more: Any) -> Misbehaviour:
    never_reached = words == "no connection in time"
    return (again if never_reached else failed)(name, serve, words, slow=True, **more)


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
LONG = OK + b"content-length: 10000000000\r\n\r\n"
UPGRADE = b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
#: Of notices n0 and n1 one is answered, one is not ours, one is nonsense.
RESULTS = b'{"results": [{"id": "n0", "status": "completed"}, {"id": "x", "status": "completed"}, {"id": "n1"}]}'
MANY = b'{"results": [' + b"1," * 500_000 + b"1]}"
REPEATED = b'{"results": [' + b'{"id": "n0", "status": "received"},' * 1500 + b"1]}"
BOMB = gzip.compress(b" " * 10**8)

RESET = "the connection was reset"
CLOSED = "the connection was closed before there was an answer"
CUT = "the answer ended before it was complete"
ENDLESS = "the partner sends without end"
NOT_HTTP = "the answer is not HTTP: "
TOO_LONG, TOO_MANY = (
    NOT_HTTP + "the head of the answer " + why for why in ("is longer than 64 KiB", "has more than .*")
)
UNKNOWN = "the host name cannot be resolved: nobody knows it"
NO_ADDRESS = "the host name cannot be resolved: it has no address"
INVALID = "TLS: the certificate is not valid: "
UNHEARD: dict[str, Any] = {"requests": 0}
TWICE: dict[str, Any] = {"attempts": 2, "requests": 2}
PUBLIC_ONLY: dict[str, Any] = {"requests": 0, "private": False, "scheme": "https"}

_SILENT_OR_SLOW = (
    again(
        "refuses connections", how.close, "cannot connect: the connection was refused", listen=how.refusing, **UNHEARD
    ),
    late("drops connections", how.close, "no connection in time", listen=how.full, **UNHEARD),
    late("reads nothing", how.deaf, notices=8000, **UNHEARD),
    late("never answers", saying(b"", Wire.silence)),
    late("is silent within the head", saying(OK + b"con", Wire.silence)),
    late("is silent within the body", saying(CHUNKED + b"1\r\n{\r\n", Wire.silence)),
    late("trickles its head", trickling(OK, b"x: " + b"y" * 1000)),
    late("trickles its body", trickling(LONG, b" " * 1000)),
    late("trickles chunks", trickling(CHUNKED, b"1\r\n \r\n" * 100)),
    late("trickles 102", trickling(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100)),
)

_ENDLESS = (
    taken("sends 10 GB", flooding(LONG, b" " * 65536)),
    taken("sends chunks without end", flooding(CHUNKED, b"8000\r\n" + b" " * 0x8000 + b"\r\n")),
    taken("sends chunks of a byte without end", flooding(CHUNKED, b"1\r\n \r\n" * 4096)),
    taken("sends a chunk's extension without end", flooding(CHUNKED + b"1;", b"a=b;" * 4096)),
    taken("sends until it is closed, and never closes", flooding(OK + b"\r\n", b" " * 65536)),
    taken("sends answers without end", flooding(b"", (OK + NOTHING) * 2048)),
    failed("sends an error without end", flooding(b"HTTP/1.1 500 No\r\n\r\n", b"no " * 9999), "HTTP 500(: (no )*no?)?"),
    again("sends 100 without end", flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2048), ENDLESS),
    again("sends 103 without end", flooding(b"", EARLY * 2048), ENDLESS),
    again("sends headers without end", flooding(OK, b"a: b\r\n" * 4096), TOO_MANY),
    again("sends a header without end", flooding(OK + b"a: ", b"b" * 65536), TOO_LONG),
    again("sends a status line without end", flooding(b"HTTP/1.1 200 ", b"b" * 65536), TOO_LONG),
    again(
        "sends trailers without end", flooding(CHUNKED + b"0\r\n", b"a: b\r\n" * 4096), NOT_HTTP + "too many lines .*"
    ),
    again("sends zeros without end", flooding(b"", b"\0" * 4096), NOT_HTTP + r"it begins with '\?+…' .*"),
)

_BREAKING_OFF = (
    again("resets at once", how.reset, f"{RESET}|{CLOSED}", **UNHEARD),
    again("resets after the request", saying(b"", how.reset), RESET),
    again("resets within the head", saying(OK + b"con", how.reset), RESET),
    again("resets within the body", saying(CHUNKED + b"1\r\n{\r\n", how.reset), RESET),
    again("resets within a body of a known length", saying(LONG + b"{", how.reset), RESET),
    taken("resets after a body of no known length", saying(OK + b"\r\n" + RESULTS, how.reset), acknowledged=1),
    again("closes after the request", saying(b"", how.close), CLOSED),
    again("closes within the head", saying(OK + b"con", how.close), CLOSED),
    again("closes within the body", saying(LONG + b"{", how.close), CUT),
    again("closes within a chunk", saying(CHUNKED + b"100\r\n{", how.close), CUT),
    again("half closes without an answer", saying(b"", how.half_close), CLOSED),
    taken("half closes after its answer", saying(OK + b"\r\n" + RESULTS, how.half_close), acknowledged=1),
    # The same request is not repeated behind our back: it counts as failed, and the next attempt is ours.
    again("closes a kept connection as a request comes", how.closes_at_the_second, CLOSED, **TWICE),
    taken("closes kept connections", how.closes_after_each, **TWICE),
)

_BAD_HTTP = (
    again("speaks SSH", how.banner, NOT_HTTP + "it begins with 'SSH-2.0-OpenSSH_9.6' and not with HTTP/1.1", **UNHEARD),
    again(
        "speaks HTTP/0.9",
        saying(b"<html>hello</html>\r\n", how.close),
        NOT_HTTP + "it begins with '<html>hello</html>' .*",
    ),
    again(
        "speaks HTTP/7.3",
        saying(b"HTTP/7.3 200 OK\r\n\r\n", how.close),
        NOT_HTTP + "the status line begins with 'HTTP/7.3' .*",
    ),
    taken("speaks HTTP/1.0", saying(b"HTTP/1.0 200 OK\r\n\r\n" + RESULTS, how.close), acknowledged=1),
    again(
        "has a status of letters",
        saying(b"HTTP/1.1 abc OK\r\n\r\n", how.close),
        NOT_HTTP + "the status in 'HTTP/1.1 abc OK' is not of three digits",
    ),
    again(
        "has a chunk's size of letters",
        saying(CHUNKED + b"zz\r\n{\r\n", Wire.silence),
        NOT_HTTP + "the size of a chunk .*",
    ),
    again(
        "has a chunk longer than it says",
        saying(CHUNKED + b"1\r\n{}}}\r\n", Wire.silence),
        NOT_HTTP + "a chunk of the body is longer than its size says",
    ),
    again(
        "has a negative length",
        saying(OK + b"content-length: -1\r\n\r\n", how.close),
        NOT_HTTP + "its Content-Length is '-1' .*",
    ),
    again(
        "has two lengths",
        saying(OK + b"content-length: 1\r\n" + NOTHING + b"{}", how.close),
        NOT_HTTP + "it has more than one Content-Length",
    ),
    again(
        "has a length and chunks",
        saying(OK + b"content-length: 1\r\n" + CHUNKED[17:], how.close),
        NOT_HTTP + "it has both .*",
    ),
    again(
        "has a header that is none",
        saying(OK + b"no header\r\n\r\n", how.close),
        NOT_HTTP + "the line 'no header' is no header: it has no colon",
    ),
    again("has a NUL in a header", saying(OK + b"a: \0\r\n\r\n", how.close), NOT_HTTP + "header 'a' holds a zero byte"),
    again(
        "says 101", saying(b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx", Wire.silence), "HTTP 101"
    ),
    taken("says 100 first", saying(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + NOTHING)),
    taken("has a body longer than it says", saying(OK + b"content-length: 2\r\n\r\n{}{}{}"), **TWICE),
    taken("has a 204 with a body", saying(b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}"), **TWICE),
    taken("answers and does not read", how.never_reads_but_answers, notices=8000, **UNHEARD),
    Misbehaviour(
        "answers 413 to the head alone",
        how.answers_the_head,
        Verdict.REFUSED,
        "HTTP 413: too much",
        notices=8000,
        **UNHEARD,
    ),
    failed("answers more than it is asked", how.answers_more_than_it_is_asked, "HTTP 500", **TWICE),
)

_ELSEWHERE = (
    again("redirects to itself without end", answer(307, "location: /hook"), "HTTP 307: .* not followed; to /hook"),
    again("redirects to a private address", answer(302, "location: http://10.0.0.1/"), r"HTTP 302: .*//10\.0\.0\.1/"),
    again("redirects to a file", answer(301, "location: file:///etc/passwd"), "HTTP 301: .* to file:///etc/passwd"),
    again("redirects to nowhere", answer(308), "HTTP 308"),
)

_REPLIES = (
    taken("answers for others' notices", answer(200, body=RESULTS), acknowledged=1),
    failed("answers for its notices with an error", answer(500, body=RESULTS), "HTTP 500: {.*"),
    taken("sends a bomb of gzip", answer(200, "content-encoding: gzip", body=BOMB)),
    taken("says gzip and sends none", answer(200, "content-encoding: gzip", body=RESULTS), acknowledged=1),
    taken("replies no UTF-8", answer(200, body=b'{"results": "\xff\xfe"}')),
    taken("replies JSON nested too deep", answer(200, body=b'{"results":' * 90_000)),
    taken("replies with half a million items", answer(200, body=MANY)),
    taken("replies for one notice 1,500 times", answer(200, body=REPEATED), acknowledged=1),
    failed("refuses in no UTF-8", answer(500, body=b"\xff\xfe"), "HTTP 500: \N{REPLACEMENT CHARACTER}{2}"),
    failed("refuses in what a terminal obeys", answer(500, body=b"\x1b[2J\x07\r\nno"), r"HTTP 500: \?\[2J\? no"),
    failed("refuses in many words", answer(500, body=b"so sorry " * 9000), "HTTP 500: (so sorry ){55}so so"),
    taken("sets cookies", how.no_cookies_please, host="partner.example", **TWICE),
)

_TLS = (
    taken("has a good certificate", answer(200, body=RESULTS), acknowledged=1, tls="good"),
    again("has a certificate that it signed itself", answer(200), INVALID + "it is self-.*", tls="its own", **UNHEARD),
    again("has a certificate of nobody we know", answer(200), INVALID + "its issuer .*", tls="unknown", **UNHEARD),
    again("has a certificate that expired", answer(200), INVALID + "it has expired", tls="expired", **UNHEARD),
    again("has a certificate of another address", answer(200), INVALID + ".* another address", tls="other", **UNHEARD),
    again(
        "has a certificate of another name", answer(200), INVALID + "it is for another host",
        tls="other", host="partner.example", **UNHEARD,
    ),
    again("speaks plain HTTP for TLS", how.plain, "TLS: what answers does not speak TLS", scheme="https", **UNHEARD),
    again("speaks TLS where plain HTTP is due", answer(200), CLOSED, tls="good", scheme="http", **UNHEARD),
    late("never ends the handshake", Wire.silence, "no connection in time", scheme="https", **UNHEARD),
    again("closes within the handshake", how.close, "cannot connect: .*", scheme="https", **UNHEARD),
    again("resets within the handshake", how.reset, "cannot connect: .*", scheme="https", **UNHEARD),
)  # fmt: skip

_NAMES = (
    again("has a name that nobody knows", how.close, UNKNOWN, host="unknown.example", **UNHEARD),
    again("has a name without an address", how.close, NO_ADDRESS, host="nothing.example", **UNHEARD),
    late("has a name that takes long", how.close, "no connection in time", host="slow0.example", **UNHEARD),
    again(
        "has a name with a private address too", answer(200), r"mixed\.example resolves to 10\.0\.0\.1, .* not public",
        host="mixed.example", tls="good", **PUBLIC_ONLY,
    ),
    again("has the metadata service's name", how.close, r".* 169\.254\..*", host="metadata.example", **PUBLIC_ONLY),
    again("has a private address in disguise", how.close, ".* ::ffff:10.*", host="mapped.example", **PUBLIC_ONLY),
    again("has a private address", how.close, r"10\.0\.0\.1 is not a public address", host="10.0.0.1", **PUBLIC_ONLY),
    again("has no https", answer(200), "http:// is for development only .*", **(PUBLIC_ONLY | {"scheme": "http"})),
)  # fmt: skip


def _statuses() -> Iterable[Misbehaviour]:
    for status in (401, 402, 403, 404, 405, 406, 408, 409, 411, 415, 418, 425, 451, 500, 501, 502, 504, 599, 999):
        yield failed(f"says {status}", answer(status, body=b"so\n sorry"), f"HTTP {status}: so sorry")
    yield again("says 304", answer(304), "HTTP 304")
    for status in (400, 413, 422):
        yield refused(f"says {status}", answer(status, body=b"no"), f"HTTP {status}: no")
    yield Misbehaviour("says 410", answer(410, body=b"gone"), Verdict.SUSPEND, "HTTP 410: gone")
    far = (datetime.now(UTC) + timedelta(hours=100)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for name, said, wait in (
        ("in a while", "7", 7.0),
        ("at a date", far, 3600.0),
        ("in the past", "Sat, 01 Jan 2000 00:00:00 GMT", 0.1),
        ("in a million years", "9" * 4000, 3600.0),
        ("at a date that is none", "Mon, 99 Foo 99999999999999 99:99:99 GMT", 0.1),
        ("before now", "-7", 0.1),
        ("never", "never", 0.1),
    ):
        for status in (429, 503):
            serve = answer(status, f"retry-after: {said}")
            yield again(f"says {status}, and to come again {name}", serve, f"HTTP {status}", wait=wait)
    yield failed("says 500, and to come again in a while", answer(500, "retry-after: 7"), "HTTP 500", wait=0.1)


MISBEHAVIOURS = (
    *_SILENT_OR_SLOW, *_ENDLESS, *_BREAKING_OFF, *_BAD_HTTP, *_ELSEWHERE, *_REPLIES, *_TLS, *_NAMES, *_statuses()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Partner:
    url: str
    seen: Seen = field(default_factory=Seen)


@asynccontextmanager
async def misbehaving(kind: Misbehaviour) -> AsyncIterator[Partner]:
    """A partner of that kind, in this event loop."""
    seen = Seen()
    async with kind.listen(kind.serve, seen, how.certificate(kind.tls) if kind.tls else None) as port:
        yield Partner(kind.url(port), seen)


async def main() -> None:
    async with AsyncExitStack() as stack:
        urls = {kind.name: (await stack.enter_async_context(misbehaving(kind))).url for kind in MISBEHAVIOURS}
        print(json.dumps(urls), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
