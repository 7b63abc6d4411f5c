"""The whole service on a real Kafka, as processes of their own, whose workers and brokers are killed under load."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.app import GROUP
from rescind.client import ApiError, Client
from rescind.importing import Import, Options
from rescind.simulated import Behaviour
from streams.topics import NOTICES
from tests.e2e.model import FILE, model_of
from tests.e2e.parts import Parts, on_kafka
from tests.e2e.test_lifecycle import rescind
from tests.e2e.test_real_opt_outs import CAST, check_stories
from tests.e2e.world import PATIENCE, Cast, all_acknowledged, all_settled
from tests.kafka.broker import Broker
from tests.kafka.cluster import Cluster

#: Seconds that deliveries to a healthy partner may pause when a worker is killed: 6 until the brokers take it for
#: dead (`streams.kafka.consumer.SESSION_TIMEOUT`), the rest to share out its partitions.
PAUSE = 10.0
#: `make soak` goes on for longer.
ROUNDS = int(os.environ.get("SOAK_ROUNDS", "1"))
HEALTHY = {"reply": Cast(("ai",)), "single": Cast(("ai",), batch_size=1)}
FLAKY = {"flaky": Cast(("ai",), Behaviour(refuse_one_of=3))}


class Load:
    """Toggles, in a thread and a few at a time, and how long partners heard nothing."""

    def __init__(self, here: Parts, total: int, rate: float) -> None:
        self._here = here
        self._rate = rate
        self.total = total
        self.sent = 0
        self.pauses: dict[str, float] = {}

    async def run(self) -> None:
        watching = asyncio.ensure_future(self._watch())
        try:
            await asyncio.to_thread(self._send)
            await self._here.until(all_settled(Counter(dict.fromkeys(self._here.partners, self.total))))
        finally:
            watching.cancel()

    def _send(self) -> None:
        began = time.monotonic()
        with Client(self._here.url, self._here.platform_key) as client:
            while self.sent < self.total:
                numbers = range(self.sent, min(self.sent + 10, self.total))
                _post(client, [self._toggle(number) for number in numbers])
                self.sent = numbers.stop
                # A steady load, and not as much as goes in.
                time.sleep(max(0.0, began + self.sent / self._rate - time.monotonic()))

    def _toggle(self, number: int) -> dict[str, str]:
        # Each subject first opts out, then in again.
        half = self.total // 2
        out = number < half
        at = f"2026-01-01T0{'0' if out else '1'}:00:00Z"
        choice = "opt_out" if out else "opt_in"
        return {
            "id": f"t{number}", "subject": f"user:{number % half}", "purpose": "ai", "choice": choice, "occurred_at": at
        }  # fmt: skip

    async def _watch(self) -> None:
        seen: dict[str, int] = {}
        since: dict[str, float] = {}
        while True:
            now = time.monotonic()
            for name, partner in self._here.partners.items():
                if len(partner.seen.notices) != seen.get(name):
                    seen[name] = len(partner.seen.notices)
                    self.pauses[name] = max(self.pauses.get(name, 0.0), now - since.get(name, now))
                    since[name] = now
            await asyncio.sleep(0.1)


def _post(client: Client, toggles: list[dict[str, str]]) -> None:
    """As platforms are told to: what is refused since the log is away is said again, under the same ids."""
    while True:
        try:
            client.post_toggles(toggles)
        except ApiError as error:
            if error.status != 503:
                raise
            time.sleep(0.2)
        else:
            return


async def check(here: Parts, load: Load) -> None:
    """Nothing is lost, and nothing has two ids. What a subject reversed before a partner took it is left out."""
    with here.operator() as client:
        totals = client.lag()["totals"]
    notices = load.total * len(here.partners)
    assert (totals["toggles"], totals["poisoned"], totals["opted_out"]) == (load.total, 0, 0)
    taken = sum(len(partner.seen.notices) for partner in here.partners.values())
    assert (totals["notices"], totals["acknowledged"], totals["open"]) == (notices, taken, 0)
    subjects = {f"user:{number}" for number in range(load.total // 2)}
    for partner in here.partners.values():
        assert partner.seen.faults == []
        told = Counter((notice.subject, notice.action) for notice in partner.seen.notices.values())
        assert set(told.values()) == {1}
        assert {subject for subject, action in told if action == "resume"} == subjects
        assert {subject for subject, action in told if action == "erase"} <= subjects


async def test_every_opt_out_reaches_every_partner_in_scope(tmp_path: Path, kafka: Broker) -> None:
    file = Path(shutil.copy(FILE, tmp_path / FILE.name))
    model = model_of(file, {partner: part.purposes for partner, part in CAST.items()})
    async with on_kafka(tmp_path, kafka.address) as here:
        await here.start_parts("worker", "worker-2", "ledger", "gateway")
        await here.register(CAST)
        with here.platform() as client:
            summary = await asyncio.to_thread(Import(file, client, Options()).run)
        assert (summary.accepted, summary.bad) == (952, [])
        await here.until(all_settled(model.by_partner()))
        await check_stories(here, model)


@pytest.mark.alone
async def test_workers_that_are_killed_join_and_leave_lose_nothing(tmp_path: Path, kafka: Broker) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown by pytest if the test fails
    chance = random.Random(seed)
    async with on_kafka(tmp_path, kafka.address) as here:
        await here.start_parts("worker-1", "worker-2", "worker-3", "ledger", "gateway")
        await here.register(HEALTHY | FLAKY)
        load = Load(here, 1600 * ROUNDS, rate=60)
        loading = asyncio.ensure_future(load.run())
        pauses = []
        for victim, leaver in (("worker-1", "worker-3"), ("worker-2", "worker-1")) * ROUNDS:
            await asyncio.sleep(chance.uniform(1.0, 2.0))
            load.pauses.clear()
            await here.kill_part(victim)
            await asyncio.sleep(PAUSE)  # so that each kill is measured by itself
            pauses.append(max(load.pauses.get(name, PAUSE) for name in HEALTHY))
            # Joining and leaving in good order are heard at once.
            await here.start_part(victim)
            assert await here.stop_part(leaver) == 0
            await here.start_part(leaver)
        await loading
        await check(here, load)
        # A slow machine that starts a worker at that moment takes longer to share out partitions, and no less right.
        assert min(pauses) < PAUSE, pauses


async def test_workers_outlive_a_broker_that_restarts(tmp_path: Path, kafka: Broker) -> None:
    async with on_kafka(tmp_path, kafka.address) as here:
        await here.start_parts("worker-1", "worker-2", "ledger", "gateway")
        await here.register(HEALTHY)
        load = Load(here, 1000, rate=80)
        loading = asyncio.ensure_future(load.run())
        for away in (0.0, 2.0):
            await asyncio.sleep(2.0)
            await asyncio.to_thread(kafka.kill)
            await asyncio.sleep(away)
            await asyncio.to_thread(kafka.start)
        await loading
        await check(here, load)
        assert all(process.running for process in here.running.values())


@pytest.mark.alone
async def test_a_cluster_that_loses_a_broker_goes_on(tmp_path: Path, kafka_cluster: Cluster) -> None:
    async with on_kafka(tmp_path, kafka_cluster.address) as here:
        await here.start_parts("worker-1", "worker-2", "ledger", "gateway")
        await here.register(HEALTHY)
        load = Load(here, 900, rate=60)
        loading = asyncio.ensure_future(load.run())
        await asyncio.sleep(3.0)
        # Never refused, and told while it is away.
        await asyncio.to_thread(kafka_cluster.leader(NOTICES.name).kill)
        await loading
        await check(here, load)
        assert max(load.pauses.values()) < PAUSE
        await asyncio.to_thread(kafka_cluster.start)


async def test_a_rebalance_in_the_middle_of_a_delivery_keeps_its_id(tmp_path: Path, kafka: Broker) -> None:
    async with on_kafka(tmp_path, kafka.address, RESCIND_DELIVERY_TIMEOUT="60") as here:
        await here.start_parts("worker-1", "ledger", "gateway")
        held = Cast(("ai",), Behaviour(answer_after=4.0))
        await here.register({"slow": held})
        with here.platform() as client:
            client.post_toggles(
                [{"subject": "user:1", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T00:00:00Z"}]
            )
        slow = here.partners["slow"].seen
        async with asyncio.timeout(PATIENCE):
            while not slow.webhooks:
                await asyncio.sleep(0.05)
        # Others come, and partitions move, while the request is under way.
        await here.start_parts("worker-2", "worker-3")
        await here.until(all_acknowledged(Counter(slow=1)))
        assert len(slow.webhooks) == len(slow.notices) == 1
        assert slow.faults == []


async def test_the_backlog_is_what_kafkas_own_tools_say(tmp_path: Path, kafka: Broker) -> None:
    async with on_kafka(tmp_path, kafka.address) as here:
        await here.start_parts("worker-1", "ledger", "gateway")
        await here.register({"well": Cast(("ai",)), "deaf": Cast(("ai",), Behaviour(refuse_one_of=1), batch_size=1)})
        with here.platform() as client:
            # At once, and one by one.
            client.post_toggles([_opt_out(number) for number in range(3)])
            for number in range(3, 7):
                client.post_toggles([_opt_out(number)])
        await here.until(seven_wait_for("deaf"))
        with here.operator() as client:
            (deaf,) = (partner["lane"] for partner in client.partners() if partner["id"] == "deaf")
        # Offsets are committed somewhat later than what they stand for is known.
        await until_unread(kafka, {deaf})
        by_kafka = lags(kafka)
        ran = await asyncio.to_thread(rescind, "lag", "--json", RESCIND_LOG=f"kafka://{kafka.address}")
        by_rescind = {lane["lane"]: lane["backlog"] for lane in json.loads(ran.stdout)["lanes"] if lane["backlog"]}
        assert by_rescind == by_kafka
        # Seven packs, and a mark for each transaction that put some there. How many decisions share one is chance.
        assert 7 < by_kafka[deaf] <= 14


def _opt_out(number: int) -> dict[str, str]:
    toggle = {"subject": f"user:{number}", "purpose": "ai", "choice": "opt_out"}
    return toggle | {"occurred_at": "2026-01-01T00:00:00Z"}


def seven_wait_for(partner: str) -> Callable[[dict[str, Any]], bool]:
    """Seven notices are open, all of this partner, and seven of others are acknowledged."""

    def reached(lag: dict[str, Any]) -> bool:
        rows = {row["partner"]: row["open"] for row in lag["partners"]}
        return (rows.get(partner), lag["totals"]["open"], lag["totals"]["acknowledged"]) == (7, 7, 7)

    return reached


def lags(kafka: Broker) -> dict[int, int]:
    """By lane what Kafka's own tool says is left there."""
    told = kafka.tool("kafka-consumer-groups", "--describe", "--group", GROUP)
    rows = [line.split() for line in told.splitlines() if f" {NOTICES.name} " in line]
    return {int(row[2]): int(row[5]) for row in rows if row[5] != "0"}


