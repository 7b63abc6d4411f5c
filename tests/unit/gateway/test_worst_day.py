"""Files that are locked, damaged or gone, and failures of our own: always a clear problem, never a trace."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.problems import pointer
from ledger import KeyStore, Ledger, Role, queries
from streams.errors import StorageUnusable
from tests.unit.gateway.harness import Gateway, gateway_in, problem

TOGGLE = {"subject": "user:1", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T11:00:00Z"}
PARTNER = {"id": "acme", "name": "Acme", "url": "https://acme.example/", "purposes": ["ai"]}
READS = ["/v1/consents/user:1", "/v1/subjects/user:1/timeline", "/v1/partners", "/v1/partners/acme", "/v1/lag"]


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway whose own failures are answered, as a server would have it."""
    async with gateway_in(tmp_path, raise_app_exceptions=False) as opened:
        opened.operator, opened.platform, opened.partner()
        yield opened


def execute(path: Path, *statements: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    return connection


def damage(path: Path) -> None:
    """Overwrite every page, as a bad disk or a bad restore would."""
    for name in (path, path.with_name(path.name + "-wal")):
        if name.exists():
            with name.open("r+b") as file:
                size = len(file.read())
                file.seek(0)
                file.write(b"\xa5" * size)


async def test_a_ledger_that_is_locked_for_writing_is_read_all_the_same(failing: Gateway, tmp_path: Path) -> None:
    failing.registered()
    connection = execute(tmp_path / "ledger.sqlite", "BEGIN IMMEDIATE", "DELETE FROM consents")
    try:
        for path in READS:
            assert (await failing.http.get(path, headers=failing.operator)).status_code == 200
    finally:
        connection.close()


async def test_a_ledger_that_lost_its_tables_is_503(failing: Gateway, tmp_path: Path) -> None:
    failing.registered()
    assert (await failing.http.get("/v1/partners", headers=failing.operator)).status_code == 200
    execute(
        tmp_path / "ledger.sqlite",
        *(f"DROP TABLE {name}" for name in ("consents", "toggles", "partners", "notices", "counts")),
    ).close()
    for path in [*READS, "/metrics"]:
        answer = await failing.http.get(path, headers=failing.operator)
        found = problem(answer, 503, "unavailable")
        assert "ledger" in found["detail"]
        assert answer.headers["retry-after"] == "1"
    problem(await failing.http.delete("/v1/partners/acme", headers=failing.operator), 503)
    problem(await failing.http.post("/v1/partners", json=PARTNER, headers=failing.operator), 503)
    answer = await failing.http.post(
        "/v1/acknowledgements", json={"notice_id": "n", "status": "received"}, headers=failing.partner()
    )
    problem(answer, 503)
    failing.log.projecting = False
    answer = await failing.http.post("/v1/toggles", json=TOGGLE, headers=failing.platform)
    assert answer.status_code == 202, "toggles need no ledger"


async def test_a_damaged_ledger_is_503(failing: Gateway, tmp_path: Path) -> None:
    failing.registered()
    damage(tmp_path / "ledger.sqlite")
    for path in READS:
        problem(await failing.http.get(path, headers=failing.operator), 503, "unavailable")


async def test_a_ledger_that_was_taken_away_is_503_and_not_made_anew(failing: Gateway, tmp_path: Path) -> None:
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    problem(await failing.http.get("/v1/lag", headers=failing.operator), 503, "unavailable")
    assert not list(tmp_path.glob("ledger.sqlite*"))


async def test_a_closed_ledger_is_503(failing: Gateway) -> None:
    assert (await failing.http.get("/v1/lag", headers=failing.operator)).status_code == 200
    failing.ledger.close()
    for answer in await asyncio.gather(*(failing.http.get("/v1/lag", headers=failing.operator) for _ in range(8))):
        problem(answer, 503, "unavailable")


async def test_keys_that_are_locked_for_writing_still_open_doors(failing: Gateway, tmp_path: Path) -> None:
    failing.registered("other", lane=1)
    connection = execute(tmp_path / "keys.sqlite", "BEGIN IMMEDIATE")
    try:
        assert (await failing.http.get("/v1/lag", headers=failing.operator)).status_code == 200
        answer = await failing.http.post("/v1/partners", json=PARTNER, headers=failing.operator)
        assert "locked" in problem(answer, 503, "unavailable")["detail"]
        problem(await failing.http.get("/v1/partners/acme", headers=failing.operator), 404)
    finally:
        connection.close()
    answer = await failing.http.post("/v1/partners", json=PARTNER, headers=failing.operator)
    assert answer.status_code == 201


def lost_tables(path: Path, keys: KeyStore) -> None:
    execute(path, "DROP TABLE keys").close()


def closed(path: Path, keys: KeyStore) -> None:
    keys.close()


@pytest.mark.parametrize("break_them", [lost_tables, closed])
async def test_keys_that_cannot_be_read_let_nobody_in(
    failing: Gateway, tmp_path: Path, break_them: Callable[[Path, KeyStore], None]
) -> None:
    break_them(tmp_path / "keys.sqlite", failing.keys)
    for method, path, body in (("GET", "/v1/lag", None), ("POST", "/v1/toggles", TOGGLE)):
        answer = await failing.http.request(method, path, json=body, headers=failing.operator)
        found = problem(answer, 503, "unavailable")
        assert "key file" in found["detail"]
        assert answer.headers["retry-after"] == "1"
    assert not failing.log.records
    assert (await failing.http.get("/health/live")).status_code == 200


async def test_closing_waits_for_a_question_that_is_under_way(
    failing: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request's thread outlives the request when the server stops; SQLite would crash below it."""
    asked, answer = threading.Event(), threading.Event()

    def slow(database: Any) -> list[Any]:
        asked.set()
        answer.wait(10)
        return list(database.query("SELECT 1"))

    monkeypatch.setattr(queries, "partners", slow)
    question = asyncio.ensure_future(asyncio.to_thread(failing.ledger.partners))
    await asyncio.to_thread(asked.wait, 10)
    closing = asyncio.ensure_future(asyncio.to_thread(failing.ledger.close))
    done, _ = await asyncio.wait([closing], timeout=0.05)
    assert not done
    answer.set()
    assert await question
    await closing


@pytest.mark.parametrize("kind", [KeyStore, Ledger])
def test_a_file_that_cannot_be_opened_is_said_so_in_one_line(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "directory", tmp_path / "nothing" / "x.sqlite"):
        with pytest.raises(StorageUnusable, match=path.name):
            kind.open(path)


async def test_a_failure_of_our_own_is_a_500_that_tells_nothing(
    failing: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(failing.ledger, "overview", fails)
    answer = await failing.http.get("/v1/lag", headers=failing.operator)
    problem(answer, 500, "internal")
    assert "secret" not in answer.text
    monkeypatch.undo()
    text = (await failing.http.get("/metrics")).text
    assert 'rescind_http_requests_total{method="GET",route="/v1/lag",status="500"} 1.0' in text


async def test_an_unavailable_log_is_told_to_operators(failing: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    failing.log.failing = True
    with caplog.at_level(logging.ERROR, "gateway"):
        await failing.http.post("/v1/toggles", json=TOGGLE, headers=failing.platform)
    assert [record.getMessage() for record in caplog.records] == [
        "POST /v1/toggles: the log takes nothing: the disk is full"
    ]


async def test_many_at_once_are_all_answered(gateway: Gateway) -> None:
    async def one(number: int) -> int:
        if number % 2:
            return (await gateway.http.get("/v1/lag", headers=gateway.operator)).status_code
        return (await gateway.http.post("/v1/toggles", json=TOGGLE, headers=gateway.platform)).status_code

    assert set(await asyncio.gather(*(one(number) for number in range(100)))) == {200, 202}
    assert len(gateway.log.records) == 50


async def test_errors_of_keys_and_partners_are_private_to_a_test(gateway: Gateway) -> None:
    assert gateway.key(Role.OPERATOR) == gateway.key(Role.OPERATOR)
    assert gateway.key(Role.PARTNER, "a") != gateway.key(Role.PARTNER, "b")


@pytest.mark.parametrize(
    ("location", "expected"), [((), ""), (("a", 0), "/a/0"), (("a/b", "c~d"), "/a~1b/c~0d"), (("",), "/")]
)
def test_pointers_are_those_of_rfc_6901(location: tuple[Any, ...], expected: str) -> None:
    assert pointer(location) == expected
