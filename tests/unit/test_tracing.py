"""Traces: what is one and what is dropped, and that one goes all the way from a toggle to what became of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import orjson
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from agents.packing import pack
from agents.tracing import attempt, decided, issued
from ledger import Entry, Ledger
from rescind.running import processes
from rescind.running.tracing import tracing, wanted
from streams.cloudevents import Envelope, decode, encode
from streams.events import NoticesIssued
from streams.otel import OtelTracing
from streams.settings import Settings
from streams.tracing import OFF, Trace, from_text, trace_of
from streams.written import read_pack
from tests.unit.fakes import NOON, notice

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"


# -- what is a trace


@pytest.mark.parametrize(
    "text",
    [
        "", "00", None, 7, b"x", GOOD.upper(), f" {GOOD}", f"{GOOD}\n", f"{GOOD}-", f"{GOOD}-more",
        f"ff-{ID}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{ID}-{'0' * 16}-01", f"00-{ID}-{SPAN}-1",
        f"00-{ID}-{SPAN}", f"0-{ID}-{SPAN}-01", f"00-{ID[:-1]}g-{SPAN}-01", f"01-{ID}-{SPAN}-01more",
    ],
)  # fmt: skip
def test_what_is_no_trace_is_dropped(text: object) -> None:
    assert trace_of(text) is None
    event = {
        "specversion": "1.0",
        "id": "e",
        "source": "/s",
        "time": "2026-01-01T00:00:00Z",
        "type": NoticesIssued.TYPE,
    }
    data = orjson.loads(orjson.dumps({"partner": "p", "lane": 0, "notices": [notice().model_dump(exclude_none=True)]}))
    if not isinstance(text, bytes):
        assert decode(orjson.dumps(event | {"data": data, "traceparent": text})).trace is None


@pytest.mark.parametrize(
    ("parent", "told"),
    [
        (GOOD, GOOD),
        (f"00-{ID}-{SPAN}-00", f"00-{ID}-{SPAN}-00"),
        (f"cc-{ID}-{SPAN}-01", GOOD),  # of a version to come, what we know of it
        (f"01-{ID}-{SPAN}-01-what-will-be", GOOD),
    ],
)
def test_what_is_a_trace(parent: str, told: str) -> None:
    assert trace_of(parent) == Trace(told)


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", True),
        ("a=1, b=2 ,,c=3", True),
        ("t1@vendor=1", True),
        ("", False),
        (" , ", False),
        ("a=1,a=2", False),
        ("A=1", False),
        ("a=é", False),
        ("a", False),
        ("a=1,b", False),
        ("a=" + "x" * 600, False),
        (",".join(f"k{number}=1" for number in range(33)), False),
        (["a=1"], False),
    ],
)
def test_a_bad_state_is_left_out_alone(state: object, kept: bool) -> None:
    found = trace_of(GOOD, state)
    assert found == Trace(GOOD, state if kept and isinstance(state, str) else None)
    assert from_text(found.text if found else "") == found


def test_an_event_carries_its_trace() -> None:
    data = NoticesIssued(partner="p", lane=0, notices=(notice(),))
    for trace in (None, Trace(GOOD), Trace(GOOD, "a=1")):
        event = Envelope("e", NOON, data, trace=trace)
        written = encode(event)
        assert decode(written) == event
        assert ("traceparent" in orjson.loads(written)) is (trace is not None)
    headers: dict[str, bytes] = {
        "ce_specversion": b"1.0",
        "ce_id": b"e",
        "ce_source": b"/s",
        "ce_type": NoticesIssued.TYPE.encode(),
    }
    headers |= {"ce_time": b"2026-01-01T00:00:00Z", "ce_traceparent": GOOD.encode(), "ce_tracestate": b"a=1"}
    found = decode(orjson.dumps(orjson.loads(encode(event))["data"]), headers)
    assert found.trace == Trace(GOOD, "a=1")


@pytest.mark.parametrize("traces", [None, [], ["", GOOD], [GOOD], 7, [7, None], "ab", ["x", "y", "z"]])
def test_a_pack_counts_whatever_stands_where_its_traces_should(traces: Any) -> None:
    data = NoticesIssued(partner="p", lane=0, notices=(notice(1), notice(2)))
    event = orjson.loads(encode(Envelope("e", NOON, data)))
    event["data"]["traces"] = traces
    found = read_pack(orjson.dumps(event), [("content-type", b"application/cloudevents+json")])
    assert [each.id for each in found.notices] == ["n1", "n2"]
    if traces == ["", GOOD]:
        assert [from_text(each.trace or "") for each in found.notices] == [None, Trace(GOOD)]


# -- off


def test_while_it_is_off_events_and_packs_are_the_very_same(tmp_path: Path) -> None:
    events = [Envelope("e", NOON, NoticesIssued(partner="p", lane=0, notices=(notice(),)))]
    assert decided(OFF, [], events) is events
    assert issued(OFF, [], events) is events
    assert pack([], []) == []
    with attempt(OFF, None, 1) as attempted:  # type: ignore[arg-type] # it does not even look
        payload: Any = object()
        assert attempted.onto(payload) is payload
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    ledger.apply([Entry("rescind.notices", 0, 0, NOON, events[0])])
    assert ledger.traces(["n0"]) == {}
    ledger.close()


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "rescind"}, False),
    ],
)
def test_the_environment_asks_for_it(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on


async def test_it_is_off_and_said_so_where_the_extra_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rescind.running.tracing._NEEDED", ("opentelemetry.sdk", "nowhere.at.all"))
    with caplog.at_level(logging.WARNING):
        async with tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as found:
            assert found is OFF
    assert "pip install 'rescind[otel]'" in caplog.text


# -- to a collector


class Collector(BaseHTTPRequestHandler):
    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        return


async def test_spans_go_to_the_collector_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (Collector,), {"bodies": bodies}))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    async with tracing() as found:
        assert found.enabled
        assert found.child("decide", Trace(GOOD), {"rescind.partner": "acme"}) is not None
        assert found.child("decide", Trace(f"00-{ID}-{SPAN}-00")) is None  # whoever began it does not record it
    await asyncio.to_thread(server.shutdown)
    server.server_close()
    (body,) = bodies
    assert body.count(b"decide") == 1
    assert bytes.fromhex(ID) in body
    assert b"acme" in body


async def test_a_collector_that_is_away_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # By itself, the exporter would go on for half a minute.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with tracing() as found:
        found.child("decide", Trace(GOOD))
        began = time.monotonic()
    assert time.monotonic() - began < 15


# -- all the way


@dataclass
class Traced:
    """The whole service, one partner, and the spans of both."""

    http: httpx.AsyncClient
    exporter: InMemorySpanExporter
    requests: list[tuple[dict[str, str], list[dict[str, Any]]]] = field(default_factory=list)
    reply: list[Callable[[list[dict[str, Any]]], Any]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    async def until(self, name: str, count: int) -> list[ReadableSpan]:
        async with asyncio.timeout(30):
            while len(self.spans(name)) < count:
                await asyncio.sleep(0.02)
        return self.spans(name)

    async def post(self, path: str, key: str, body: Any, **headers: str) -> Any:
        headers = {"authorization": f"Bearer {self.keys[key]}", "content-type": "application/json"} | headers
        answer = await self.http.post(path, content=orjson.dumps(body), headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()


@asynccontextmanager
async def whole(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    @asynccontextmanager
    async def in_memory() -> AsyncIterator[OtelTracing]:
        yield OtelTracing(provider)

    monkeypatch.setattr(processes, "tracing", in_memory)
    settings = Settings(data_dir=directory, port=0, allow_private_partners=True)
    async with processes.everything(settings) as (started, _), httpx.AsyncClient(base_url=started.url or "") as http:
        traced = Traced(http, exporter)
        traced.keys = {"operator": started.operator_key or "", "platform": started.platform_key or ""}

        async def webhook(request: web.Request) -> web.Response:
            events = await request.json()
            traced.requests.append((dict(request.headers), events))
            return web.json_response(traced.reply[-1](events))

        application = web.Application()
        application.router.add_post("/", webhook)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        wanted = {"id": "acme", "name": "Acme", "url": f"http://127.0.0.1:{port}/", "purposes": ["ai"], "linger_ms": 0}
        traced.keys["acme"] = (await traced.post("/v1/partners", "operator", wanted))["api_key"]
        try:
            yield traced
        finally:
            await runner.cleanup()
    provider.shutdown()


def toggle(number: int) -> dict[str, Any]:
    return {
        "id": f"t{number}",
        "subject": f"user:secret-{number}",
        "purpose": "ai",
        "choice": "opt_out",
        "occurred_at": "2026-01-01T12:00:00Z",
    }


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_trace_id(span.context.trace_id)


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_span_id(span.context.span_id)


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else format_span_id(span.parent.span_id)


async def test_a_trace_runs_from_the_toggle_to_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole(tmp_path, monkeypatch) as traced:
        # By HTTP's own header; answered in the reply.
        traced.reply.append(lambda events: {"results": [{"id": each["id"], "status": "completed"} for each in events]})
        await traced.post("/v1/toggles", "platform", toggle(1), traceparent=GOOD, tracestate="vendor=1")
        (answered,) = await traced.until("acknowledge", 1)
        (request,) = traced.spans("POST /v1/toggles")
        (decision,) = [span for span in traced.spans("decide") if span_id(span) in parents(traced, "issue")]
        (asked,) = traced.spans("issue")
        (sent,) = await traced.until("deliver", 1)
        assert [trace_id(span) for span in (request, asked, answered)] == [ID] * 3
        assert [parent_of(request), parent_of(decision), parent_of(asked), parent_of(answered)] == [
            SPAN, span_id(request), span_id(decision), span_id(asked),
        ]  # fmt: skip
        # The request to the partner has a trace of its own, linked to the notice's, and known to the partner.
        assert trace_id(sent) != ID
        assert parent_of(sent) is None
        assert [format_span_id(link.context.span_id) for link in sent.links] == [span_id(asked)]
        assert [format_span_id(link.context.span_id) for link in answered.links] == [span_id(sent)]
        headers, events = traced.requests[0]
        assert headers["traceparent"].startswith(f"00-{trace_id(sent)}-{span_id(sent)}-")
        assert "tracestate" not in headers
        assert ID not in orjson.dumps(events).decode()
        assert dict(sent.attributes or {})["http.response.status_code"] == 200

        # By the event's own attribute; answered later, by the API.
        other, other_span = ID[::-1], SPAN[::-1]
        traced.reply.append(lambda _: {})
        event: dict[str, Any] = {"specversion": "1.0", "id": "t2", "source": "/p", "type": "io.rescind.consent.toggled"}
        event |= {"time": "2026-01-01T12:00:00Z", "traceparent": f"00-{other}-{other_span}-01"}
        event |= {"data": {name: value for name, value in toggle(2).items() if name != "id"}}
        kind = {"content-type": "application/cloudevents+json", "traceparent": GOOD}
        await traced.post("/v1/toggles", "platform", event, **kind)
        await traced.until("deliver", 2)
        identity = traced.requests[1][1][0]["id"]
        said = {"notice_id": identity, "status": "completed", "outcome": "deleted"}
        await traced.post("/v1/acknowledgements", "acme", said)
        (later,) = [span for span in await traced.until("acknowledge", 2) if span is not answered]
        (told,) = traced.spans("POST /v1/acknowledgements")
        assert trace_id(later) == other
        assert [format_span_id(link.context.span_id) for link in later.links] == [span_id(told)]

        # What is no trace is none, and the toggle counts.
        await traced.post("/v1/toggles", "platform", toggle(3), traceparent="00-nonsense")
        await traced.until("deliver", 3)
        fresh = traced.spans("POST /v1/toggles")[-1]
        assert parent_of(fresh) is None
        assert trace_id(fresh) in {trace_id(span) for span in traced.spans("issue")}
        everything = "".join(span.to_json() for span in traced.exporter.get_finished_spans())
        assert "secret" not in everything


def parents(traced: Traced, name: str) -> set[str | None]:
    return {parent_of(span) for span in traced.spans(name)}
