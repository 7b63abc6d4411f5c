"""`POST /v1/toggles`: 202 means that they are durable in the log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import Counter
from pydantic import BaseModel

from gateway.auth import PlatformOrOperator
from gateway.bodies import items_of, parse_each, read_json, strictly
from gateway.context import context_of
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from gateway.tracing import toggled
from streams.cloudevents import Envelope, from_dict
from streams.errors import Undecodable
from streams.events import ConsentToggled
from streams.names import EventId
from streams.records import record
from streams.topics import TOGGLES

router = APIRouter(tags=["platform"])
_EVENT, _BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


class ToggleIn(ConsentToggled):
    """A toggle as a platform sends it. Without an `id` every request is another event."""

    id: EventId | None = None


class Accepted(BaseModel):
    """The ids of the events, in the order of the request."""

    accepted: int
    ids: list[str]


_EXAMPLE = [
    {
        "id": "evt-1",
        "subject": "blog:staff.example.com",
        "purpose": "ai-training",
        "choice": "opt_out",
        "occurred_at": "2026-01-01T12:00:00Z",
    }
]


@router.post(
    "/v1/toggles",
    status_code=202,
    summary="Emit toggles",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(ToggleIn, many=True, events=True, example=_EXAMPLE),
)
async def post_toggles(request: Request, key: PlatformOrOperator) -> Accepted:
    """One toggle, or a list of up to 1,000, all or nothing. The same id again is accepted and changes
    nothing, so a request whose answer was lost is simply repeated. CloudEvents are taken too, one or a batch,
    which may be empty."""
    context = context_of(request)
    body, media_type = await read_json(request)
    if media_type == _BATCH and body == []:
        return Accepted(accepted=0, ids=[])  # valid by the JSON format of CloudEvents 1.0.2, section 4
    latest = context.clock() + timedelta(seconds=context.settings.max_clock_skew)
    parse = _from_event if "cloudevents" in media_type else _from_object
    toggles = parse_each(items_of(body, "toggles"), lambda item: _not_later(parse(item), latest), "toggles")
    now = context.clock()
    events = [
        Envelope(toggle.id or context.new_id(), now, ConsentToggled.model_validate(toggle.model_dump(exclude={"id"})))
        for toggle in toggles
    ]
    if context.tracing.enabled:
        sent = items_of(body, "toggles") if "cloudevents" in media_type else []
        events = toggled(context.tracing, events, sent)
    await context.appender.append([record(TOGGLES.name, event) for event in events])
    counter: Counter = request.app.state.toggles_accepted
    counter.inc(len(events))
    return Accepted(accepted=len(events), ids=[event.id for event in events])


_toggle = strictly(ToggleIn)


def _from_object(item: Any) -> ToggleIn:
    if isinstance(item, dict) and "specversion" in item:
        raise Problem(415, "unsupported-media-type", f"this is a CloudEvent: its media type is {_EVENT}, or {_BATCH}")
    return _toggle(item)


def _from_event(item: Any) -> ToggleIn:
    if not isinstance(item, dict):
        raise ValueError("a CloudEvent is a JSON object")  # noqa: TRY004 - collected with the other bad values
    try:
        event = from_dict(item)
    except Undecodable as error:
        raise ValueError(str(error)) from None
    if not isinstance(event.data, ConsentToggled):
        raise ValueError(f"{event.data.TYPE} is not accepted here")  # noqa: TRY004 - as above
    # Once more, by the stricter rules of this interface.
    return _toggle({**item["data"], "id": event.id})


def _not_later(toggle: ToggleIn, latest: datetime) -> ToggleIn:
    # A toggle from the future would win against every honest one until its time comes.
    if toggle.occurred_at > latest:
        raise ValueError("occurred_at lies too far in the future")
    return toggle
