"""Reading a body that is one item or a list of them, with an error for every item that is wrong.

A body is JSON by RFC 8259, but for a byte order mark, which is ignored. What partners say of their notices is read more
tolerantly, by `streams.json_text.read`: nothing else may be altered on its way in, such as a name in a toggle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from gateway.problems import Problem, pointer
from streams.errors import InvalidInput
from streams.explaining import in_words
from streams.json_text import LEVELS_CAP, read, utf8

#: Items of one request at most.
MOST = 1000
M = TypeVar("M", bound=BaseModel)

#: RFC 1952 section 2.3.1. No JSON begins so.
_GZIP = b"\x1f\x8b"
_JSON = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")


async def read_json(request: Request) -> tuple[Any, str]:
    """The parsed body and its media type."""
    return await _read(request, _strictly_read)


async def read_tolerantly(request: Request) -> Any:
    """The parsed body, read by the tolerant rules of `streams.json_text.read`. Its items must go through
    `streams.json_text.writable` before they are kept."""
    body, _ = await _read(request, read)
    return body


async def _read(request: Request, parse: Callable[[bytes], Any]) -> tuple[Any, str]:
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in _JSON:
        raise Problem(415, "unsupported-media-type", f"the body must be {_JSON[0]}, not {media_type}")
    raw = await read_bytes(request)
    if raw.startswith(_GZIP):
        raise Problem(400, "malformed", "the body is not JSON: it is compressed by gzip; send it as it is")
    try:
        return parse(raw), media_type
    except InvalidInput as error:
        raise Problem(400, "malformed", f"the body is {error}") from None


def _strictly_read(raw: bytes) -> Any:
    try:
        body = orjson.loads(utf8(raw))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error}") from None
    if _deeper(body, LEVELS_CAP):
        raise InvalidInput(f"nested more than {LEVELS_CAP} levels deep")
    return body


async def read_bytes(request: Request) -> bytes:
    """The body as it came; it may be asked for again. Raises `Problem` 415 for one that is compressed: nothing here
    unpacks it (RFC 9110 section 12.5.3 lets the answer say so by `Accept-Encoding`)."""
    codings = {coding.strip().lower() for coding in ",".join(request.headers.getlist("content-encoding")).split(",")}
    if not codings <= {"", "identity"}:
        detail = "a body with a Content-Encoding is not taken; send it uncompressed"
        raise Problem(415, "unsupported-content-encoding", detail, headers={"accept-encoding": "identity"})
    try:
        return await request.body()
    except ClientDisconnect:
        # Nobody reads this answer; it only keeps a client's lost connection from looking like our failure.
        raise Problem(400, "incomplete", "the client went away before its body was complete") from None


def _deeper(body: Any, levels: int) -> bool:
    level = [body]
    for _ in range(levels + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def items_of(body: Any, *names: str) -> list[Any]:
    """The items of a body: a list, one object, or an object whose only field, one of `names` in any letter case, is a
    list. The first name is what they are."""
    if isinstance(body, dict) and len(body) == 1 and next(iter(body)).lower() in names:
        (body,) = body.values()
    items = body if isinstance(body, list) else [body]
    if not 1 <= len(items) <= MOST:
        raise Problem(422, "invalid", f"a request carries 1 to {MOST} {names[0]}, not {len(items)}")
    return items


def parse_each(items: list[Any], parse: Callable[[Any], M], what: str) -> list[M]:
    """Parse every item, or raise one problem that names everything wrong with any of them."""
    parsed: list[M] = []
    errors: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        try:
            parsed.append(parse(item))
        except ValidationError as error:
            errors += [
                {"index": index, "pointer": pointer(found["loc"]), "detail": in_words(found)}
                for found in error.errors(include_url=False, include_input=False)
            ]
        except ValueError as error:
            errors.append({"index": index, "pointer": "", "detail": str(error)})
    if errors:
        count = len({error["index"] for error in errors})
        detail = f"{count} of {len(items)} {what} are not valid; nothing was accepted"
        raise Problem(422, "invalid", detail, errors=errors[:MOST])
    return parsed


def strictly(model: type[M]) -> Callable[[Any], M]:
    """A parser by the types of JSON: neither "5" nor true is a number, and "no" is no boolean."""
    return lambda item: model.model_validate_json(orjson.dumps(item), strict=True)
