"""Heads of answers: how much of one is read, and what is told of one that is not HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.response_heads import HEAD_CAP, LINES_CAP, Head, fault
from agents.webhooks import Answer, HttpSender
from streams import signing
from tests.misbehaving import OK, Seen, Serve, Wire, close, listening, saying
from tests.unit.fakes import written_notice

SECRET = signing.new_secret()
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
RESULTS = b'{"results": [{"id": "n0", "status": "received"}]}'
LENGTH = b"content-length: %d\r\n" % len(RESULTS)
TOO_LONG = "the answer is not HTTP: the head of the answer is longer than 64 KiB"
TOO_MANY = "the answer is not HTTP: the head of the answer has more than 1,000 lines"


async def answered(serve: Serve) -> Answer:
    sender = HttpSender(5, allow_private=True)
    try:
        async with listening(serve, Seen(), None) as port:
            payload = sender.payload([written_notice()], single=False, gzip=False)
            return await sender.send(f"http://127.0.0.1:{port}/", (SECRET,), "msg_1", payload, datetime.now(UTC))
    finally:
        await sender.close()


def long_head(size: int, *, begin: bytes = b"x-long: ") -> bytes:
    """A head of so many bytes, most of them in one header."""
    frame = OK + LENGTH + begin + b"\r\n\r\n"
    return OK + LENGTH + begin + b"y" * (size - len(frame)) + b"\r\n\r\n"


def many_lines(count: int) -> bytes:
    """A head of so many headers."""
    return OK + LENGTH + b"".join(b"x-%d: y\r\n" % number for number in range(count - 1)) + b"\r\n"


def long_reason(size: int) -> bytes:
    frame = b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\n"
    return b"HTTP/1.1 200 " + b"y" * (size - len(frame)) + b"\r\n" + LENGTH + b"\r\n"


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (long_head(20_000), None),
        (long_head(HEAD_CAP), None),
        (long_head(HEAD_CAP + 1), TOO_LONG),
        (long_head(HEAD_CAP, begin=b"set-cookie: a="), None),
        (long_reason(HEAD_CAP), None),
        (long_reason(HEAD_CAP + 1), TOO_LONG),
        (many_lines(200), None),
        (many_lines(LINES_CAP), None),
        (many_lines(LINES_CAP + 1), TOO_MANY),
        (many_lines(LINES_CAP).replace(b"\r\n", b"\n"), None),
        (many_lines(LINES_CAP + 1).replace(b"\r\n", b"\n"), TOO_MANY),
        (b"HTTP/1.1 103 Early Hints\r\nlink: " + b"l" * 40_000 + b"\r\n\r\n" + long_head(HEAD_CAP), None),
        (b"HTTP/1.1 103 Early Hints\r\nlink: " + b"l" * HEAD_CAP + b"\r\n\r\n" + long_head(300), TOO_LONG),
    ],
    ids=lambda value: f"{len(value)} bytes, {len(value.splitlines())} lines" if isinstance(value, bytes) else "",
)  # fmt: skip
@pytest.mark.parametrize("size", [10**6, 1000])
async def test_how_long_a_head_may_be(head: bytes, error: str | None, size: int) -> None:
    async def serve(wire: Wire) -> None:
        await wire.request()
        whole = head + RESULTS
        for start in range(0, len(whole), size):
            await wire.send(whole[start : start + size])
            await asyncio.sleep(0)
        await wire.silence()

    answer = await answered(serve)
    assert (answer.attempt.status, answer.attempt.error) == ((200, None) if error is None else (None, error))
    assert answer.reply == (b"" if error else RESULTS)


#: What a partner sends, and what is told of it; None if it is taken.
HEADS: dict[bytes, str | None] = {
    b"http/1.1 200 OK\r\n\r\n": "the status line begins with 'http/1.1' and not with HTTP/1.1",
    b"Http/1.1 200 OK\r\n\r\n": "the status line begins with 'Http/1.1' and not with HTTP/1.1",
    b"HTTP/1 200 OK\r\n\r\n": "the status line begins with 'HTTP/1' and not with HTTP/1.1",
    b"HTTP/1.2 200 OK\r\n\r\n": "the status line begins with 'HTTP/1.2' and not with HTTP/1.1",
    b"HTTP/2 200 OK\r\n\r\n": "the status line begins with 'HTTP/2' and not with HTTP/1.1",
    b"HTTPS/1.1 200 OK\r\n\r\n": "the status line begins with 'HTTPS/1.1' and not with HTTP/1.1",
    b"HTTP 200 OK\r\n\r\n": "the status line begins with 'HTTP' and not with HTTP/1.1",
    b"HTTP/1.1\t200 OK\r\n\r\n": "the status line begins with 'HTTP/1.1?200' and not with HTTP/1.1",
    b"ICY 200 OK\r\n\r\n": "it begins with 'ICY' and not with HTTP/1.1",
    b"Status: 200 OK\r\n\r\n": "it begins with 'Status:' and not with HTTP/1.1",
    b'{"results": []}': "it begins with '{\"results\":' and not with HTTP/1.1",
    b"<html>\r\n": "it begins with '<html>' and not with HTTP/1.1",
    b" HTTP/1.1 200 OK\r\n\r\n": "it begins with ' HTTP/1.1 200 OK' and not with HTTP/1.1",
    b"220 mail.example ESMTP\r\n": "it begins with '220' and not with HTTP/1.1",
    b"\xff\xfe\x00": "it begins with '???' and not with HTTP/1.1",
    b"\x15\x03\x01\x00\x02\x02\x46": "it speaks TLS; the URL must begin with https://",
    b"HTTP/1.1 20 OK\r\n\r\n": "the status in 'HTTP/1.1 20 OK' is not of three digits",
    b"HTTP/1.1 2000 OK\r\n\r\n": "the status in 'HTTP/1.1 2000 OK' is not of three digits",
    b"HTTP/1.1 200OK\r\n\r\n": "the status in 'HTTP/1.1 200OK' is not of three digits",
    b"HTTP/1.1 -20 OK\r\n\r\n": "the status in 'HTTP/1.1 -20 OK' is not of three digits",
    b"HTTP/1.1 abc OK\r\n\r\n": "the status in 'HTTP/1.1 abc OK' is not of three digits",
    b"HTTP/1.1  200 OK\r\n\r\n": "more than one space stands before the status",
    OK + b"X-Foo : 1\r\n\r\n": "a space stands before the colon of header 'X-Foo'",
    OK + b"X-Foo\t: 1\r\n\r\n": "a space stands before the colon of header 'X-Foo'",
    OK + b"a: b\r\nX-Foo  : 1\r\n\r\n": "a space stands before the colon of header 'X-Foo'",
    OK + b"no header\r\n\r\n": "the line 'no header' is no header: it has no colon",
    OK + b": x\r\n\r\n": "the line ': x' is no header: it has no name",
    OK + b"a(b: x\r\n\r\n": "the name of header 'a(b' holds what may not stand there",
    OK + b"a b: x\r\n\r\n": "the name of header 'a b' holds what may not stand there",
    OK + "é: x\r\n\r\n".encode(): "the name of header '??' holds what may not stand there",
    OK + b"a: \0\r\n\r\n": "header 'a' holds a zero byte",
    OK + b"a: b\rc: d\r\n\r\n": "header 'a' holds a carriage return without a line feed",
    b"HTTP/1.1 200 OK\r\rA: b\r\r": "a line of the head ends with a carriage return without a line feed",
    OK + b"content-length: -1\r\n\r\n": "its Content-Length is '-1' and not a number of bytes",
    OK + b"content-length: +1\r\n\r\n": "its Content-Length is '+1' and not a number of bytes",
    OK + b"content-length: \r\n\r\n": "its Content-Length is '' and not a number of bytes",
    OK + b"content-length: 0, 0\r\n\r\n": "its Content-Length is '0, 0' and not a number of bytes",
    OK + b"content-length: " + b"9" * 30 + b"\r\n\r\n": f"its Content-Length is '{'9' * 30}' and not a number of bytes",
    OK + b"content-length: 0\r\nContent-Length: 0\r\n\r\n": "it has more than one Content-Length",
    OK + b"Content-Length: 0\r\n" + CHUNKED[17:]: "it has both a Content-Length and a Transfer-Encoding",
    CHUNKED + b"zz\r\n": "the size of a chunk of the body is not a hexadecimal number on a line of its own",
    CHUNKED + b"-1\r\n": "the size of a chunk of the body is not a hexadecimal number on a line of its own",
    CHUNKED + b"f" * 20 + b"\r\n": "the size of a chunk of the body is not a hexadecimal number on a line of its own",
    CHUNKED + b"1\r\n{}}}\r\n": "a chunk of the body is longer than its size says",
    CHUNKED + b"1;\0\r\n": "the extension of a chunk of the body holds what may not stand there",
    CHUNKED + b"0\r\nbad\r\n\r\n": "a line after the last chunk of the body is no header",
    # Taken, though it is not all by the letter.
    b"HTTP/1.1 200\r\n\r\n": None,
    b"HTTP/1.1 200 \r\n\r\n": None,
    b"HTTP/1.1 200 OK\na: b\n\n": None,
    b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": None,
    b"HTTP/1.0 200 OK\r\n\r\n": None,
    OK + b"a: b\r\n folded\r\n\r\n": None,
    OK + b"a: b\r\n \r\n\r\n": None,
    OK + b"a: \xe9\x01\r\n\r\n": None,
}  # fmt: skip


@pytest.mark.parametrize(("said", "words"), HEADS.items(), ids=lambda value: repr(value)[:40])
async def test_what_is_told_of_it(said: bytes, words: str | None) -> None:
    attempt = (await answered(saying(said, close))).attempt
    if words is None:
        assert (attempt.status, attempt.error) == (200, None)
    else:
        assert (attempt.status, attempt.error) == (None, f"the answer is not HTTP: {words}")


@given(st.binary(max_size=300))
def test_something_is_told_of_anything(head: bytes) -> None:
    words = fault(head)
    assert words
    assert words.isprintable()


@given(st.lists(st.integers(1, 50), max_size=40), st.sampled_from([b"\r\n", b"\n"]))
def test_a_head_ends_where_it_does_however_it_comes(sizes: list[int], line: bytes) -> None:
    text = line + b"HTTP/1.1 200 OK" + line + b"a: b" + line + b"c: d" + line + line
    whole = text + b"the body" + line + line
    head, start, taken = Head(), 0, 0
    for size in [*sizes, len(whole)]:
        piece = whole[start : start + size]
        taken += head.take(piece, 0)
        start += size
        assert head.fault() is None
        if head.complete:
            break
    assert head.complete
    assert bytes(head.data) == text
    assert taken == len(text)
