"""The service's own processes on a real broker: two workers, a ledger and a gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from agents.app import GROUP
from rescind.client import ApiError
from rescind.simulated import Behaviour
from streams.topics import LANES, NOTICES
from tests.e2e.parts import parts
from tests.e2e.test_lifecycle import one_line, rescind, toggle
from tests.e2e.world import PATIENCE, Cast, all_acknowledged
from tests.kafka.broker import Broker


@pytest.fixture
def environment(kafka: Broker) -> dict[str, str]:
    chosen = {"RESCIND_LOG": f"kafka://{kafka.address}", "RESCIND_SEALING_KEY": Fernet.generate_key().decode()}
    made = rescind("topics", "apply", **chosen)
    assert made.returncode == 0, made
    return chosen


def lag(environment: Mapping[str, str]) -> dict[int, int]:
    """By lane, as `rescind lag` says."""
    ran = rescind("lag", "--json", **environment)
    assert ran.returncode == 0, ran
    return {lane["lane"]: lane["backlog"] for lane in json.loads(ran.stdout)["lanes"]}


def tool_rows(broker: Broker) -> list[list[str]]:
    """Of each partition that the workers read, what Kafka's own tool says: group, topic, partition, current offset,
    end offset, lag, and who reads it. A dash stands for what was never committed."""
    said = broker.tool("kafka-consumer-groups", "--describe", "--group", GROUP)
    return [line.split() for line in said.splitlines() if line.startswith(f"{GROUP} ")]


def tool_lag(broker: Broker) -> dict[int, int]:
    """By lane, where the tool says a number."""
    return {int(row[2]): int(row[5]) for row in tool_rows(broker) if row[1] == NOTICES.name and row[5] != "-"}


async def all_committed(broker: Broker) -> None:
    """Return when the workers have committed whatever there is to read."""
    async with asyncio.timeout(PATIENCE):
        while True:
            rows = await asyncio.to_thread(tool_rows, broker)
            # Of an empty partition there is nothing to commit.
            if rows and all(row[5] == "0" or row[4] == "0" for row in rows):
                return


async def agreed(broker: Broker, environment: Mapping[str, str], lane: int, packs: int) -> None:
    """Return when one lane has so many packs left and no other has any, by both accounts. Each transaction of the
    fan-out has left a mark there too, after one pack or more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            ours = await asyncio.to_thread(lag, environment)
            tool = await asyncio.to_thread(tool_lag, broker)
            assert set(ours) <= set(range(LANES))
            backlog = ours[lane]
            if tool[lane] == sum(ours.values()) == sum(tool.values()) == backlog and packs <= backlog <= 2 * packs:
                return


async def test_two_workers_a_ledger_and_a_gateway(kafka: Broker, environment: dict[str, str], tmp_path: Path) -> None:
    async with parts(tmp_path, environment) as here:
        await here.start_parts("worker-1", "worker-2", "ledger", "gateway")
        cast = {"reply": Cast(("ai",)), "held": Cast(("ai",), Behaviour(complete_after=0.2), batch_size=1)}
        await here.register(cast)
        with here.platform() as platform, here.operator() as operator:
            platform.post_toggles([toggle(number) for number in range(100)])
            await here.until(all_acknowledged(Counter(dict.fromkeys(cast, 100))))
            # What is not committed when a worker is killed another one repeats, and would stand in the lane as well.
            await all_committed(kafka)
            lane = operator.change_partner("held", {"status": "paused"})["lane"]
            await here.kill_part("worker-1")
            platform.post_toggles([toggle(number) for number in range(100, 200)])
            await here.until(all_acknowledged(Counter(reply=200, held=100)))
            await agreed(kafka, environment, lane, 100)
            operator.change_partner("held", {"status": "active"})
            await here.until(all_acknowledged(Counter(dict.fromkeys(cast, 200))))
            await agreed(kafka, environment, lane, 0)

            # The broker goes, and comes back.
            kafka.kill()
            began = time.monotonic()
            with pytest.raises(ApiError, match=r"did not answer within 10 s|Kafka at") as refused:
                platform.post_toggles([toggle(200)])
            assert refused.value.status == 503
            assert time.monotonic() - began < 20
            began = time.monotonic()
            ready = httpx.get(f"{here.url}/health/ready", timeout=20)
            assert (ready.status_code, time.monotonic() - began < 10) == (503, True)
            kafka.start()
            async with asyncio.timeout(PATIENCE):
                while not await asyncio.to_thread(_accepted, platform, 200):
                    await asyncio.sleep(0.2)
            account = await here.until(all_acknowledged(Counter(dict.fromkeys(cast, 201))))
        assert account["totals"]["opted_out"] == 201
        for partner in here.partners.values():
            assert len(partner.seen.notices) == 201
            assert not partner.seen.faults


def _accepted(platform: Any, number: int) -> bool:
    try:
        platform.post_toggles([toggle(number)])
    except ApiError as error:
        assert error.status == 503
        return False
    return True


@pytest.mark.parametrize("process", ["worker", "gateway", "up"])
def test_a_log_that_others_share_needs_a_sealing_key_that_they_have(
    environment: dict[str, str], tmp_path: Path, process: str
) -> None:
    del environment["RESCIND_SEALING_KEY"]
    port = [] if process == "worker" else ["--port", "0"]
    assert "set RESCIND_SEALING_KEY" in one_line(rescind(process, "--data", str(tmp_path), *port, **environment))
    assert not list(tmp_path.glob("*.key"))
    assert not list(tmp_path.glob("*.sqlite")), "a start that failed made something"
