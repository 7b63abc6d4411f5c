"""`POST /v1/callbacks/{partner}`: a signature in the place of an API key, and nothing learned without one."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from rescind.partner import callback
from streams import signing
from streams.events import Acknowledged, PartnerRemoved, PartnerStatus, StatementReceived
from streams.topics import ACKNOWLEDGEMENTS, PARTNERS
from tests.unit.gateway.harness import Gateway, at, problem

SECRET = signing.SECRET + base64.b64encode(bytes(range(32))).decode()
OLD = signing.SECRET + base64.b64encode(bytes(range(1, 33))).decode()
OTHER = signing.SECRET + base64.b64encode(bytes(32)).decode()
DONE = {"notice_id": "n-acme-1", "status": "completed", "outcome": "deleted"}


def sealed(gateway: Gateway, secret: str, expires: float | None = None, scheme: str = "v1") -> dict[str, Any]:
    until = None if expires is None else at(expires)
    return {"scheme": scheme, "sealed": gateway.context.sealer.seal(secret), "expires_at": until}


@pytest.fixture(autouse=True)
def three_partners(gateway: Gateway) -> None:
    gateway.registered("acme", lane=0, secrets=[sealed(gateway, SECRET), sealed(gateway, OLD, expires=60)])
    gateway.registered("other", lane=1, secrets=[sealed(gateway, OTHER)])
    gateway.registered("asymmetric", lane=2, secrets=[sealed(gateway, signing.new_private_key(), scheme="v1a")])
    gateway.issued(1, 2, 3, partner="acme", lane=0)
    gateway.issued(1, partner="other", lane=1)


async def send(
    gateway: Gateway,
    *items: dict[str, Any],
    secret: str = SECRET,
    partner: str = "acme",
    skew: float = 0.0,
    **more: str,
) -> httpx.Response:
    headers, body = callback(secret, "cb_1", items or (DONE,), gateway.clock() + timedelta(seconds=skew))
    return await gateway.http.post(f"/v1/callbacks/{partner}", content=body, headers=headers | more)


def recorded(gateway: Gateway) -> list[Acknowledged]:
    found = [event.data for event in gateway.log.events(ACKNOWLEDGEMENTS.name)]
    return [data for data in found if isinstance(data, Acknowledged)]


async def test_it_is_answered_item_by_item_and_counts_as_any_acknowledgement(gateway: Gateway) -> None:
    answer = await send(gateway, DONE, DONE | {"notice_id": "n-other-1"}, DONE | {"notice_id": "n-nobody-1"})
    assert answer.status_code == 202
    assert [each["result"] for each in answer.json()["results"]] == ["accepted", "not_yours", "unknown_notice"]
    assert gateway.ledger.notices(["n-acme-1"])["n-acme-1"].status == "completed"
    (said,) = recorded(gateway)
    assert (said.partner, said.subject, said.via) == ("acme", "user:1", "callback")


async def test_what_was_signed_is_kept_and_can_be_checked_by_anybody(gateway: Gateway) -> None:
    await send(gateway, {"notice_id": "n-acme-1", "vocabulary": "drop", "code": "3", "evidence": {"rows": 3}})
    detail = gateway.ledger.timeline("user:1")[-1].detail
    assert (detail["via"], detail["vocabulary"], detail["code"]) == ("callback", "drop", "3")
    answer = await gateway.http.get(f"/v1/statements/{detail['statement']}", headers=gateway.operator)
    kept = answer.json()
    assert (kept["partner"], kept["received_at"]) == ("acme", "2026-01-01T12:00:00Z")
    headers = {f"webhook-{name}": kept[f"webhook_{name}"] for name in ("id", "timestamp", "signature")}
    raw = base64.b64decode(kept["body_base64"])
    assert signing.verify(SECRET, headers, raw, gateway.clock()) == "cb_1"
    assert orjson.loads(raw)[0]["evidence"] == {"rows": 3}


async def test_there_is_no_statement_where_nothing_was_signed(gateway: Gateway) -> None:
    await gateway.http.post("/v1/acknowledgements", json=DONE, headers=gateway.partner())
    assert gateway.ledger.timeline("user:1")[-1].detail["statement"] is None
    problem(await gateway.http.get("/v1/statements/none", headers=gateway.operator), 404, "unknown-statement")


async def test_standard_webhooks_own_library_can_sign_it(gateway: Gateway) -> None:
    body = orjson.dumps([DONE]).decode()
    signature = Webhook(SECRET).sign("cb_2", gateway.clock(), body)
    headers = {
        "webhook-id": "cb_2",
        "webhook-timestamp": str(int(gateway.clock().timestamp())),
        "webhook-signature": signature,
    }
    assert (await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers)).status_code == 202


async def test_repeated_it_changes_nothing_and_is_kept_once(gateway: Gateway) -> None:
    for minutes in (0, 1, 2):
        gateway.clock.now = at(minutes)
        assert (await send(gateway)).status_code == 202
    events = gateway.log.events(ACKNOWLEDGEMENTS.name)
    assert len({event.id for event in events if isinstance(event.data, Acknowledged)}) == 1
    assert len({event.id for event in events if isinstance(event.data, StatementReceived)}) == 1
    assert gateway.ledger.totals().acknowledged == 1
    assert len([each for each in gateway.ledger.timeline("user:1") if each.kind == "acknowledged"]) == 1


async def test_another_body_under_the_same_id_is_another_statement(gateway: Gateway) -> None:
    for number in (1, 2):
        assert (await send(gateway, DONE | {"notice_id": f"n-acme-{number}"})).status_code == 202
    assert len({said.statement for said in recorded(gateway)}) == 2


async def test_the_old_secret_signs_until_the_overlap_ends(gateway: Gateway) -> None:
    assert (await send(gateway, secret=OLD)).status_code == 202
    gateway.clock.now = at(60)
    problem(await send(gateway, secret=OLD), 401, "unauthenticated")
    assert (await send(gateway)).status_code == 202


@pytest.mark.parametrize(("skew", "status"), [(-301, 401), (-299, 202), (299, 202), (301, 401)])
async def test_a_timestamp_holds_for_five_minutes_both_ways(gateway: Gateway, skew: float, status: int) -> None:
    assert (await send(gateway, skew=skew)).status_code == status


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("another partner's secret", {"secret": OTHER}),
    ("a partner that there is not", {"partner": "nobody"}),
    ("what cannot be a partner", {"partner": "No%20Body%00"}),
    ("a partner that cannot sign", {"partner": "asymmetric"}),
    ("another partner", {"partner": "other"}),
    ("no signature", {"webhook-signature": ""}),
    ("another scheme", {"webhook-signature": "v1a,AAAA"}),
    ("a timestamp that is none", {"webhook-timestamp": "soon"}),
    ("a timestamp of a thousand digits", {"webhook-timestamp": "9" * 1000}),
    ("a timestamp of very many digits", {"webhook-timestamp": "9" * 5000}),
    ("another timestamp", {"webhook-timestamp": "1767268801"}),
    ("another id", {"webhook-id": "cb_2"}),
    ("too many signatures", {"webhook-signature": " ".join(["v1,AAAA"] * 17)}),
]


@pytest.mark.parametrize("how", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_who_does_not_sign_is_told_the_same_whoever_it_claims_to_be(
    gateway: Gateway, how: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = await send(gateway, **how)
    found = problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Standard-Webhooks"
    assert found == problem(await send(gateway, secret=OTHER), 401)
    assert "`v1a`" in found["detail"]
    assert not recorded(gateway)
    assert not [each for each in caplog.records if each.name != "httpx"]


async def test_a_changed_body_is_not_what_was_signed(gateway: Gateway) -> None:
    headers, body = callback(SECRET, "cb_1", [DONE], gateway.clock())
    changed = body.replace(b"n-acme-1", b"n-acme-2")
    problem(await gateway.http.post("/v1/callbacks/acme", content=changed, headers=headers), 401)
    assert not recorded(gateway)


@pytest.mark.parametrize("left", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_header_that_is_missing(gateway: Gateway, left: str) -> None:
    headers, body = callback(SECRET, "cb_1", [DONE], gateway.clock())
    del headers[left]
    problem(await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers), 401)


async def test_bytes_that_are_no_text_in_a_header(gateway: Gateway) -> None:
    headers, body = callback(SECRET, "cb_1", [DONE], gateway.clock())
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        raw = [(key.encode(), b"\xff\xfe" if key == name else value.encode()) for key, value in headers.items()]
        problem(await gateway.http.post("/v1/callbacks/acme", content=body, headers=raw), 401)


async def test_a_removed_partner_signs_nothing_any_more(gateway: Gateway) -> None:
    known = gateway.ledger.partner("acme")
    assert known is not None
    gone = known.model_dump() | {"status": PartnerStatus.REMOVED, "revision": 2}
    gateway.happened(PARTNERS.name, "gone", PartnerRemoved.model_validate(gone))
    problem(await send(gateway), 401)


async def test_a_secret_that_cannot_be_opened_is_as_none(gateway: Gateway) -> None:
    gateway.registered("lost", lane=3)
    problem(await send(gateway, partner="lost"), 401)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[", 400),
        (b"[]", 422),
        (b"5", 422),
        (b"[" * 100 + b"]" * 100, 422),
        (b"[" * 9999, 400),
        (b" " * 1_048_577, 413),
    ],
)
async def test_what_is_signed_must_make_sense(gateway: Gateway, body: bytes, status: int) -> None:
    headers = signing.headers(SECRET, "cb_1", gateway.clock(), body)
    problem(await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers), status)
    assert not recorded(gateway)


@pytest.mark.parametrize(
    "written",
    ["+1767268800", "01767268800", "1_767_268_800", " 1767268800", "1767268800.0", "１７６７２６８８００", "-0"],
)
async def test_a_timestamp_is_digits_alone(gateway: Gateway, written: str) -> None:
    """What is kept is what was signed: `int` would take all of these."""
    headers, body = callback(SECRET, "cb_1", [DONE], gateway.clock())
    raw = [
        (name.encode(), (written if name == "webhook-timestamp" else value).encode()) for name, value in headers.items()
    ]
    problem(await gateway.http.post("/v1/callbacks/acme", content=body, headers=raw), 401, "unauthenticated")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_what_was_signed_is_its_bytes_with_the_byte_order_mark(gateway: Gateway, encoding: str) -> None:
    body = orjson.dumps([DONE | {"detail": "für"}]).decode().encode(encoding)
    headers = signing.headers(SECRET, "cb_1", gateway.clock(), body)
    assert (await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers)).status_code == 202
    assert recorded(gateway)[0].detail == "für"
    answer = await gateway.http.get(f"/v1/statements/{recorded(gateway)[0].statement}", headers=gateway.operator)
    assert base64.b64decode(answer.json()["body_base64"]) == body
    problem(await gateway.http.post("/v1/callbacks/acme", content=body[3:], headers=headers), 401)


async def test_each_is_judged_by_itself(gateway: Gateway) -> None:
    body = b'[{"id":"N-1"},{"id":"n-acme-2","status":"refused","reason":"Legal-Hold","evidence":{"rows":NaN}},7]'
    headers = signing.headers(SECRET, "cb_1", gateway.clock(), body)
    answer = await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers)
    assert [each["result"] for each in answer.json()["results"]] == ["invalid", "accepted", "invalid"]
    (said,) = recorded(gateway)
    assert (said.notice_id, said.reason, said.evidence) == ("n-acme-2", "legal_hold", {"rows": None})


async def test_it_is_json(gateway: Gateway) -> None:
    headers, body = callback(SECRET, "cb_1", [DONE], gateway.clock())
    headers["content-type"] = "text/plain"
    problem(await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers), 415)


async def test_a_batch_of_notices_that_we_signed_is_no_acknowledgement(gateway: Gateway) -> None:
    """Whoever overhears what we send to a partner can do nothing with it."""
    notices = orjson.dumps([{"specversion": "1.0", "id": "n-acme-1", "type": "io.rescind.notice", "data": {}}])
    headers = signing.headers(SECRET, "msg_1", gateway.clock(), notices)
    problem(await gateway.http.post("/v1/callbacks/acme", content=notices, headers=headers), 422, "not-accepted")


@pytest.mark.parametrize("many", [200, 201])
async def test_an_id_is_bounded(gateway: Gateway, many: int) -> None:
    headers, body = callback(SECRET, "x" * many, [DONE], gateway.clock())
    answer = await gateway.http.post("/v1/callbacks/acme", content=body, headers=headers)
    assert answer.status_code == (202 if many == 200 else 422)


def items(count: int) -> Sequence[dict[str, Any]]:
    return [DONE | {"notice_id": f"n-acme-{number}"} for number in range(100, 100 + count)]


async def test_a_callback_carries_up_to_1000(gateway: Gateway) -> None:
    gateway.issued(*range(100, 1100))
    assert (await send(gateway, *items(1000))).status_code == 202
    assert len(recorded(gateway)) == 1000
    problem(await send(gateway, *items(1001)), 422)


async def test_nothing_of_it_lasts_if_the_log_takes_nothing(gateway: Gateway) -> None:
    gateway.log.failing = True
    problem(await send(gateway), 503, "unavailable")
    gateway.log.failing = False
    assert (await send(gateway)).status_code == 202
