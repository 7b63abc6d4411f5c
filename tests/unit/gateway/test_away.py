"""Parts that are away: a log that hangs keeps nobody waiting, and without a ledger toggles are still taken."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import Bounded
from ledger import LedgerReader
from streams.errors import LogUnavailable
from streams.records import Record
from tests.unit.gateway.harness import Gateway, gateway_in, logged_in, problem

TOGGLE = {"subject": "user:1", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T11:00:00Z"}
PARTNER = {"id": "acme", "name": "Acme", "url": "https://acme.example/", "purposes": ["ai"]}
ACKNOWLEDGEMENT = {"notice_id": "n", "status": "received"}


@pytest.fixture
async def bounded(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that waits a little for its log, and no longer."""
    async with gateway_in(tmp_path) as opened:
        bounded = replace(opened.context, appender=Bounded(opened.log, 0.1))
        opened.app.state.context = bounded
        yield opened


async def test_what_the_log_answers_in_time_is_passed_on(bounded: Gateway) -> None:
    assert (await bounded.http.post("/v1/toggles", json=TOGGLE, headers=bounded.platform)).status_code == 202
    (event,) = bounded.log.events("rescind.toggles")
    assert event.id == "id-1"
    bounded.log.failing = True
    answer = await bounded.http.post("/v1/toggles", json=TOGGLE, headers=bounded.platform)
    assert "disk is full" in problem(answer, 503, "unavailable")["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/toggles", TOGGLE),
        ("POST", "/v1/partners", PARTNER),
        ("PATCH", "/v1/partners/known", {"name": "x"}),
        ("DELETE", "/v1/partners/known", None),
        ("POST", "/v1/acknowledgements", ACKNOWLEDGEMENT),
    ],
)
async def test_a_log_that_hangs_is_a_503_in_time(bounded: Gateway, method: str, path: str, body: Any) -> None:
    bounded.log.hanging = True
    headers = bounded.partner() if "acknowledgements" in path else bounded.operator
    began = time.monotonic()
    answer = await bounded.http.request(method, path, json=body, headers=headers)
    assert time.monotonic() - began < 5
    assert "the log did not answer within 0.1 s" in problem(answer, 503, "unavailable")["detail"]
    assert answer.headers["retry-after"] == "1"
    assert not bounded.log.records


async def test_a_log_that_answers_again_is_asked_again(tmp_path: Path) -> None:
    async with gateway_in(tmp_path) as gateway:
        appender = Bounded(gateway.log, 0.05)
        gateway.log.hanging = True
        for asked in (
            appender.append([Record("rescind.toggles", b"k", b"v")]),
            appender.end_offsets("rescind.toggles"),
        ):
            with pytest.raises(LogUnavailable, match=r"within 0\.05 s"):
                await asked
        gateway.log.hanging = False
        assert len(await appender.end_offsets("rescind.toggles")) == 8


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway whose site has no ledger yet."""
    reader = LedgerReader(tmp_path / "absent" / "ledger.sqlite")
    async with gateway_in(tmp_path, ledger=reader) as gateway:
        yield gateway
    reader.close()


async def test_without_a_ledger_toggles_are_accepted(alone: Gateway) -> None:
    answer = await alone.http.post("/v1/toggles", json=TOGGLE, headers=alone.platform)
    assert answer.status_code == 202
    assert len(alone.log.events("rescind.toggles")) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/consents/user:1", None),
        ("GET", "/v1/subjects/user:1/timeline", None),
        ("GET", "/v1/partners", None),
        ("GET", "/v1/partners/acme", None),
        ("GET", "/v1/lag", None),
        ("POST", "/v1/partners", PARTNER),
        ("PATCH", "/v1/partners/acme", {"name": "x"}),
        ("DELETE", "/v1/partners/acme", None),
        ("POST", "/v1/acknowledgements", ACKNOWLEDGEMENT),
        ("GET", "/metrics", None),
        ("GET", "/dashboard", None),
    ],
)
async def test_without_a_ledger_everything_else_is_a_503(alone: Gateway, method: str, path: str, body: Any) -> None:
    headers = alone.partner() if "acknowledgements" in path else alone.operator
    if path == "/dashboard":
        await logged_in(alone)
    answer = await alone.http.request(method, path, json=body, headers=headers)
    found = problem(answer, 503, "unavailable")
    assert "`rescind ledger` makes it" in found["detail"]
    assert answer.headers["retry-after"] == "1"
    assert not alone.log.records