async def until_unread(kafka: Broker, lanes: set[int]) -> None:
    """Wait until something is left in these lanes, and in no others."""
    found: dict[int, int] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while (found := await asyncio.to_thread(lags, kafka)).keys() != lanes:
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not reached: {found}") from None


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SSL"])
async def test_logins_and_certificates_are_passed_through(
    tmp_path: Path, secure_kafka: Broker, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    security = secure_kafka.security
    assert security is not None
    settings = {
        "RESCIND_KAFKA_SECURITY_PROTOCOL": protocol,
        "RESCIND_KAFKA_SSL_CAFILE": str(security.certificates.authority),
    }
    if protocol == "SASL_SSL":
        settings |= {"RESCIND_KAFKA_SASL_USERNAME": security.user, "RESCIND_KAFKA_SASL_PASSWORD": security.password}
    else:
        settings |= {
            "RESCIND_KAFKA_SSL_CERTFILE": str(security.certificates.client),
            "RESCIND_KAFKA_SSL_KEYFILE": str(security.certificates.client_key),
        }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    async with on_kafka(tmp_path, secure_kafka.addresses[protocol], **settings) as here:
        await here.start_parts("worker", "ledger", "gateway")
        await here.register({"p": Cast(("ai",))})
        with here.platform() as client:
            toggle = {"subject": "user:1", "purpose": "ai", "choice": "opt_out"}
            client.post_toggles([toggle | {"occurred_at": "2026-01-01T00:00:00Z"}])
        await here.until(all_acknowledged(Counter(p=1)))
