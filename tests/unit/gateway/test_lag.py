"""Lag for operators and for partners, metrics for Prometheus."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streams.events import Acknowledged, AckStatus, BatchDelivered, BatchFailed, Outcome
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES
from tests.unit.gateway.harness import Gateway, at, gateway_in, problem


def delivered(gateway: Gateway, partner: str = "acme", lane: int = 0) -> None:
    data = BatchDelivered(
        partner=partner,
        lane=lane,
        first_offset=0,
        last_offset=0,
        notices=1,
        webhook_id=f"msg_{lane}",
        attempt=1,
        status_code=200,
        duration_ms=1,
        delivered_at=gateway.clock.now,
    )
    gateway.happened(DELIVERIES.name, f"delivered-{partner}", data)


def failed(gateway: Gateway, partner: str = "acme", lane: int = 0, attempt: int = 1, *, again: bool = True) -> None:
    data = BatchFailed(
        partner=partner,
        lane=lane,
        first_offset=0,
        last_offset=0,
        notices=1,
        webhook_id=f"msg_{lane}",
        attempt=attempt,
        status_code=503,
        error="HTTP 503 <b>down</b>",
        duration_ms=1,
        failed_at=gateway.clock.now,
        next_attempt_at=at(90) if again else None,
    )
    gateway.happened(DELIVERIES.name, f"failed-{partner}-{attempt}", data)


def completed(gateway: Gateway, number: int, partner: str = "acme") -> None:
    data = Acknowledged(
        notice_id=f"n-{partner}-{number}",
        partner=partner,
        subject=f"user:{number}",
        status=AckStatus.COMPLETED,
        outcome=Outcome.DELETED,
        occurred_at=gateway.clock.now,
        via="api",
    )
    gateway.happened(ACKNOWLEDGEMENTS.name, f"ack-{partner}-{number}", data)


def four_states(gateway: Gateway) -> None:
    """One partner in each state."""
    for lane, name in enumerate(("fine", "slow", "stuck", "dead")):
        gateway.registered(name, lane=lane)
        gateway.issued(1, 2, partner=name, lane=lane)
    delivered(gateway, "fine", 0)
    delivered(gateway, "slow", 1)
    completed(gateway, 1, "fine")
    completed(gateway, 2, "fine")
    gateway.clock.now = at(61)
    failed(gateway, "dead", 3, 1)
    failed(gateway, "dead", 3, 2)
    completed(gateway, 1, "slow")


async def test_an_operator_sees_every_partner_and_the_totals(gateway: Gateway) -> None:
    four_states(gateway)
    body = (await gateway.http.get("/v1/lag", headers=gateway.operator)).json()
    assert {row["partner"]: row["state"] for row in body["partners"]} == {
        "fine": "OK",
        "slow": "WARN",
        "stuck": "STALL",
        "dead": "STOP",
    }
    rows = {row["partner"]: row for row in body["partners"]}
    assert {name: row["reason"] for name, row in rows.items()} == {
        "fine": "nothing is open",
        "slow": "1 erase notice is past complete-by; overdue ones were answered in the last hour; "
        "100 % late, of 1 answer to erase notices in the last day",
        "stuck": "2 erase notices are past receive-by, and no overdue one was taken in the last hour; "
        "2 erase notices are past complete-by, and no overdue one was answered in the last hour",
        "dead": "2 attempts in a row failed, and 2 notices wait",
    }
    assert [rows["slow"]["windows"][0][name] for name in ("answered", "in_time", "late", "refused")] == [1, 0, 1, 0]
    assert rows["slow"]["windows"][0]["late_share"] == 1
    assert (rows["stuck"]["open"], rows["stuck"]["backlog"]) == (2, 2)
    assert [rows["stuck"][name] for name in ("overdue", "overdue_receive", "overdue_complete")] == [2, 2, 2]
    assert (rows["stuck"]["oldest_open_at"], rows["stuck"]["oldest_open_seconds"]) == ("2026-01-01T12:00:00Z", 3660.0)
    assert rows["dead"]["last_error"] == "HTTP 503 <b>down</b>"
    assert rows["fine"]["complete_lag"]["count"] == 2
    assert {"notices": 8, "open": 5, "acknowledged": 3}.items() <= body["totals"].items()


async def test_a_partner_sees_itself_only_and_no_totals(gateway: Gateway) -> None:
    four_states(gateway)
    body = (await gateway.http.get("/v1/lag", headers=gateway.partner("slow"))).json()
    assert [row["partner"] for row in body["partners"]] == ["slow"]
    assert body["totals"] is None
    body = (await gateway.http.get("/v1/lag", headers=gateway.partner("stranger"))).json()
    assert body == {"partners": [], "totals": None}


async def test_an_empty_ledger_has_no_lag(gateway: Gateway) -> None:
    body = (await gateway.http.get("/v1/lag", headers=gateway.operator)).json()
    assert body["partners"] == []
    assert set(body["totals"].values()) == {0}


# -- metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def samples(gateway: Gateway) -> Samples:
    answer = await gateway.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter", "histogram"), family.name
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found, f"{place} is there twice"
            found[place] = sample.value
    return found


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


async def test_metrics_of_an_empty_ledger_are_zero(gateway: Gateway) -> None:
    found = await samples(gateway)
    for name in ("rescind_subjects_opted_out", "rescind_messages_poisoned_total", "rescind_toggles_accepted_total"):
        assert found[name, ()] == 0


async def test_what_is_at_risk_is_a_figure(gateway: Gateway) -> None:
    four_states(gateway)
    gateway.clock.now = at(50)
    (row,) = (await gateway.http.get("/v1/lag", headers=gateway.partner("slow"))).json()["partners"]
    assert [row[name] for name in ("overdue", "at_risk", "at_risk_receive", "at_risk_complete")] == [0, 1, 0, 1]
    found = await samples(gateway)
    assert found["rescind_notices_at_risk", labels(partner="slow", kind="erase", clock="complete")] == 1


async def test_metrics_show_what_retention_would_have_removed(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, held_records=lambda: {"rescind.notices": 7}) as gateway:
        found = await samples(gateway)
    assert found["rescind_log_records_held", labels(topic="rescind.notices")] == 7


async def test_metrics_show_each_partner(gateway: Gateway) -> None:
    four_states(gateway)
    found = await samples(gateway)
    assert found["rescind_notices_open", labels(partner="stuck")] == 2
    assert found["rescind_backlog_notices", labels(partner="fine")] == 0
    assert found["rescind_notices_undeliverable", labels(partner="fine")] == 0
    assert found["rescind_messages_poisoned_open", labels()] == 0
    assert found["rescind_oldest_open_seconds", labels(partner="stuck", kind="erase", clock="receive")] == 3660
    assert found["rescind_oldest_open_seconds", labels(partner="slow", kind="erase", clock="receive")] == 0
    assert found["rescind_oldest_open_seconds", labels(partner="slow", kind="erase", clock="complete")] == 3660
    assert found["rescind_notices_overdue", labels(partner="stuck", clock="receive")] == 2
    assert found["rescind_notices_overdue", labels(partner="slow", clock="complete")] == 1
    assert found["rescind_notices_at_risk", labels(partner="slow", kind="erase", clock="complete")] == 0
    assert found["rescind_notices_parked", labels(partner="slow")] == 0
    assert found["rescind_answers", labels(partner="fine", kind="erase", window="7d", answer="in_time")] == 2
    assert found["rescind_answers", labels(partner="slow", kind="erase", window="1h", answer="late")] == 1
    assert found["rescind_answers", labels(partner="slow", kind="stop", window="1h", answer="late")] == 0
    assert found["rescind_answers_share", labels(partner="slow", kind="erase", answer="late")] == 1
    assert ("rescind_answers_share", labels(partner="slow", kind="stop", answer="late")) not in found
    assert ("rescind_lag_seconds", labels(partner="fine", clock="complete", percentile="95")) in found
    assert ("rescind_lag_seconds", labels(partner="stuck", clock="complete", percentile="95")) not in found
    states = {
        dict(place)["partner"]: dict(place)["state"]
        for (name, place), value in found.items()
        if name == "rescind_partner_state" and value
    }
    assert states == {"fine": "OK", "slow": "WARN", "stuck": "STALL", "dead": "STOP"}


async def test_requests_are_counted_by_route_and_answer(gateway: Gateway) -> None:
    for _ in range(3):
        await gateway.http.get("/v1/consents/user:1", headers=gateway.platform)
    await gateway.http.get("/v1/partners/nobody", headers=gateway.operator)
    await gateway.http.get("/v1/lag")
    found = await samples(gateway)
    name = "rescind_http_requests_total"
    assert found[name, labels(method="GET", route="/v1/consents/{subject:path}", status="200")] == 3
    assert found[name, labels(method="GET", route="/v1/partners/{partner}", status="404")] == 1
    assert found[name, labels(method="GET", route="/v1/lag", status="401")] == 1


async def test_labels_stay_bounded_whatever_clients_send(gateway: Gateway) -> None:
    async def ask(number: int) -> None:
        await gateway.http.get(f"/nothing/{number}")
        await gateway.http.get(f"/v1/consents/user:{number}", headers=gateway.platform)
        await gateway.http.get(f"/v1/partners/p{number}")
        await gateway.http.request(f"FOO{number}", "/v1/lag")
        await gateway.http.request(f"FOO{number}", "/nothing")
        await gateway.http.request(f"FOO{number}", "/v1/partners")

    await ask(0)
    await samples(gateway)
    before = await samples(gateway)
    for number in range(1, 20):
        await ask(number)
    assert set(await samples(gateway)) == set(before)


async def test_a_partner_id_cannot_break_the_format(gateway: Gateway) -> None:
    gateway.registered("acme", name='Ac"me\\\n{}')
    assert ("rescind_notices_open", labels(partner="acme")) in await samples(gateway)


async def test_asking_often_keeps_few_files_open(gateway: Gateway) -> None:
    """The ledger keeps a connection for every thread that asked, so threads must be few and stay."""
    for _ in range(3):
        await scrape(gateway, 50)
    assert len(gateway.ledger._readers) <= min(32, (os.cpu_count() or 1) + 4)


async def scrape(gateway: Gateway, count: int) -> None:
    answers: list[Any] = await asyncio.gather(*(gateway.http.get("/metrics") for _ in range(count)))
    assert {answer.status_code for answer in answers} == {200}


async def test_one_partner_is_told_of_each_kind_over_each_window(gateway: Gateway) -> None:
    four_states(gateway)
    row = (await gateway.http.get("/v1/lag/fine", headers=gateway.operator)).json()
    assert [window["window"] for window in row["windows"]] == ["1h", "24h", "7d", "30d"]
    assert [(kind["kind"], kind["open"]) for kind in row["kinds"]] == [("stop", 0), ("erase", 0), ("resume", 0)]
    erase = row["kinds"][1]
    assert [(window["arrived"], window["answered"]) for window in erase["windows"]] == [(2, 2)] * 4
    assert erase["windows"][3]["complete_lag"]["count"] == 2
    assert (await gateway.http.get("/v1/lag/fine", headers=gateway.partner("fine"))).json() == row
    problem(await gateway.http.get("/v1/lag/fine", headers=gateway.partner("slow")), 404, "unknown-partner")
    problem(await gateway.http.get("/v1/lag/nobody", headers=gateway.operator), 404, "unknown-partner")


async def test_the_window_is_chosen(gateway: Gateway) -> None:
    four_states(gateway)
    gateway.clock.now = at(60 * 30)
    for window, count in (("1h", 0), ("24h", 0), ("7d", 2)):
        answer = await gateway.http.get("/v1/lag", params={"window": window}, headers=gateway.operator)
        (fine,) = [row for row in answer.json()["partners"] if row["partner"] == "fine"]
        assert fine["complete_lag"]["count"] == count
        assert [each["window"] for each in fine["windows"]] == [window]
    problem(await gateway.http.get("/v1/lag", params={"window": "2h"}, headers=gateway.operator), 422, "invalid")
