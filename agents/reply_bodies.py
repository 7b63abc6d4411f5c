"""Reads the body of an answer, unpacked, up to a cap. It pauses often enough that other partners do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from agents.connecting import Flooded, wire_cap
from agents.content_coding import STEP, Undecodable, Unpacker, codings, end, unpack

#: Bytes that are unpacked before other tasks have their turn, and the fewest that a step counts for.
_TURN, _LEAST = 256 * 1024, 1024
#: Bytes that are kept of a body that is not read whole: people look at them.
KEPT = 4 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """What was read of a body, and in words why that is not all of it. With `packed` it is still compressed, by an
    unknown coding."""

    content: bytes = b""
    unread: str | None = None
    packed: bool = False


async def read_body(response: aiohttp.ClientResponse, cap: int, notices: int = 1) -> Body:
    """The body, unpacked, if it is no longer than `cap` bytes; else its beginning. Raises what the client raises, but
    never because of the content of the body."""
    unread: str | None = None
    try:
        # The last of them is stopped below, with better words.
        unpackers = [Unpacker(coding, cap + STEP) for coding in reversed(_codings(response))]
    except Undecodable as error:
        unpackers, unread = [], str(error)
    packed = unread is not None
    content = bytearray()
    try:
        await _collect(response, unpackers, cap, content)
    except Undecodable as error:
        unread = unread or str(error)
    except _Excess as error:
        unread = unread or f"{error}, the most for {_notices(notices)}"
    except Flooded:
        unread = unread or f"longer than {wire_cap(cap):,} bytes on its way, the most for {_notices(notices)}"
    return Body(bytes(content if unread is None else content[:KEPT]), unread, packed)


class _Excess(Exception):
    """A body is longer than what is read of it. Its text says so in words."""


async def _collect(
    response: aiohttp.ClientResponse, unpackers: Sequence[Unpacker], cap: int, content: bytearray
) -> None:
    """Read to the end. Raises `_Excess` where there is more, after that."""
    done = 0
    async for data in response.content.iter_any():
        for out in unpack(unpackers, data):
            content += out
            if len(content) > cap:
                raise _Excess(f"longer than {cap:,} bytes")
            done += max(len(out), _LEAST)
            if done >= _TURN:
                done = 0
                await asyncio.sleep(0)
    for out in end(unpackers):
        content += out
    if len(content) > cap:
        raise _Excess(f"longer than {cap:,} bytes")


def _codings(response: aiohttp.ClientResponse) -> tuple[str, ...]:
    """Transfer codings are applied after content codings. Of them, the client takes off `chunked` alone."""
    headers = response.headers
    return codings([*headers.getall("content-encoding", ()), *headers.getall("transfer-encoding", ())])


def _notices(count: int) -> str:
    return "1 notice" if count == 1 else f"{count:,} notices"
