"""Tracing, as OpenTelemetry's own environment asks for it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec

from streams.tracing import OFF, Tracing

log = logging.getLogger(__name__)
#: Any of these asks for it, https://opentelemetry.io/docs/specs/otel/protocol/exporter/
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
#: Seconds that a collector which is away may hold up the end of a process.
_LAST_WORDS = 2.0


def wanted(environment: Mapping[str, str]) -> bool:
    """Does the environment ask for traces? By its usual names, and unless it says not to."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp" and any(map(environment.get, _ENDPOINTS))


@asynccontextmanager
async def tracing(environment: Mapping[str, str] = os.environ) -> AsyncIterator[Tracing]:
    """Spans to a collector by OTLP over HTTP, if that is asked for and the extra is there; what could not be sent when
    the context ends is lost."""
    if not wanted(environment):
        yield OFF
        return
    if not _installed():
        log.warning("traces are asked for by OTEL_..., but `pip install 'rescind[otel]'` is missing; there are none")
        yield OFF
        return
    # Only where it is used: it takes a third of a second to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    from streams.otel import OtelTracing  # noqa: PLC0415

    given = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {} if given else {"service.name": "rescind"}
    provider = TracerProvider(
        resource=Resource.create(named | {"service.version": version("rescind")}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OtelTracing(provider)
    finally:
        ending = asyncio.ensure_future(asyncio.to_thread(provider.shutdown))
        done, _ = await asyncio.wait([ending], timeout=_LAST_WORDS)
        if not done:  # it would try again and again
            exporter.shutdown()  # type: ignore[no-untyped-call]
        await ending


def _installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:  # not even what they are parts of
        return False
