"""Metrics: what Prometheus itself thinks of them, and that counters of the log's facts never fall, whoever is asked."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.behind import Delay
from streams.events import BatchDelivered, BatchFailed
from streams.records import Record, TopicPartition
from streams.topics import DELIVERIES, DISCLOSURES
from tests.unit.gateway.harness import NOON, Gateway, at, gateway_in
from tests.unit.gateway.test_lag import Samples, completed, delivered, failed, four_states, labels, samples

LAG = "rescind_acknowledgement_lag_seconds"


def tried(gateway: Gateway, number: int, status: int | None, lane: int = 0) -> None:
    """An attempt that failed, or took everything that stands first in the lane."""
    common = {"partner": "acme", "lane": lane, "first_offset": 0, "last_offset": 0, "notices": 1}
    common |= {"webhook_id": f"msg_{lane}", "attempt": number, "status_code": status, "duration_ms": 1}
    now = gateway.clock.now
    data: BatchDelivered | BatchFailed
    if status == 200:
        data = BatchDelivered.model_validate(common | {"delivered_at": now})
    else:
        data = BatchFailed.model_validate(common | {"failed_at": now, "error": "no", "next_attempt_at": now})
    gateway.happened(DELIVERIES.name, f"tried-{lane}-{number}", data)


def buckets(found: Samples, clock: str, partner: str = "acme") -> list[float]:
    of = [
        (float(dict(place)["le"]), value)
        for (name, place), value in found.items()
        if name == f"{LAG}_bucket"
        and {"partner": partner, "kind": "erase", "clock": clock}.items() <= dict(place).items()
    ]
    return [value for _, value in sorted(of)]


async def test_prometheus_finds_nothing_wrong_with_them(gateway: Gateway, promtool: str) -> None:
    four_states(gateway)
    text = (await gateway.http.get("/metrics")).text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def test_lag_is_counted_since_ever_where_deadlines_are(gateway: Gateway) -> None:
    gateway.registered()
    empty = await samples(gateway)
    gateway.issued(1, 2, 3)
    gateway.clock.now = at(24 * 60)
    delivered(gateway)
    gateway.clock.now = at(24 * 60 + 1 / 60)
    completed(gateway, 1)
    gateway.clock.now = at(400 * 24 * 60)
    completed(gateway, 2)
    found = await samples(gateway)
    of = {"partner": "acme", "kind": "erase"}
    assert found[f"{LAG}_bucket", labels(**of, clock="receive", le="43200.0")] == 0
    assert found[f"{LAG}_bucket", labels(**of, clock="receive", le="86400.0")] == 3  # on time is on time
    assert found[f"{LAG}_bucket", labels(**of, clock="complete", le="86400.0")] == 0
    assert found[f"{LAG}_bucket", labels(**of, clock="complete", le="172800.0")] == 1
    assert found[f"{LAG}_bucket", labels(**of, clock="complete", le="7.776e+06")] == 1
    assert found[f"{LAG}_bucket", labels(**of, clock="complete", le="+Inf")] == 2
    assert found[f"{LAG}_count", labels(**of, clock="complete")] == 2
    assert (f"{LAG}_sum", labels(**of, clock="complete")) not in found
    # Each series is there from the start, so that its first increase is one.
    assert {place for place in found if place[0].startswith(LAG)} == {
        place for place in empty if place[0].startswith(LAG)
    }


async def test_a_delivery_that_turns_out_to_be_earlier_lets_no_bucket_fall(gateway: Gateway) -> None:
    gateway.registered(lane=0, more_lanes=(1,))
    gateway.issued(1, lane=0)
    gateway.clock.now = at(90)
    tried(gateway, 1, 200)
    before = buckets(await samples(gateway), "receive")
    gateway.issued(1, lane=1)
    gateway.clock.now = at(3)
    tried(gateway, 1, 200, lane=1)
    after = buckets(await samples(gateway), "receive")
    assert sum(before) < sum(after)
    assert all(old <= new for old, new in zip(before, after, strict=True))
    assert (before[-1], after[-1]) == (1, 1)


async def test_attempts_are_counted_by_what_came_back(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    for number, status in enumerate((None, 503, 500, 302, 429, 999), 1):
        tried(gateway, number, status)
        tried(gateway, number, status)  # the same again, after a crash
    found = await samples(gateway)
    assert found["rescind_delivery_failures_in_a_row", labels(partner="acme")] == 6
    assert found["rescind_breaker_open", labels(partner="acme")] == 1
    tried(gateway, 7, 200)
    found = await samples(gateway)
    attempts = {
        dict(place)["outcome"]: value
        for (name, place), value in found.items()
        if name == "rescind_delivery_attempts_total"
    }
    assert attempts == {"no_answer": 1, "2xx": 1, "3xx": 1, "4xx": 1, "5xx": 2, "other": 1}
    assert found["rescind_delivery_failures_in_a_row", labels(partner="acme")] == 0
    assert found["rescind_breaker_open", labels(partner="acme")] == 0
    assert found["rescind_delivery_last_success_timestamp_seconds", labels(partner="acme")] == NOON.timestamp()


async def test_the_first_deadline_is_known_while_something_is_open(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    name, place = "rescind_open_due_timestamp_seconds", labels(partner="acme", kind="erase", clock="receive")
    assert (await samples(gateway))[name, place] == at(10).timestamp()
    delivered(gateway)
    found = await samples(gateway)
    assert (name, place) not in found
    assert found[name, labels(partner="acme", kind="erase", clock="complete")] == at(60).timestamp()
    assert found["rescind_notices_issued_total", labels(partner="acme", kind="erase")] == 1


async def test_every_gateway_says_the_same_of_the_log(tmp_path: Path) -> None:
    """Also one that was started later, with a ledger of its own."""
    texts = []
    async with gateway_in(tmp_path) as one:
        four_states(one)
        failed(one, "fine")
        (tmp_path / "other").mkdir()
        async with gateway_in(tmp_path / "other", log=one.log) as two:
            two.ledger.apply(one.log._entries)
            two.clock.now = one.clock.now
            for gateway in (one, two):
                texts.append((await gateway.http.get("/metrics")).text)
    said = [
        {(s.name, *sorted(s.labels.items())): s.value for s in family.samples}
        for text in texts
        for family in text_string_to_metric_families(text)
        if family.name not in ("rescind_http_requests", "rescind_toggles_accepted")
        and not family.name.endswith("_created")
    ]
    half = len(said) // 2
    assert said[:half] == said[half:]
    assert half > 20


# -- behind the log


async def test_it_is_known_how_far_the_ledger_is_behind(gateway: Gateway) -> None:
    gateway.registered()
    found = await samples(gateway)
    assert found["rescind_log_reachable", ()] == 1
    assert found["rescind_ledger_behind_records", labels(topic="rescind.notices")] == 0
    gateway.log.projecting = False
    gateway.issued(1)
    gateway.issued(2)
    first = await samples(gateway)
    gateway.clock.now += timedelta(minutes=5)
    second = await samples(gateway)
    assert first["rescind_ledger_behind_records", labels(topic="rescind.notices")] == 2
    assert (first["rescind_ledger_behind_seconds", ()], second["rescind_ledger_behind_seconds", ()]) == (0, 300)
    gateway.log.project()
    found = await samples(gateway)
    assert found["rescind_ledger_behind_records", labels(topic="rescind.notices")] == 0
    assert found["rescind_ledger_behind_seconds", ()] == 0


async def test_disclosures_are_read_by_their_index(gateway: Gateway) -> None:
    topic = labels(topic="rescind.disclosures")
    gateway.log.projecting = False
    gateway.log.put([Record(DISCLOSURES.name, b"posts", b"{}")])  # whatever it says
    assert (await samples(gateway))["rescind_ledger_behind_records", topic] == 1
    gateway.log.project()
    found = await samples(gateway)
    assert (found["rescind_ledger_behind_records", topic], found["rescind_ledger_behind_seconds", ()]) == (0, 0)


async def test_a_log_that_is_away_is_a_metric(gateway: Gateway) -> None:
    gateway.log.failing = True
    found = await samples(gateway)
    assert found["rescind_log_reachable", ()] == 0
    assert ("rescind_ledger_behind_seconds", ()) not in found
    gateway.log.failing = False
    assert (await samples(gateway))["rescind_log_reachable", ()] == 1


def test_a_ledger_that_moves_is_behind_by_what_it_has_not_reached() -> None:
    tp, delay = TopicPartition("t", 0), Delay()
    steps = [(0, 10, 10), (60, 20, 15), (120, 30, 15), (180, 40, 25), (240, 40, 0), (300, 50, 1)]
    seconds = [delay.look(NOON + timedelta(seconds=now), {tp: end}, {tp: left}) for now, end, left in steps]
    # At 120 it has read to 15, so what was there at 0 is done, and what was there at 60 is not.
    assert seconds == [0, 60, 60, 120, 0, 0]


def test_what_is_behind_for_long_is_remembered_in_few_moments() -> None:
    tp, delay = TopicPartition("t", 0), Delay()
    for number in range(1_000):
        assert delay.look(NOON + timedelta(seconds=number), {tp: number + 1}, {tp: number + 1}) == number
    assert len(delay._seen) <= 241
