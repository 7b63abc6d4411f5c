"""Health: whether the process does its work, what it cannot do even so, and never a wait without end."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from gateway import Readiness, create_health_app
from gateway import health as health_module
from ledger import LedgerReader
from streams.errors import LogUnavailable
from tests.unit.gateway.harness import Gateway, gateway_in, problem


async def test_a_process_that_answers_is_alive_whatever_else(gateway: Gateway) -> None:
    gateway.log.failing = True
    gateway.readiness[0] = Readiness(ready=False)
    answer = await gateway.http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_is_200(gateway: Gateway) -> None:
    answer = await gateway.http.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("reasons", [("acting is recovering", "recording stopped"), ()])
async def test_not_ready_is_503_and_says_why(gateway: Gateway, reasons: tuple[str, ...]) -> None:
    gateway.readiness[0] = Readiness(ready=False, reasons=reasons)
    answer = await gateway.http.get("/health/ready")
    found = problem(answer, 503, "not-ready")
    assert [error["detail"] for error in found.get("errors", [])] == list(reasons)
    assert all(reason in found["detail"] for reason in reasons)
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_load_balancers_may_ask_by_head(gateway: Gateway, path: str) -> None:
    assert (await gateway.http.head(path)).status_code == 200
    gateway.readiness[0] = Readiness(ready=False)
    assert (await gateway.http.head("/health/ready")).status_code == 503


async def test_a_gateway_whose_log_is_away_is_not_ready(gateway: Gateway) -> None:
    gateway.log.failing = True
    found = problem(await gateway.http.get("/health/ready"), 503, "not-ready")
    assert found["detail"] == "the log does not answer"
    gateway.log.failing = False
    assert (await gateway.http.get("/health/ready")).status_code == 200


async def test_a_gateway_whose_log_takes_nothing_is_not_ready_and_says_why(tmp_path: Path) -> None:
    full = ["the log did not take the records: the disk is full"]

    async def check() -> None:
        if full:
            raise LogUnavailable(full[0])

    async with gateway_in(tmp_path, check_log=check) as gateway:
        found = problem(await gateway.http.get("/health/ready"), 503, "not-ready")
        assert found["detail"] == full[0]
        full.clear()
        assert (await gateway.http.get("/health/ready")).json() == {"status": "ready"}


async def test_what_is_in_the_way_of_webhooks_is_noted_and_toggles_are_taken(gateway: Gateway) -> None:
    gateway.readiness[0] = Readiness(ready=True, notes=("this host has no file descriptors left",))
    answer = await gateway.http.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "notes": ["this host has no file descriptors left"]}


async def test_whoever_asks_for_health_does_not_wait_for_a_log_that_hangs(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_PATIENCE", 0.05)
    gateway.log.hanging = True
    began = time.monotonic()
    assert problem(await gateway.http.get("/health/ready"), 503)["detail"] == "the log does not answer"
    assert time.monotonic() - began < 5


async def test_without_a_ledger_it_is_ready_for_toggles_and_says_what_it_cannot(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, ledger=LedgerReader(tmp_path / "nothing.sqlite")) as gateway:
        answer = await gateway.http.get("/health/ready")
        assert answer.status_code == 200
        (note,) = answer.json()["notes"]
        assert note.startswith(f"there is no ledger {tmp_path}/nothing.sqlite yet")
        assert note.endswith("toggles are accepted, and questions are not answered")


async def test_a_process_without_a_gateway_whose_log_takes_nothing_is_not_ready() -> None:
    async def check() -> None:
        raise LogUnavailable("the disk is full")

    transport = httpx.ASGITransport(create_health_app(lambda: Readiness(ready=True, notes=("a note",)), check))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker.test") as http:
        assert problem(await http.get("/health/ready"), 503, "not-ready")["detail"] == "the disk is full"
    transport = httpx.ASGITransport(create_health_app(lambda: Readiness(ready=True, notes=("a note",))))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker.test") as http:
        assert (await http.get("/health/ready")).json() == {"status": "ready", "notes": ["a note"]}


async def test_a_process_without_a_gateway_answers_for_its_health_and_nothing_else() -> None:
    readiness = Readiness(ready=False, reasons=("rescind is recovering",))
    transport = httpx.ASGITransport(create_health_app(lambda: readiness))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker.test") as http:
        assert (await http.get("/health/live")).json() == {"status": "alive"}
        assert problem(await http.get("/health/ready"), 503, "not-ready")["detail"] == "rescind is recovering"
        readiness = Readiness(ready=True)
        assert (await http.head("/health/ready")).status_code == 200
        for path in ("/", "/docs", "/openapi.json", "/v1/lag"):
            problem(await http.get(path), 404, "not-found")
