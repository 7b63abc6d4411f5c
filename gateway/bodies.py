"""Reading a body that is one item or a list of them, with an error for every item that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from gateway.problems import Problem, pointer
from streams.explaining import in_words

#: Items of one request at most.
MOST = 1000
#: Levels of a body at most. What is deeper could be read, but not be written into the log again.
DEEPEST = 64
M = TypeVar("M", bound=BaseModel)

_JSON = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")


async def read_json(request: Request) -> tuple[Any, str]:
    """The parsed body and its media type."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in _JSON:
        raise Problem(415, "unsupported-media-type", f"the body must be {_JSON[0]}, not {media_type}")
    try:
        body = orjson.loads(await read_bytes(request))
    except orjson.JSONDecodeError as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from None
    if _deeper(body, DEEPEST):
        raise Problem(400, "malformed", f"the body is nested more than {DEEPEST} levels deep")
    return body, media_type


async def read_bytes(request: Request) -> bytes:
    """The body as it came; it may be asked for again."""
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


def items_of(body: Any, name: str) -> list[Any]:
    """The items of a body: a list, one object, or an object whose only field `name` is a list."""
    if isinstance(body, dict) and set(body) == {name}:
        body = body[name]
    items = body if isinstance(body, list) else [body]
    if not 1 <= len(items) <= MOST:
        raise Problem(422, "invalid", f"a request carries 1 to {MOST} {name}, not {len(items)}")
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
