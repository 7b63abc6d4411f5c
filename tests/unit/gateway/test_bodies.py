"""Bodies that are no JSON, too large, too deep, or never finished; on every route that takes one."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger import Role
from streams.topics import TOGGLES
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
    "half of UTF-16": b"\xff\xfe[\x00]",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "two byte order marks": b"\xef\xbb\xbf" * 2 + b"{}",
    "a comma too many": b"[1,]",
    "two values": b"{} {}",
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // toggles",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "a form": b"subject=user%3A1&choice=opt_out",
    "100,000 opening brackets": b"[" * 100_000,
    "100,000 opening braces": b'{"a":' * 100_000,
    "100,000 nested lists": b"[" * 100_000 + b"]" * 100_000,
}
#: What is no JSON, or cannot be written again; what partners say of their notices is taken all the same.
UNSOUND: dict[str, bytes] = {
    "not UTF-8": b'{"subject": "user:\xff"}',
    "NaN": b'{"version": NaN}',
    "Infinity": b'{"version": Infinity}',
    "a number beyond all numbers": b'{"version": 1e400}',
    "a lone surrogate": b'{"source": "\\ud800"}',
    "a line break in a text": b'{"source": "a\nb"}',
    "500 nested lists, which orjson reads but does not write": b"[" * 500 + b"]" * 500,
    "65 nested objects": b'{"a":' * 65 + b"1" + b"}" * 65,
}
TEXT = '{"subject": "user:Jürgen"}'
ENCODED = {
    "UTF-8 with a byte order mark": TEXT.encode("utf-8-sig"),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
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


async def sent(gateway: Gateway, method: str, path: str, role: Role, body: bytes, **headers: str) -> httpx.Response:
    key = gateway.as_(role, "acme" if role is Role.PARTNER else None)
    return await gateway.http.request(method, path, content=body, headers=key | headers)


@pytest.mark.parametrize("body", UNSOUND.values(), ids=UNSOUND.keys())
@route
async def test_nothing_but_an_acknowledgement_is_altered_on_its_way_in(
    gateway: Gateway, method: str, path: str, role: Role, body: bytes
) -> None:
    gateway.registered()
    answer = await sent(gateway, method, path, role, body)
    if role is Role.PARTNER:
        assert problem(answer, 422, "not-accepted")["errors"][0]["result"] == "invalid"
    else:
        problem(answer, 400, "malformed")


@pytest.mark.parametrize("body", ENCODED.values(), ids=ENCODED.keys())
@route
async def test_a_byte_order_mark_and_another_encoding_change_nothing(
    gateway: Gateway, method: str, path: str, role: Role, body: bytes
) -> None:
    gateway.registered()
    plain = await sent(gateway, method, path, role, TEXT.encode())
    found = problem(await sent(gateway, method, path, role, body), 422)
    assert found == plain.json()


async def test_what_has_a_byte_order_mark_is_kept_as_it_was_meant(gateway: Gateway) -> None:
    toggle = '[{"subject":"user:Jürgen","purpose":"ai","choice":"opt_out","occurred_at":"2026-01-01T11:00:00Z"}]'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        answer = await sent(gateway, "POST", "/v1/toggles", Role.PLATFORM, toggle.encode(encoding))
        assert answer.status_code == 202
    assert {event.data.key() for event in gateway.log.events(TOGGLES.name)} == {"user:Jürgen"}


WITH_BODY = [
    *ROUTES,
    ("POST", "/v1/callbacks/acme", Role.PARTNER),
    ("POST", "/v1/gate", Role.PLATFORM),
    ("POST", "/v1/exports", Role.PLATFORM),
    ("POST", "/v1/exports/e-1/close", Role.PLATFORM),
    ("PUT", "/v1/exports/e-1/subjects/0", Role.PLATFORM),
    ("POST", "/v1/partners/acme/rotate-secret", Role.OPERATOR),
    ("POST", "/v1/partners/acme/replay", Role.OPERATOR),
    ("POST", "/v1/dead-letters/undeliverable/redrive", Role.OPERATOR),
    ("POST", "/v1/dead-letters/undeliverable/discard", Role.OPERATOR),
    ("POST", "/v1/dead-letters/undeliverable/outcomes", Role.OPERATOR),
    ("POST", "/v1/dead-letters/poisoned/redrive", Role.OPERATOR),
    ("POST", "/v1/dead-letters/poisoned/discard", Role.OPERATOR),
]


def test_every_route_that_takes_a_body_is_tried(gateway: Gateway) -> None:
    described = {
        (method.upper(), path.format(partner="acme", export="e-1", block=0))
        for path, methods in gateway.app.openapi()["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert described == {(method, path) for method, path, _ in WITH_BODY}


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "identity, gzip", "gzip, identity"])
@pytest.mark.parametrize(("method", "path", "role"), WITH_BODY, ids=[f"{case[0]} {case[1]}" for case in WITH_BODY])
async def test_a_compressed_body_is_415_and_told_what_is_taken(
    gateway: Gateway, method: str, path: str, role: Role, coding: str
) -> None:
    gateway.registered()
    answer = await sent(gateway, method, path, role, gzip.compress(b"[]"), **{"content-encoding": coding})
    found = problem(answer, 415, "unsupported-content-encoding")
    assert found["detail"] == "a body with a Content-Encoding is not taken; send it uncompressed"
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
async def test_a_body_that_says_it_is_not_compressed_is_taken(gateway: Gateway, coding: str) -> None:
    body = b'{"id":"1","subject":"user:1","purpose":"ai","choice":"opt_out","occurred_at":"2026-01-01T11:00:00Z"}'
    answer = await sent(gateway, "POST", "/v1/toggles", Role.PLATFORM, body, **{"content-encoding": coding})
    assert answer.status_code == 202


async def test_a_compressed_body_that_does_not_say_so_is_told_that_it_is(gateway: Gateway) -> None:
    found = problem(await sent(gateway, "POST", "/v1/toggles", Role.PLATFORM, gzip.compress(b"[]")), 400, "malformed")
    assert found["detail"] == "the body is not JSON: it is compressed by gzip; send it as it is"


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
