"""A partner in FastAPI behind its gzip middleware: `uvicorn tests.e2e.frameworks.fastapi_app:app`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from fastapi import FastAPI, HTTPException, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=100)


class Event(BaseModel):
    id: UUID
    data: dict[str, Any]


class Result(BaseModel):
    """Every field of the documents, and null in most."""

    id: UUID
    status: str = "completed"
    outcome: str | None = "deleted"
    reason: str | None = None
    detail: str | None = None
    extend: bool | None = None
    expected_by: datetime | None = None
    evidence: dict[str, Any] | None = None
    vocabulary: str | None = None
    code: str | None = None
    amends: bool | None = None


class Reply(BaseModel):
    results: list[Result]


class Status(Enum):
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


class Acknowledgement(BaseModel):
    notice_id: UUID
    status: Status


class Strict(BaseModel):
    id: UUID
    tenant: int


def plain(events: list[Event]) -> dict[str, Any]:
    return {"results": [{"id": str(event.id), "status": "completed"} for event in events]}


@app.post("/results")
def results(events: list[Event]) -> Reply:
    return Reply(results=[Result(id=event.id) for event in events])


@app.post("/list")
def bare_list(events: list[Event]) -> list[Acknowledgement]:
    return [Acknowledgement(notice_id=event.id, status=Status.COMPLETED) for event in events]


@app.post("/object")
def bare_object(event: Event) -> Acknowledgement:
    return Acknowledgement(notice_id=event.id, status=Status.IN_PROGRESS)


@app.post("/accepted", status_code=202)
def accepted(events: list[Event]) -> dict[str, Any]:
    return {"results": [{"id": event.id, "status": "in_progress"} for event in events]}


@app.post("/hex")
def hexadecimal(events: list[Event]) -> dict[str, Any]:
    return {"results": [{"id": event.id.hex, "status": "completed"} for event in events]}


@app.post("/urn")
def urn(events: list[Event]) -> dict[str, Any]:
    return {"results": [{"id": event.id.urn, "status": "completed"} for event in events]}


@app.post("/streamed")
def streamed(events: list[Event]) -> StreamingResponse:
    def parts() -> Iterator[str]:
        yield '{"results": ['
        for number, event in enumerate(events):
            yield (", " if number else "") + json.dumps({"id": str(event.id), "status": "completed"})
        yield "]}"

    return StreamingResponse(parts(), media_type="application/json")


@app.post("/gzip")
def gzipped(events: list[Event]) -> Response:
    """Whatever was asked for."""
    body = gzip.compress(json.dumps(plain(events)).encode())
    return Response(body, media_type="application/json", headers={"content-encoding": "gzip"})


@app.post("/gzip-cut")
def gzipped_and_cut(events: list[Event]) -> Response:
    body = gzip.compress(json.dumps(plain(events)).encode())
    return Response(body[:-20], media_type="application/json", headers={"content-encoding": "gzip"})


@app.post("/gzip-error")
def gzipped_error(events: list[Event]) -> Response:
    body = gzip.compress(b"the database is away")
    return Response(body, status_code=500, media_type="text/plain", headers={"content-encoding": "gzip"})


@app.post("/text-of-json")
def text_of_json(events: list[Event]) -> str:
    """FastAPI writes the text as JSON once more."""
    return json.dumps(plain(events))


@app.post("/data")
def wrapped(events: list[Event]) -> dict[str, Any]:
    return {"status": "success", "data": plain(events)["results"]}


@app.post("/empty-results")
def empty_results(events: list[Event]) -> dict[str, Any]:
    return {"results": []}


@app.post("/received")
def received(events: list[Event]) -> dict[str, Literal["received"]]:
    return {"status": "received"}


@app.post("/text", response_class=PlainTextResponse)
def text(events: list[Event]) -> str:
    return "OK"


@app.post("/null")
def null(events: list[Event]) -> None:
    return None


@app.post("/nan")
def nan(events: list[Event]) -> JSONResponse:
    """FastAPI does not write this, and fails."""
    return JSONResponse({"results": [{"id": str(event.id), "evidence": {"x": float("nan")}} for event in events]})


@app.post("/slash/")
def slash(events: list[Event]) -> Reply:
    return results(events)


@app.post("/strict")
def strict(events: list[Strict]) -> None:
    raise AssertionError("nothing that comes has a tenant")


@app.post("/forbidden")
def forbidden(events: list[Event]) -> None:
    raise HTTPException(403, "not from here")
