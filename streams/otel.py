"""Spans by OpenTelemetry. Only loaded where tracing is on: it needs the extra `rescind[otel]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streams.tracing import NOTHING, Attributes, Span, Trace, Tracing, attributes_of, trace_of

_PROPAGATOR = TraceContextTextMapPropagator()
#: OpenTelemetry drops what is more by itself, and counts it.
_MOST_LINKS = 128


class RecordedSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.trace = _told(span)

    def answered(self, status: int | None, *, ok: bool) -> None:
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if not ok:
            self._span.set_attribute("error.type", "no_answer" if status is None else str(status))
            self._span.set_status(Status(StatusCode.ERROR))

    def named(self, name: str, attributes: Attributes) -> None:
        self._span.update_name(name)
        self._span.set_attributes(dict(attributes))


class OtelTracing(Tracing):
    """Records with a provider's tracer, sampled as the provider says."""

    enabled = True

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("rescind")

    def current(self) -> Trace | None:
        return _told(trace.get_current_span())

    def child(
        self, name: str, parent: Trace | None, attributes: Attributes = NOTHING, links: Sequence[Trace] = ()
    ) -> Trace | None:
        if parent is None:
            return None
        span = self._tracer.start_span(name, _context(parent), attributes=dict(attributes), links=_links(links))
        span.end()
        return _told(span) if span.get_span_context().trace_flags.sampled else None

    @contextmanager
    def serving(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        context = _context(trace_of(headers.get("traceparent"), headers.get("tracestate")))
        with self._tracer.start_as_current_span(name, context, kind=SpanKind.SERVER, record_exception=False) as span:
            yield RecordedSpan(span)

    @contextmanager
    def sending(self, name: str, links: Sequence[Trace], attributes: Attributes) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            Context(),
            kind=SpanKind.CLIENT,
            attributes=dict(attributes),
            links=_links(links),
            # What went wrong may name a subject.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield RecordedSpan(span)


def _context(parent: Trace | None) -> Context:
    # An empty one, so that nothing becomes the child of whatever the task is in.
    return Context() if parent is None else _PROPAGATOR.extract(attributes_of(parent), Context())


def _links(traces: Sequence[Trace]) -> list[Link]:
    spans = (trace.get_current_span(_context(each)) for each in traces[:_MOST_LINKS])
    return [Link(span.get_span_context()) for span in spans]


def _told(span: trace.Span) -> Trace | None:
    if not span.get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    return trace_of(carrier.get("traceparent"), carrier.get("tracestate"))
