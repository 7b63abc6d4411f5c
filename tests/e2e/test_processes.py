"""The parts of the service as processes of their own, on the embedded log: together they do what one process does,
and each may die and come back while the others go on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import httpx
import pytest

from rescind.client import ApiError, Client
from rescind.launching import Launch, ServiceProcess
from rescind.simulated import Behaviour
from tests.e2e.parts import parts
from tests.e2e.test_lifecycle import one_line, rescind, toggle
from tests.e2e.world import PATIENCE, Cast, all_acknowledged
from tests.support.ports import free_ports


async def test_parts_that_are_killed_in_turn_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    async with parts(tmp_path) as here:
        await here.start_parts("worker", "ledger", "gateway", "gateway-2")
        cast = {"reply": Cast(("ai",)), "later": Cast(("ai",), Behaviour(complete_after=0.3))}
        await here.register(cast)
        with Client(here.running["gateway-2"].url, here.platform_key) as other:
            other.post_toggles([toggle(number) for number in range(50)])
            for name, numbers in (("worker", range(50, 100)), ("ledger", range(100, 150))):
                await here.kill_part(name)
                other.post_toggles([toggle(number) for number in numbers])
                with Client(here.url, here.operator_key) as client:
                    assert client.lag()["totals"] is not None, "what is known is told though nobody writes it"
                await here.start_part(name)
            await here.kill_part("gateway")
            other.post_toggles([toggle(number) for number in range(150, 200)])
            await here.start_part("gateway")
        lag = await here.until(all_acknowledged(Counter(dict.fromkeys(cast, 200))))
        assert lag["totals"]["toggles"] == lag["totals"]["opted_out"] == 200
        for partner in here.partners.values():
            assert len(partner.seen.notices) == 200
            assert not partner.seen.faults
        # What both gateways know is the same file.
        with Client(here.running["gateway-2"].url, here.operator_key) as client:
            assert client.lag()["totals"] == lag["totals"]


async def test_gateways_accept_toggles_before_anything_else_runs(tmp_path: Path) -> None:
    async with parts(tmp_path) as here:
        await here.start_parts("gateway", "gateway-2")
        gateways = [here.running["gateway"], here.running["gateway-2"]]
        shown = [(each.operator_key, each.platform_key) for each in gateways]
        assert sorted(keys != (None, None) for keys in shown) == [False, True], "keys are made once"
        for gateway in gateways:
            with Client(gateway.url, here.platform_key) as client:
                assert client.post_toggles([toggle(1), toggle(2)]) == ["t1", "t2"]
                with pytest.raises(ApiError, match="`rescind ledger` makes it") as refused:
                    client.consents("user:1")
                assert refused.value.status == 503
            ready = httpx.get(f"{gateway.url}/health/ready")
            assert ready.status_code == 200
            assert "there is no ledger" in ready.json()["notes"][0]
        await here.start_part("ledger")
        await here.until(lambda lag: lag["totals"]["toggles"] == 2)
        assert httpx.get(f"{here.url}/health/ready").json() == {"status": "ready"}
        await here.register({"p": Cast(("ai",))})
        await here.start_part("worker")
        await here.until(all_acknowledged(Counter(p=2)))
        for name in ("worker", "ledger"):
            assert httpx.get(f"{here.running[name].url}/health/ready").json() == {"status": "ready"}
            assert httpx.get(f"{here.running[name].url}/v1/lag").status_code == 404


async def test_a_role_on_a_data_directory_and_a_group_of_the_embedded_log_are_one_process_s(tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    async with parts(tmp_path / "first") as here:
        await here.start_parts("worker", "ledger")
        worker, ledger = here.running["worker"].pid, here.running["ledger"].pid
        for words, pid, role in (
            (("worker",), worker, "worker"),
            (("ledger",), ledger, "ledger"),
            (("up", "--port", "0"), worker, "worker"),
        ):
            said = one_line(await asyncio.to_thread(rescind, *words, "--data", first))
            assert f"(process {pid}) is the {role} of the data directory {first}" in said
        url = f"sqlite://{first}/log.sqlite"
        said = one_line(await asyncio.to_thread(rescind, "worker", "--data", second, RESCIND_LOG=url))
        assert f"(process {worker}) consumes from the log" in said
        assert not list((tmp_path / "second").glob("*.sqlite")), "a start that failed made something"


async def test_a_gateway_may_stand_beside_the_whole_service(tmp_path: Path) -> None:
    service = await ServiceProcess.start(Launch(tmp_path))
    beside = await ServiceProcess.start(Launch(tmp_path, process="gateway"))
    assert beside.operator_key is None
    with Client(beside.url, service.operator_key) as client:
        client.post_toggles([toggle(1)])
    assert await service.stop() == 0
    # The last one to leave the log's and the ledger's files; the next start finds all that was written.
    assert await beside.stop() == 0
    again = await ServiceProcess.start(Launch(tmp_path))
    with Client(again.url, service.operator_key) as client:
        async with asyncio.timeout(PATIENCE):
            while client.lag()["totals"]["toggles"] != 1:
                await asyncio.sleep(0.05)
    assert await again.stop() == 0


async def test_a_part_that_fails_ends_its_process_with_one_line(tmp_path: Path) -> None:
    """A ledger that is older than what it has committed cannot go on."""
    async with parts(tmp_path) as here:
        await here.start_parts("ledger", "gateway")
        with here.platform() as client:
            client.post_toggles([toggle(1)])
            await here.until(lambda lag: lag["totals"]["toggles"] == 1)
            await here.stop_part("ledger")
            old = tmp_path / "old.sqlite"
            await asyncio.to_thread(_copy, tmp_path / "ledger.sqlite", old)
            await here.start_part("ledger")
            client.post_toggles([toggle(1) | {"id": "again"}])
            await here.until(lambda lag: lag["totals"]["toggles"] == 2)
            await here.stop_part("ledger")
            for file in tmp_path.glob("ledger.sqlite*"):
                file.unlink()
            shutil.move(old, tmp_path / "ledger.sqlite")
            failing = await here.start_part("ledger")
            client.post_toggles([toggle(1) | {"id": "and-again"}])
        code = await asyncio.wait_for(failing.ended(), PATIENCE)
        del here.running["ledger"]
        assert code == 2
        said = failing.last_words()
        assert said.startswith("rescind: the agents of rescind-ledger-")
        assert said.endswith("delete it, and it is rebuilt from the log")


async def test_a_start_answers_for_its_health_and_is_given_up_by_a_signal(tmp_path: Path) -> None:
    """It goes on trying to reach its log for a while."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "rescind", "worker", "--data", str(tmp_path), "--health-port", str(port)]
    environment = os.environ | {"RESCIND_LOG": "kafka://127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http, asyncio.timeout(PATIENCE):
        while (answer := await _asked(http)) is None:
            await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["detail"]) == (503, "it is starting")
    process.terminate()
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, out) == (0, b"Stopped. The next start goes on where this one ended.\n")
    assert b"Traceback" not in err


async def _asked(http: httpx.AsyncClient) -> httpx.Response | None:
    try:
        return await http.get("/health/ready")
    except httpx.TransportError:
        return None


def _copy(path: Path, to: Path) -> None:
    source, target = sqlite3.connect(path), sqlite3.connect(to)
    source.backup(target)
    source.close()
    target.close()
