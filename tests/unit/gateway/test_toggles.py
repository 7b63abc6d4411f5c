"""`POST /v1/toggles`: 202 means durable in the log; a request that is not all right leaves nothing behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from streams.events import ConsentToggled
from streams.topics import TOGGLES
from tests.unit.gateway.harness import NOON, Gateway, at, problem

URL = "/v1/toggles"
GOOD = {"subject": "user:1", "purpose": "ai-training", "choice": "opt_out", "occurred_at": "2026-01-01T11:00:00Z"}
EVENT = {
    "specversion": "1.0",
    "id": "evt-1",
    "source": "/platform",
    "type": "io.rescind.consent.toggled",
    "time": "2026-01-01T11:00:00Z",
    "datacontenttype": "application/json",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "data": GOOD,
}


async def send(gateway: Gateway, body: Any, media_type: str = "application/json") -> Any:
    headers = gateway.platform | {"content-type": media_type}
    return await gateway.http.post(URL, content=orjson.dumps(body), headers=headers)


async def test_one_toggle_is_durable_and_shown(gateway: Gateway) -> None:
    answer = await send(gateway, GOOD | {"id": "evt-1", "version": 3, "retroactive": False, "source": "settings"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "ids": ["evt-1"]})
    (envelope,) = gateway.log.events(TOGGLES.name)
    assert (envelope.id, envelope.time) == ("evt-1", NOON)
    assert envelope.data == ConsentToggled.model_validate(
        GOOD | {"version": 3, "retroactive": False, "source": "settings"}
    )
    assert gateway.log.records[0].key == b"user:1"
    assert gateway.ledger.totals().toggles == 1


async def test_many_keep_their_order_and_those_without_an_id_get_one(gateway: Gateway) -> None:
    answer = await send(gateway, [GOOD, GOOD | {"id": "mine"}, GOOD | {"id": None}])
    assert answer.json() == {"accepted": 3, "ids": ["id-1", "mine", "id-2"]}


async def test_a_list_may_be_named(gateway: Gateway) -> None:
    answer = await send(gateway, {"toggles": [GOOD, GOOD]})
    assert answer.json()["accepted"] == 2


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1, 202), (1000, 202), (1001, 422)])
async def test_a_request_carries_1_to_1000(gateway: Gateway, count: int, status: int) -> None:
    answer = await send(gateway, [GOOD | {"id": f"e{number}"} for number in range(count)])
    if status == 202:
        assert answer.json()["ids"] == [f"e{number}" for number in range(count)]
    else:
        problem(answer, 422, "invalid")
    assert gateway.ledger.totals().toggles == (count if status == 202 else 0)


async def test_the_same_id_again_is_accepted_and_changes_nothing(gateway: Gateway) -> None:
    for _ in range(2):
        answer = await send(gateway, GOOD | {"id": "evt-1"})
        assert answer.json() == {"accepted": 1, "ids": ["evt-1"]}
    assert gateway.ledger.totals().toggles == 1


@pytest.mark.parametrize(
    ("body", "media_type", "ids"),
    [
        (EVENT, "application/cloudevents+json", ["evt-1"]),
        (EVENT, "application/cloudevents+json; charset=utf-8", ["evt-1"]),
        ([EVENT, EVENT | {"id": "evt-2"}], "application/cloudevents-batch+json", ["evt-1", "evt-2"]),
    ],
)
async def test_cloudevents_keep_their_ids(gateway: Gateway, body: Any, media_type: str, ids: list[str]) -> None:
    answer = await send(gateway, body, media_type)
    assert (answer.status_code, answer.json()["ids"]) == (202, ids)
    assert [event.data for event in gateway.log.events(TOGGLES.name)] == [ConsentToggled.model_validate(GOOD)] * len(
        ids
    )


async def test_an_empty_batch_of_cloudevents_is_a_batch(gateway: Gateway) -> None:
    answer = await send(gateway, [], "application/cloudevents-batch+json")
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "ids": []})
    assert not gateway.log.records


@pytest.mark.parametrize("body", [EVENT, [EVENT], {"toggles": [GOOD, EVENT]}])
async def test_a_cloudevent_without_its_media_type_is_told_which_one_it_has(gateway: Gateway, body: Any) -> None:
    found = problem(await send(gateway, body), 415, "unsupported-media-type")
    assert found["detail"] == (
        "this is a CloudEvent: its media type is application/cloudevents+json, or application/cloudevents-batch+json"
    )
    assert not gateway.log.records


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


BAD: list[tuple[str, Any, str]] = [
    ("subject missing", without(GOOD, "subject"), "/subject"),
    ("purpose missing", without(GOOD, "purpose"), "/purpose"),
    ("choice missing", without(GOOD, "choice"), "/choice"),
    ("time missing", without(GOOD, "occurred_at"), "/occurred_at"),
    ("unknown field", GOOD | {"retroactiv": False}, "/retroactiv"),
    ("unknown field with a slash and a tilde", GOOD | {"a/b~": 1}, "/a~1b~0"),
    ("subject without a kind", GOOD | {"subject": "1"}, "/subject"),
    ("subject with an empty id", GOOD | {"subject": "user:"}, "/subject"),
    ("subject with white space", GOOD | {"subject": "user:a b"}, "/subject"),
    ("subject with a line break at its end", GOOD | {"subject": "user:1\n"}, "/subject"),
    ("subject with another script's white space", GOOD | {"subject": "user:a\u2003b"}, "/subject"),
    ("subject with a NUL", GOOD | {"subject": "user:\0"}, "/subject"),
    ("subject too long", GOOD | {"subject": "user:" + "x" * 256}, "/subject"),
    ("subject's kind in capitals", GOOD | {"subject": "User:1"}, "/subject"),
    ("subject a number", GOOD | {"subject": 5}, "/subject"),
    ("purpose no slug", GOOD | {"purpose": "AI training"}, "/purpose"),
    ("purpose empty", GOOD | {"purpose": ""}, "/purpose"),
    ("purpose null", GOOD | {"purpose": None}, "/purpose"),
    ("choice unknown", GOOD | {"choice": "maybe"}, "/choice"),
    ("time without a zone", GOOD | {"occurred_at": "2026-01-01T11:00:00"}, "/occurred_at"),
    ("time a date", GOOD | {"occurred_at": "2026-01-01"}, "/occurred_at"),
    ("time a number", GOOD | {"occurred_at": 1_767_265_200}, "/occurred_at"),
    ("time a number with a fraction", GOOD | {"occurred_at": 1_767_265_200.5}, "/occurred_at"),
    ("time a number as text", GOOD | {"occurred_at": "1767265200"}, "/occurred_at"),
    ("time a negative number as text", GOOD | {"occurred_at": "-1767265200"}, "/occurred_at"),
    ("time a huge number", GOOD | {"occurred_at": 1e300}, "/occurred_at"),
    ("time that does not exist", GOOD | {"occurred_at": "2026-02-30T00:00:00Z"}, "/occurred_at"),
    ("time before the calendar of UTC", GOOD | {"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at"),
    ("time after the calendar of UTC", GOOD | {"occurred_at": "9999-12-31T23:59:59-14:00"}, "/occurred_at"),
    ("time a boolean", GOOD | {"occurred_at": True}, "/occurred_at"),
    ("version negative", GOOD | {"version": -1}, "/version"),
    ("version too large for the ledger", GOOD | {"version": 2**63}, "/version"),
    ("version beyond 64 bits", GOOD | {"version": 1e30}, "/version"),
    ("version as text", GOOD | {"version": "5"}, "/version"),
    ("version a boolean", GOOD | {"version": True}, "/version"),
    ("retroactive as text", GOOD | {"retroactive": "no"}, "/retroactive"),
    ("retroactive a number", GOOD | {"retroactive": 0}, "/retroactive"),
    ("retroactive null", GOOD | {"retroactive": None}, "/retroactive"),
    ("source too long", GOOD | {"source": "x" * 201}, "/source"),
    ("id with white space", GOOD | {"id": "a b"}, "/id"),
    ("id empty", GOOD | {"id": ""}, "/id"),
    ("id not ASCII", GOOD | {"id": "ä"}, "/id"),
    ("id too long", GOOD | {"id": "x" * 129}, "/id"),
    ("id a number", GOOD | {"id": 5}, "/id"),
    ("an empty object", {}, "/subject"),
    ("null", None, ""),
    ("a number", 5, ""),
    ("a text", "opt_out", ""),
    ("a list in a list", [GOOD], ""),
]


@pytest.mark.parametrize(("item", "pointer"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_one_bad_toggle_keeps_out_the_whole_request(gateway: Gateway, item: Any, pointer: str) -> None:
    found = problem(await send(gateway, [GOOD, item, GOOD]), 422, "invalid")
    assert "nothing was accepted" in found["detail"]
    assert {"index": 1, "pointer": pointer} in [without(error, "detail") for error in found["errors"]]
    assert {error["index"] for error in found["errors"]} == {1}
    assert not gateway.log.records


BAD_EVENTS: list[tuple[str, Any]] = [
    ("another type of ours", EVENT | {"type": "io.rescind.partner.registered"}),
    ("a decision, which only the service makes", EVENT | {"type": "io.rescind.consent.changed"}),
    ("another's type", EVENT | {"type": "com.example.clicked"}),
    ("no type", without(EVENT, "type")),
    ("type an object", EVENT | {"type": {}}),
    ("another specversion", EVENT | {"specversion": "0.3"}),
    ("no id", without(EVENT, "id")),
    ("no source", without(EVENT, "source")),
    ("no time", without(EVENT, "time")),
    ("time naive", EVENT | {"time": "2026-01-01T11:00:00"}),
    ("no data", without(EVENT, "data")),
    ("data null", EVENT | {"data": None}),
    ("data a list", EVENT | {"data": [GOOD]}),
    ("data with an unknown field", EVENT | {"data": GOOD | {"x": 1}}),
    ("data with an id", EVENT | {"data": GOOD | {"id": "other"}}),
    ("data's time a number", EVENT | {"data": GOOD | {"occurred_at": 1_767_265_200}}),
    ("data's time in the future", EVENT | {"data": GOOD | {"occurred_at": "2027-01-01T00:00:00Z"}}),
    ("no object", "evt-1"),
    ("a bare toggle", GOOD),
]


@pytest.mark.parametrize("event", [case[1] for case in BAD_EVENTS], ids=[case[0] for case in BAD_EVENTS])
async def test_an_event_that_is_no_toggle_is_refused(gateway: Gateway, event: Any) -> None:
    found = problem(await send(gateway, [EVENT, event], "application/cloudevents-batch+json"), 422, "invalid")
    assert {error["index"] for error in found["errors"]} == {1}
    assert not gateway.log.records


@pytest.mark.parametrize(("seconds", "status"), [(300, 202), (300.001, 422), (86_400 * 365, 422)])
async def test_a_toggle_from_the_future_is_refused_beyond_the_skew_of_clocks(
    gateway: Gateway, seconds: float, status: int
) -> None:
    when = (NOON + timedelta(seconds=seconds)).isoformat()
    assert (await send(gateway, GOOD | {"occurred_at": when})).status_code == status


@pytest.mark.parametrize(
    "when", ["2026-01-01T12:00:00+01:00", "2026-01-01t11:00:00z", "2026-01-01 11:00:00Z", "2026-01-01T11:00:00.000Z"]
)
async def test_every_way_of_rfc_3339_to_write_a_time_is_the_same_time(gateway: Gateway, when: str) -> None:
    assert (await send(gateway, GOOD | {"occurred_at": when})).status_code == 202
    (event,) = gateway.log.events(TOGGLES.name)
    assert isinstance(event.data, ConsentToggled)
    assert event.data.occurred_at == at(-60)


@pytest.mark.parametrize("subject", ["blog:a/b:c?d#e%20&=+", "user:日本語", "user:🦊", "user:" + "x" * 255])
async def test_any_printable_subject_is_taken_as_it_is(gateway: Gateway, subject: str) -> None:
    assert (await send(gateway, GOOD | {"subject": subject})).status_code == 202
    assert gateway.log.records[0].key == subject.encode()


async def test_a_field_that_is_given_twice_counts_by_its_last_value(gateway: Gateway) -> None:
    body = orjson.dumps(GOOD)[:-1] + b', "choice": "opt_in"}'
    answer = await gateway.http.post(URL, content=body, headers=gateway.platform)
    assert answer.status_code == 202
    (event,) = gateway.log.events(TOGGLES.name)
    assert isinstance(event.data, ConsentToggled)
    assert event.data.choice == "opt_in"


async def test_a_flood_of_errors_is_cut_off(gateway: Gateway) -> None:
    found = problem(await send(gateway, GOOD | {f"x{number}": 1 for number in range(5000)}), 422)
    assert len(found["errors"]) == 1000


async def test_a_log_that_takes_nothing_means_503_and_nothing_accepted(gateway: Gateway) -> None:
    gateway.log.failing = True
    answer = await send(gateway, GOOD | {"id": "evt-1"})
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "rescind_toggles_accepted_total 0.0" in (await gateway.http.get("/metrics")).text
    gateway.log.failing = False
    assert (await send(gateway, GOOD | {"id": "evt-1"})).status_code == 202
    assert "rescind_toggles_accepted_total 1.0" in (await gateway.http.get("/metrics")).text


async def test_a_ledger_that_is_behind_does_not_hold_up_toggles(gateway: Gateway) -> None:
    gateway.log.projecting = False
    assert (await send(gateway, GOOD)).status_code == 202
