"""How requests take part in traces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.counting import Answer, method_of, route_of
from streams.cloudevents import Envelope
from streams.events import Acknowledged
from streams.tracing import Tracing, from_text, trace_of


class Traced:
    """A span for every answer, by the route's pattern and never the path, which may hold a subject. What is asked
    for by machines all the time, health and metrics, is left out."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/health/", "/metrics")):
            await self._app(scope, receive, send)
            return
        answer = Answer(send)
        with self._tracing.serving(method_of(scope), Headers(scope=scope)) as span:
            try:
                await self._app(scope, receive, answer)
            finally:
                method, route = method_of(scope), route_of(scope)
                span.named(f"{method} {route}", {"http.request.method": method, "http.route": route})
                span.answered(answer.status, ok=answer.status < 500)


def toggled(tracing: Tracing, events: Sequence[Envelope], sent: Sequence[Any]) -> list[Envelope]:
    """Toggles in the trace that each brings itself, as a CloudEvent may, else in that of the request."""
    here = tracing.current()
    found = []
    for event, item in zip_longest(events, sent[: len(events)]):
        own = trace_of(item.get("traceparent"), item.get("tracestate")) if isinstance(item, dict) else None
        found.append(event._replace(trace=own or here))
    return found


def acknowledged(tracing: Tracing, event: Envelope, trace: str | None) -> Envelope:
    """An acknowledgement in the trace of its notice, linked to that of the request; in the request's own if none is
    known."""
    if not tracing.enabled:
        return event
    assert isinstance(event.data, Acknowledged)  # noqa: S101 - what it is called with
    here = tracing.current()
    parent = None if trace is None else from_text(trace)
    attributes = {
        "rescind.partner": event.data.partner,
        "rescind.status": event.data.status,
        "rescind.via": event.data.via,
    }
    links = [] if here is None else [here]
    return event._replace(trace=tracing.child("acknowledge", parent, attributes, links) or here)
