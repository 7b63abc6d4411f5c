"""Reading a body that is one item or a list of them, with an error for every item that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.problems import Problem, pointer

#: Items of one request at most.
MOST = 1000
M = TypeVar("M", bound=BaseModel)

_JSON = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")


async def read_json(request: Request) -> tuple[Any, str]:
    """The parsed body and its media type."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in _JSON:
        raise Problem(415, "unsupported-media-type", f"the body must be {_JSON[0]}, not {media_type}")
    try:
        return orjson.loads(await request.body()), media_type
    except orjson.JSONDecodeError as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from None


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
                {"index": index, "pointer": pointer(found["loc"]), "detail": found["msg"]}
                for found in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        except ValueError as error:
            errors.append({"index": index, "pointer": "", "detail": str(error)})
    if errors:
        count = len({error["index"] for error in errors})
        detail = f"{count} of {len(items)} {what} are not valid; nothing was accepted"
        raise Problem(422, "invalid", detail, errors=errors)
    return parsed
