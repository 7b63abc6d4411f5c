"""Errors as problem details, RFC 9457, for everything that can go wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from streams.errors import LedgerBehind, LogUnavailable, StorageUnusable
from streams.explaining import in_words

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class ProblemError(BaseModel):
    """One of several errors. `pointer` is a JSON Pointer (RFC 6901) into the request's body; `index` the
    item of a list."""

    model_config = ConfigDict(extra="allow")
    detail: str
    pointer: str | None = None
    index: int | None = None


class ProblemDetails(BaseModel):
    """RFC 9457 section 3.1."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] | None = None


class Problem(Exception):
    """Raised anywhere in a request; becomes the answer."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})


def respond(problem: Problem) -> JSONResponse:
    body: dict[str, Any] = {
        "type": f"/problems/{problem.slug}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [dict(error) for error in problem.errors]
    return JSONResponse(body, problem.status, problem.headers, media_type=MEDIA_TYPE)


def pointer(location: Sequence[Any]) -> str:
    """A JSON Pointer, RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)


def install(app: FastAPI) -> None:
    """Make every error of an application a problem."""

    async def problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)  # noqa: S101 - FastAPI dispatches by type
        return respond(error)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        detail = {404: f"there is nothing at {request.url.path:.200}"}.get(error.status_code, str(error.detail))
        return respond(Problem(error.status_code, slug, detail, headers=error.headers))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        errors = [{"detail": in_words(item), "pointer": pointer(item["loc"][1:])} for item in error.errors()]
        return respond(Problem(422, "invalid", "the request is not valid", errors=errors))

    async def unavailable(request: Request, error: Exception) -> JSONResponse:
        # Not the path itself: there may be a subject in it.
        log.error("%s %s: %s", request.method, getattr(request.scope.get("route"), "path", "-"), error)
        return respond(Problem(503, "unavailable", str(error), headers={"retry-after": "1"}))

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # Starlette logs the traceback; the client must not see it.
        return respond(Problem(500, "internal", "the service failed to answer; its log says why"))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (LogUnavailable, LedgerBehind, StorageUnusable):
        app.add_exception_handler(kind, unavailable)
    app.add_exception_handler(Exception, unexpected)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI page: what a route answers when it does not do what it was asked. Every route that
    needs a key has those of keys and storage."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({401, 403, 503, *statuses})
    }
