"""Bodies that are no JSON, too large, too deep, or never finished; on every route that takes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger import Role
from tests.unit.gateway.harness import Gateway, gateway_in, problem

ROUTES = [
    ("POST", "/v1/toggles", Role.PLATFORM),
    ("POST", "/v1/acknowledgements", Role.PARTNER),
    ("POST", "/v1/partners", Role.OPERATOR),
    ("PATCH", "/v1/partners/acme", Role.OPERATOR),
]
route = pytest.mark.parametrize(("method", "path", "role"), ROUTES, ids=[f"{case[0]} {case[1]}" for case in ROUTES])

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "white space": b"  \n",
    "cut off": b'{"subject": "user:1"',
    "not UTF-8": b'{"subject": "user:\xff"}',
    "UTF-16": '{"subject": "user:1"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"subject": "user:1"}',
    "NaN": b'{"version": NaN}',
    "Infinity": b'{"version": Infinity}',
    "a number beyond all numbers": b'{"version": 1e400}',
    "a lone surrogate": b'{"source": "\\ud800"}',
    "a comma too many": b"[1,]",
    "two values": b"{} {}",
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // toggles",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "a form": b"subject=user%3A1&choice=opt_out",
    "100,000 opening brackets": b"[" * 100_000,
    "100,000 opening braces": b'{"a":' * 100_000,
    "100,000 nested lists": b"[" * 100_000 + b"]" * 100_000,
    "1,000 nested lists, which orjson reads but does not write": b"[" * 1000 + b"]" * 1000,
    "65 nested objects": b'{"a":' * 65 + b"1" + b"}" * 65,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
@route
async def test_what_is_no_json_is_400(gateway: Gateway, method: str, path: str, role: Role, body: bytes) -> None:
    gateway.registered()
    before = len(gateway.log.records)
    headers = gateway.as_(role, "acme" if role is Role.PARTNER else None)
    answer = await gateway.http.request(method, path, content=body, headers=headers)
    problem(answer, 400, "malformed")
    assert len(gateway.log.records) == before


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "", "json", "é", "*/*"]
)
@route
async def test_another_media_type_is_415(gateway: Gateway, method: str, path: str, role: Role, media_type: str) -> None:
    headers = gateway.as_(role, "acme" if role is Role.PARTNER else None)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-type", media_type.encode("latin-1")))
    problem(await gateway.http.request(method, path, content=b"{}", headers=raw), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "media_type", ["APPLICATION/JSON", "application/json;charset=utf-8", " application/json ; x=y"]
)
async def test_a_media_type_may_have_parameters_and_capitals(gateway: Gateway, media_type: str) -> None:
    answer = await gateway.http.post(
        "/v1/toggles", content=b"[]", headers=gateway.platform | {"content-type": media_type}
    )
    problem(answer, 422, "invalid")


async def chunks(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * size


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that takes 2,048 bytes."""
    async with gateway_in(tmp_path, {"max_body_bytes": 2048}) as opened:
        yield opened


@route
async def test_a_body_that_says_it_is_too_large_is_413(small: Gateway, method: str, path: str, role: Role) -> None:
    headers = small.as_(role, "acme" if role is Role.PARTNER else None)
    answer = await small.http.request(method, path, content=b" " * 2049, headers=headers)
    problem(answer, 413, "too-large")
    assert answer.headers["connection"] == "close"


@route
async def test_a_body_that_turns_out_too_large_is_413(small: Gateway, method: str, path: str, role: Role) -> None:
    headers = small.as_(role, "acme" if role is Role.PARTNER else None)
    answer = await small.http.request(method, path, content=chunks(1000, 3), headers=headers)
    problem(answer, 413, "too-large")
    assert answer.headers["connection"] == "close"


async def test_the_rest_of_an_oversized_body_is_not_read(small: Gateway) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1000

    problem(await small.http.post("/v1/toggles", content=endless(), headers=small.platform), 413, "too-large")
    assert read == 3


async def test_a_body_of_just_the_limit_is_read(small: Gateway) -> None:
    exactly = b"[" + b" " * 2046 + b"]"
    problem(await small.http.post("/v1/toggles", content=exactly, headers=small.platform), 422, "invalid")
    problem(await small.http.post("/v1/toggles", content=chunks(1024, 2), headers=small.platform), 400, "malformed")


@pytest.mark.parametrize(
    ("length", "status"),
    [("-1", 400), ("abc", 400), ("", 400), ("+5", 400), ("1e9", 400), ("9" * 5000, 413), ("2049", 413)],
)
async def test_a_length_is_a_number_within_the_limit(small: Gateway, length: str, status: int) -> None:
    request = small.http.build_request("POST", "/v1/toggles", content=b"[]", headers=small.platform)
    request.headers["content-length"] = length
    problem(await small.http.send(request), status)


async def test_oversized_bodies_are_counted(small: Gateway) -> None:
    await small.http.post("/v1/toggles", content=b" " * 4096, headers=small.platform)
    await small.http.post("/v1/toggles", content=chunks(1000, 5), headers=small.platform)
    text = (await small.http.get("/metrics")).text
    assert 'rescind_http_requests_total{method="POST",route="none",status="413"} 1.0' in text
    assert 'rescind_http_requests_total{method="POST",route="/v1/toggles",status="413"} 1.0' in text


@route
async def test_a_client_that_goes_away_is_no_failure_of_ours(
    gateway: Gateway, method: str, path: str, role: Role
) -> None:
    """As an ASGI server has it: half a body, then the end of the connection."""
    key = gateway.as_(role, "acme" if role is Role.PARTNER else None)["authorization"]
    coming: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'[{"subject":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return coming.pop(0) if len(coming) > 1 else coming[0]

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", key.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    async with asyncio.timeout(10):
        await gateway.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not gateway.log.records
