"""What a page's form brings. Browsers send it as `application/x-www-form-urlencoded`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs

from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.bodies import MOST, read_bytes
from gateway.problems import Problem, pointer
from gateway.sessions import Session, check_origin, check_token
from streams.explaining import in_words

M = TypeVar("M", bound=BaseModel)
_FORM = "application/x-www-form-urlencoded"
#: Fields of a form, beside the up to `MOST` things that are chosen in it.
_FIELDS = 20


class Form:
    """The fields of a form. An empty one is as good as none."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        self._fields = fields

    def one(self, name: str) -> str | None:
        return self._fields.get(name, [None])[0]

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self._fields.get(name, ()))

    @property
    def confirmed(self) -> bool:
        return self.one("confirmed") == "yes"

    def kept(self) -> list[tuple[str, str]]:
        """What a page that asks once more hands on."""
        return [(name, value) for name, values in self._fields.items() if name != "token" for value in values]


async def form_of(request: Request, session: Session | None) -> Form:
    """The form of a session's own page; None before there is one. Raises `Problem`."""
    check_origin(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise Problem(415, "unsupported-media-type", f"the body must be {_FORM}")
    body = await read_bytes(request)
    try:
        fields = parse_qs(body.decode(), errors="strict", max_num_fields=MOST + _FIELDS)
    except ValueError:
        raise Problem(400, "malformed", "the form cannot be read") from None
    form = Form(fields)
    if session is not None:
        check_token(session, form.one("token") or "")
    return form


def filled(build: Callable[..., M], **values: Any) -> M:
    """A model of what was filled in, but for what was left empty. Raises `Problem` in words for whoever did."""
    try:
        return build(**{name: value for name, value in values.items() if value not in (None, "")})
    except ValidationError as error:
        errors = [
            {"pointer": pointer(found["loc"]), "detail": in_words(found)}
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise Problem(422, "invalid", "; ".join(each["detail"] for each in errors), errors=errors) from None
