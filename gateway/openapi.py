"""What the OpenAPI page says of bodies that are read by hand, and of problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.problems import ProblemDetails

_REFERENCE = "#/components/schemas/{model}"
_described: set[type[BaseModel]] = {ProblemDetails}


def body_of(model: type[BaseModel], *, many: bool = False, events: bool = False, example: Any = None) -> dict[str, Any]:
    """The `openapi_extra` of a route: its body is a model, or with `many` one or a list of it; with `events`
    it may come as CloudEvents."""
    _described.add(model)
    one = {"$ref": _REFERENCE.format(model=model.__name__)}
    schema = {"oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 1000}]} if many else one
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if example is not None:
        content["application/json"]["example"] = example
    if events:
        event = _event_of(one)
        content["application/cloudevents+json"] = {"schema": event}
        content["application/cloudevents-batch+json"] = {"schema": {"type": "array", "items": event}}
    return {"requestBody": {"required": True, "content": content}}


def _event_of(data: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "A CloudEvent 1.0 in structured mode. Its id takes the place of the id of `data`.",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": text,
            "type": {"const": "io.rescind.consent.toggled"},
            "time": {"type": "string", "format": "date-time"},
            "data": data,
        },
    }


def install(app: FastAPI) -> None:
    """Add the models that FastAPI does not see to the schema's components."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            wanted: list[tuple[type[BaseModel], Any]] = [
                (model, "validation") for model in sorted(_described, key=lambda model: model.__name__)
            ]
            _, found = models_json_schema(wanted, ref_template=_REFERENCE)
            schema["components"]["schemas"] |= found["$defs"]
        assert app.openapi_schema is not None  # noqa: S101 - FastAPI keeps what it generated
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
