"""How a trace goes on through the agents: from a toggle to its decision, to each partner's notice, to each attempt and
to what the partner replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from agents.parcels import Parcel
from agents.poison import Received
from agents.replies import Reply
from agents.webhooks import Answer, Payload
from streams.cloudevents import Envelope
from streams.events import ConsentChanged, DeletionRequested, NoticesIssued
from streams.tracing import Span, Trace, Tracing, from_text


def decided(tracing: Tracing, toggles: Sequence[Received], caused: list[Envelope]) -> list[Envelope]:
    """The decisions, each with the trace of the toggle that caused it. A repetition after a crash has other spans, and
    the same ids."""
    if not tracing.enabled:
        return caused
    traces = {(each.envelope.id, each.envelope.data.key()): each.envelope.trace for each in toggles}
    return [_decided(tracing, event, traces) for event in caused]


def _decided(tracing: Tracing, event: Envelope, traces: Mapping[tuple[str, str | None], Trace | None]) -> Envelope:
    data = event.data
    assert isinstance(data, ConsentChanged | DeletionRequested)  # noqa: S101 - a toggle causes nothing else
    attributes = {"rescind.purpose": data.purpose, "rescind.decision": data.TYPE}
    return event._replace(trace=tracing.child("decide", traces.get((data.toggle_id, data.subject)), attributes))


def issued(tracing: Tracing, decisions: Sequence[Envelope], packs: list[Envelope]) -> list[Envelope]:
    """The packs, with the trace of each notice: one span for each partner that a decision goes to."""
    traces = {event.id: event.trace for event in decisions if event.trace is not None}
    if not tracing.enabled or not traces:
        return packs
    return [_issued(tracing, pack, traces) for pack in packs]


def _issued(tracing: Tracing, pack: Envelope, traces: dict[str, Trace]) -> Envelope:
    data = pack.data
    assert isinstance(data, NoticesIssued)  # noqa: S101 - `packing` makes nothing else
    attributes: dict[str, str | int] = {"rescind.partner": data.partner, "rescind.lane": data.lane}
    found = [
        tracing.child("issue", traces.get(notice.cause_id), attributes | {"rescind.action": notice.action})
        for notice in data.notices
    ]
    if not any(found):
        return pack
    texts = tuple("" if each is None else each.text for each in found)
    return pack._replace(data=data.model_copy(update={"traces": texts}))


@contextmanager
def attempt(tracing: Tracing, parcel: Parcel, number: int) -> Iterator[Attempted]:
    """An attempt at delivery. It has a trace of its own, linked to those of its notices: one request is about many."""
    if not tracing.enabled:
        yield Attempted(tracing, "", {}, Span())
        return
    attributes: dict[str, str | int] = {
        "rescind.partner": parcel.batch.partner,
        "rescind.lane": parcel.batch.lane,
        "rescind.webhook_id": parcel.webhook_id,
        "rescind.notices": parcel.count,
        "rescind.attempt": number,
        "http.request.method": "POST",
    }
    traces = {notice.id: found for notice in parcel.notices if (found := from_text(notice.trace or ""))}
    with tracing.sending("deliver", list(dict.fromkeys(traces.values())), attributes) as span:
        yield Attempted(tracing, parcel.batch.partner, traces, span)


class Attempted:
    """An attempt that is under way."""

    def __init__(self, tracing: Tracing, partner: str, traces: dict[str, Trace], span: Span) -> None:
        self._tracing = tracing
        self._partner = partner
        self._traces = traces
        self._span = span

    def onto(self, payload: Payload) -> Payload:
        """With the header of W3C Trace Context. The partner gets the attempt's own trace and no other: those of the
        notices would tell it which of them came in one request of the platform's, hence maybe of one person. And no
        `tracestate`: what stands there is between us and ours."""
        trace = self._span.trace
        return payload if trace is None else replace(payload, headers={"traceparent": trace.traceparent})

    def answered(self, answer: Answer, reply: Reply) -> None:
        """What a reply says of a notice belongs to the notice's own trace."""
        self._span.answered(answer.attempt.status, ok=answer.attempt.accepted)
        links = [] if self._span.trace is None else [self._span.trace]
        for item in reply.items:
            attributes = {"rescind.partner": self._partner, "rescind.status": item.status, "rescind.via": "reply"}
            self._tracing.child("acknowledge", self._traces.get(item.id), attributes, links)
