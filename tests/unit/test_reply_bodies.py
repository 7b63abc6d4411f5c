"""What is read of the body of an answer: real partners on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson
import pytest

from agents.connecting import wire_cap
from agents.replies import Reply, read
from agents.reply_bodies import KEPT
from agents.reply_budget import reply_cap
from agents.webhooks import Answer, HttpSender
from streams import signing
from streams.events import EVIDENCE_CAP
from tests.misbehaving import OK, Seen, Serve, Wire, answer, flooding, listening, saying
from tests.unit.fakes import written_notice

SECRET = signing.new_secret()


@asynccontextmanager
async def sending(timeout: float = 10.0) -> AsyncIterator[HttpSender]:
    sender = HttpSender(timeout, allow_private=True)
    try:
        yield sender
    finally:
        await sender.close()


async def post(sender: HttpSender, port: int, notices: int) -> Answer:
    payload = sender.payload([written_notice(number) for number in range(notices)], single=False, gzip=False)
    return await sender.send(f"http://127.0.0.1:{port}/", (SECRET,), "msg_1", payload, datetime.now(UTC))


async def answered(serve: Serve, notices: int = 2) -> Answer:
    async with sending() as sender, listening(serve, Seen(), None) as port:
        return await post(sender, port, notices)


def understood(got: Answer, notices: int) -> Reply:
    return read(got.reply, [f"n{number}" for number in range(notices)], got.unread)


def reply(notices: int, evidence: int, *, indent: int | None = None) -> bytes:
    """Of so many items, with so many bytes of evidence each, and a detail as long as we take one."""
    frame = len(b'{"note":""}')
    item = {"status": "completed", "outcome": "deleted", "detail": "d" * 1000}
    items = [item | {"id": f"n{number}", "evidence": {"note": "e" * (evidence - frame)}} for number in range(notices)]
    return json.dumps({"results": items}, indent=indent).encode()


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def chunked(data: bytes, size: int) -> bytes:
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


CHUNKED = OK + b"transfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("Deflate", bare),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("gzip", bytes),
    ],
)
@pytest.mark.parametrize("size", [None, 1000])
async def test_every_notice_may_bring_its_evidence(
    coding: str, pack: Callable[[bytes], bytes], size: int | None
) -> None:
    body = reply(5, 15_900)
    head = b"content-encoding: " + coding.encode() + b"\r\n"
    if size is None:
        serve = answer(200, head.decode().strip(), body=pack(body))
    else:
        serve = saying(CHUNKED + head + b"\r\n" + chunked(pack(body), size))
    got = await answered(serve, 5)
    assert (got.attempt.status, got.unread, got.reply) == (200, None, body)
    assert [len(orjson.dumps(item.evidence)) for item in understood(got, 5).items] == [15_900] * 5


async def test_it_is_asked_not_to_compress() -> None:
    heads: list[bytes] = []

    async def serve(wire: Wire) -> None:
        heads.append(await wire.request())
        await wire.send(OK + b"content-length: 0\r\n\r\n")

    await answered(serve)
    assert b"\r\naccept-encoding: identity\r\n" in heads[0].lower()
    assert b"gzip" not in heads[0].lower()


async def test_what_was_compressed_on_its_way_is_unpacked() -> None:
    """RFC 9112 section 7: a transfer coding beside `chunked`."""
    body = reply(1, 100)
    head = CHUNKED.replace(b": chunked", b": gzip, chunked") + b"\r\n"
    got = await answered(saying(head + chunked(gzip.compress(body), 100)))
    assert (got.reply, got.unread, understood(got, 1).acknowledged) == (body, None, 1)


CAP = reply_cap(2)
MOST = f"longer than {CAP:,} bytes, the most for 2 notices"


@pytest.mark.parametrize(
    ("serve", "begin", "why"),
    [
        (answer(200, body=b" " * CAP), b" " * CAP, None),
        (answer(200, body=b" " * (CAP + 1)), b" " * KEPT, MOST),
        (saying(CHUNKED + b"\r\n" + chunked(b" " * CAP, 100)), b" " * CAP, None),
        (saying(CHUNKED + b"\r\n" + chunked(b" " * (CAP + 1), 100)), b" " * KEPT, MOST),
        (answer(200, "content-encoding: gzip", body=gzip.compress(b" " * CAP)), b" " * CAP, None),
        (answer(200, "content-encoding: gzip", body=gzip.compress(b" " * (CAP + 1))), b" " * KEPT, MOST),
        (answer(200, "content-encoding: gzip", body=gzip.compress(bytes(10**8))), bytes(KEPT), MOST),
        (flooding(OK + b"\r\n", b" " * 65536), b" " * KEPT, MOST),
        (flooding(CHUNKED + b"\r\n", b"1\r\n \r\n" * 4096), None,
         f"longer than {wire_cap(CAP):,} bytes on its way, the most for 2 notices"),
        (answer(200, "content-encoding: br", body=b"brotli"), b"brotli",
         "compressed with br, which was not asked for"),
        (answer(200, "content-encoding: br", body=b"b" * CAP), b"b" * KEPT,
         "compressed with br, which was not asked for"),
        (answer(200, "content-encoding: gzip", body=gzip.compress(b"{}" * 2000)[:-8]), b"{}" * 2000,
         "its gzip ends too early"),
        (answer(200, "content-encoding: gzip", body=gzip.compress(b"{}" * 2000)[:-4] + b"1234"), b"",
         "its gzip is damaged"),
    ],
)  # fmt: skip
async def test_what_is_not_read_whole_is_taken_and_told(serve: Serve, begin: bytes | None, why: str | None) -> None:
    got = await answered(serve)
    assert got.attempt.accepted
    assert got.unread == why
    assert begin is None or got.reply == begin
    said = understood(got, 2)
    assert (said.items, said.not_understood) == ((), 0 if why is None else 2)
    assert why is None or (said.problem is not None and why in said.problem.reason)


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        (answer(500, "content-encoding: gzip", body=gzip.compress(b"so sorry")), "HTTP 500: so sorry"),
        (answer(500, "content-encoding: deflate", body=bare(b"so sorry")), "HTTP 500: so sorry"),
        (answer(400, "content-encoding: gzip", body=gzip.compress(b"no " * 10**7)), "HTTP 400: " + "no " * 166 + "no"),
        (answer(500, "content-encoding: gzip", body=gzip.compress(b"so sorry" * 99)[:-9]), "HTTP 500: so sorry.*"),
        (answer(500, "content-encoding: br", body=b"\x0b\x02\x80"),
         "HTTP 500; its body is compressed with br, which was not asked for"),
        # Bytes that are no text, and what a terminal would obey: neither the log nor a terminal can take them.
        (saying(b"HTTP/1.1 500 No\r\ncontent-encoding: \xff\x1b[1m\r\ncontent-length: 2\r\n\r\nno"),
         r"HTTP 500; its body is compressed with \?\?\[1m, which was not asked for"),
        (flooding(b"HTTP/1.1 500 No\r\n\r\n", b"no " * 9999), "HTTP 500: (no )+no"),
    ],
)  # fmt: skip
async def test_the_words_of_an_error_are_unpacked(serve: Serve, words: str) -> None:
    got = await answered(serve)
    assert got.unread is None
    assert re.fullmatch(words, got.attempt.error or ""), got.attempt.error


async def test_a_reply_to_the_largest_request_is_read_whole_and_holds_up_nobody() -> None:
    """18 MiB, twice compressed; and a clock that ticks meanwhile: by processor time, as the machine may stand still."""
    body = reply(1000, EVIDENCE_CAP)
    assert len(body) > 16 * 1024 * 1024
    packed = gzip.compress(gzip.compress(body, compresslevel=1))
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.process_time()
            await asyncio.sleep(0.005)
            longest = max(longest, time.process_time() - began)

    serve = answer(200, "content-encoding: gzip, gzip", body=packed)
    async with sending() as sender, listening(serve, Seen(), None) as port:
        ticking = asyncio.ensure_future(tick())
        began = time.process_time()
        got = await post(sender, port, 1000)
        took = time.process_time() - began
        ticking.cancel()
    assert (got.unread, len(got.reply), understood(got, 1000).acknowledged) == (None, len(body), 1000)
    assert took < 5.0
    assert longest < 0.5
