"""Partners over HTTP: what a registration needs, what it gives away once, and what can go wrong half-way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from ledger import Role
from streams.errors import StorageUnusable
from streams.events import Partner, PartnerChanged, PartnerRegistered, PartnerRemoved, PartnerStatus
from streams.topics import LANES, NOTICES, PARTNERS
from tests.unit.gateway.harness import Gateway, at, gateway_in, problem

URL = "/v1/partners"
GOOD: dict[str, Any] = {
    "id": "acme",
    "name": "Acme",
    "url": "https://acme.example/hook",
    "purposes": ["ai-training"],
}


async def add(gateway: Gateway, **changes: Any) -> httpx.Response:
    return await gateway.http.post(URL, json=GOOD | changes, headers=gateway.operator)


async def patch(gateway: Gateway, changes: Any, partner: str = "acme") -> httpx.Response:
    return await gateway.http.patch(f"{URL}/{partner}", json=changes, headers=gateway.operator)


async def remove(gateway: Gateway, partner: str = "acme") -> httpx.Response:
    return await gateway.http.delete(f"{URL}/{partner}", headers=gateway.operator)


async def shown(gateway: Gateway, partner: str = "acme") -> dict[str, Any]:
    body: dict[str, Any] = (await gateway.http.get(f"{URL}/{partner}", headers=gateway.operator)).json()
    return body


def written(gateway: Gateway) -> list[Partner]:
    found = [event.data for event in gateway.log.events(PARTNERS.name)]
    assert all(isinstance(data, Partner) for data in found)
    return [data for data in found if isinstance(data, Partner)]


def clock(within: str, **others: Any) -> dict[str, Any]:
    """As a clock is shown."""
    usual = {"extension": None, "calendar": None, "time_zone": "UTC", "week": None, "inclusive": False}
    return {"within": within, "since": "accepted_at"} | usual | others


def opened(gateway: Gateway, partner: Partner) -> str:
    """Its only secret."""
    (secret,) = partner.secrets
    return gateway.context.sealer.open(secret.sealed)


# -- registering


async def test_a_registration_gives_a_lane_a_secret_and_a_key(gateway: Gateway) -> None:
    answer = await add(gateway)
    assert answer.status_code == 201
    made = answer.json()
    assert made.pop("signing_secret").startswith("whsec_")
    key = gateway.keys.authenticate(made.pop("api_key"))
    assert key is not None
    assert (key.role, key.partner) == (Role.PARTNER, "acme")
    assert made == {
        **GOOD,
        "subject_kinds": [],
        "lane": 0,
        "batch_size": 100,
        "receive_within": clock("PT24H"),
        "complete_within": clock("P30D"),
        "clocks": {"stop": None, "erase": None, "resume": None},
        "watch": None,
        "suspend_exports_when_overdue": False,
        "suppression_completes": False,
        "status": "active",
        "draining_since": None,
        "created_at": "2026-01-01T12:00:00Z",
        "updated_at": "2026-01-01T12:00:00Z",
        "revision": 1,
        "status_reason": None,
        "more_lanes": [],
        "linger_ms": 50,
        "gzip": False,
        "max_requests_per_second": None,
        "max_in_flight": None,
        "max_body_bytes": 1048576,
        "signature_schemes": ["v1"],
        "signing_keys": [{"scheme": "v1", "public_key": None, "expires_at": None}],
    }
    assert await shown(gateway) == made


async def test_a_secret_is_shown_once_and_sealed_everywhere_else(gateway: Gateway, tmp_path: Path) -> None:
    made = (await add(gateway)).json()
    for path in (URL, f"{URL}/acme", "/v1/lag", "/metrics"):
        text = (await gateway.http.get(path, headers=gateway.operator)).text
        assert made["signing_secret"] not in text
        assert "sealed" not in text
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    stored += b"".join(item.value or b"" for item in gateway.log.records)
    for secret in (made["signing_secret"], made["signing_secret"].removeprefix("whsec_"), made["api_key"]):
        assert secret.encode() not in stored
    (partner,) = written(gateway)
    assert opened(gateway, partner) == made["signing_secret"]


async def test_every_partner_has_a_lane_a_secret_and_a_key_of_its_own(gateway: Gateway) -> None:
    made = [(await add(gateway, id=f"p{number}")).json() for number in range(3)]
    for name in ("lane", "signing_secret", "api_key"):
        assert len({partner[name] for partner in made}) == 3


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("an unknown field", {"secret": "x"}, "/secret"),
    ("a lane of its own choice", {"lane": 3}, "/lane"),
    ("a status", {"status": "paused"}, "/status"),
    ("id in capitals", {"id": "Acme"}, "/id"),
    ("id empty", {"id": ""}, "/id"),
    ("id with a slash", {"id": "a/b"}, "/id"),
    ("id with a line break", {"id": "acme\n"}, "/id"),
    ("id too long", {"id": "x" * 64}, "/id"),
    ("id a number", {"id": 5}, "/id"),
    ("name empty", {"name": ""}, "/name"),
    ("name blank", {"name": " \u2003"}, "/name"),
    ("name too long", {"name": "x" * 201}, "/name"),
    ("name with a line break", {"name": "Acme\nInc"}, "/name"),
    ("name with a NUL", {"name": "Acme\0"}, "/name"),
    ("name null", {"name": None}, "/name"),
    ("url null", {"url": None}, "/url"),
    ("url too long", {"url": "https://acme.example/" + "x" * 2000}, "/url"),
    ("url of another scheme", {"url": "ftp://acme.example/"}, "/url"),
    ("url not public", {"url": "https://169.254.169.254/"}, "/url"),
    ("url not encrypted", {"url": "http://acme.example/"}, "/url"),
    ("no purpose", {"purposes": []}, "/purposes"),
    ("purposes a text", {"purposes": "ai-training"}, "/purposes"),
    ("purposes an object", {"purposes": {"ai-training": True}}, "/purposes"),
    ("a purpose twice", {"purposes": ["a", "b", "a"]}, "/purposes"),
    ("a purpose that is no slug", {"purposes": ["a", "B c"]}, "/purposes/1"),
    ("a purpose that is null", {"purposes": [None]}, "/purposes/0"),
    ("too many purposes", {"purposes": [f"p{number}" for number in range(1001)]}, "/purposes"),
    ("a kind twice", {"subject_kinds": ["user", "user"]}, "/subject_kinds"),
    ("a kind with its colon", {"subject_kinds": ["user:"]}, "/subject_kinds/0"),
    ("kinds null", {"subject_kinds": None}, "/subject_kinds"),
    ("batch size 0", {"batch_size": 0}, "/batch_size"),
    ("batch size 1001", {"batch_size": 1001}, "/batch_size"),
    ("batch size as text", {"batch_size": "100"}, "/batch_size"),
    ("batch size with a fraction", {"batch_size": 10.5}, "/batch_size"),
    ("batch size a boolean", {"batch_size": True}, "/batch_size"),
    ("no signature", {"signature_schemes": []}, "/signature_schemes"),
    ("an unknown signature", {"signature_schemes": ["v1", "v2"]}, "/signature_schemes/1"),
    ("a signature twice", {"signature_schemes": ["v1", "v1"]}, "/signature_schemes"),
    ("signatures a text", {"signature_schemes": "v1"}, "/signature_schemes"),
    ("signatures null", {"signature_schemes": None}, "/signature_schemes"),
    ("a secret of its own choice", {"secrets": []}, "/secrets"),
    ("a clock of no time", {"receive_within": 0}, "/receive_within"),
    ("a clock that runs backwards", {"complete_within": -1}, "/complete_within"),
    ("a clock beyond the calendar", {"complete_within": 2**62}, "/complete_within"),
    ("a clock that is no period", {"complete_within": "1 month"}, "/complete_within"),
    (
        "a clock by an unknown calendar",
        {"complete_within": {"within": "P1M", "calendar": "XX"}},
        "/complete_within/calendar",
    ),
    (
        "a clock in an unknown zone",
        {"complete_within": {"within": "P1M", "time_zone": "X"}},
        "/complete_within/time_zone",
    ),
    ("a receipt that is extended", {"receive_within": {"within": "P1D", "extension": "P1D"}}, "/receive_within"),
    ("reminders out of order", {"watch": {"remind": [0.9, 0.5]}}, "/watch/remind"),
    ("too many reminders", {"watch": {"remind": [0.1, 0.2, 0.3, 0.4]}}, "/watch/remind"),
    ("at risk when it is late", {"watch": {"at_risk": 1.0}}, "/watch/at_risk"),
    ("a clock of an unknown kind", {"clocks": {"forget": {"complete": "P1M"}}}, "/clocks/forget"),
    ("a clock of a kind that is none", {"clocks": {"erase": {"complete": "P1M2D"}}}, "/clocks/erase/complete"),
    ("a clock beyond 64 bits", {"complete_within": 1e30}, "/complete_within"),
]


@pytest.mark.parametrize(("changes", "pointer"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_wrong_registration_is_422_and_registers_nobody(
    gateway: Gateway, changes: dict[str, Any], pointer: str
) -> None:
    found = problem(await add(gateway, **changes), 422, "invalid")
    assert pointer in [error["pointer"] for error in found["errors"]]
    assert not gateway.log.records
    assert [key.role for key in gateway.keys.list()] == [Role.OPERATOR]


@pytest.mark.parametrize("name", ["id", "name", "url", "purposes"])
async def test_a_registration_needs(gateway: Gateway, name: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != name}
    answer = await gateway.http.post(URL, json=body, headers=gateway.operator)
    assert problem(answer, 422)["errors"][0]["pointer"] == f"/{name}"


@pytest.mark.parametrize("body", [[GOOD], [], None, 5, "acme", True])
async def test_a_registration_is_one_object(gateway: Gateway, body: Any) -> None:
    answer = await gateway.http.post(URL, content=orjson.dumps(body), headers=gateway.operator)
    problem(answer, 422, "invalid")


@pytest.mark.parametrize("name", ["Müller & Söhne", "株式会社", "👩\u200d🚀 Labs", "<b>Acme</b>", "x"])
async def test_a_name_may_be_of_any_script(gateway: Gateway, name: str) -> None:
    assert (await add(gateway, name=name)).json()["name"] == name


async def test_private_addresses_are_for_development(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, {"allow_private_partners": True}) as gateway:
        assert (await add(gateway, url="http://localhost:9000/hook")).status_code == 201


async def test_an_id_is_never_used_again(gateway: Gateway) -> None:
    assert (await add(gateway)).status_code == 201
    problem(await add(gateway, name="Another"), 409, "exists")
    assert (await remove(gateway)).status_code == 204
    problem(await add(gateway, name="Another"), 409, "exists")
    assert (await shown(gateway))["name"] == "Acme"
    assert len([key for key in gateway.keys.list() if key.partner == "acme"]) == 1


async def test_of_many_registrations_of_one_id_at_once_one_wins(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(add(gateway, name=f"Acme {number}") for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    (winner,) = [answer.json() for answer in answers if answer.status_code == 201]
    assert (await shown(gateway))["name"] == winner["name"]
    (partner,) = written(gateway)
    assert opened(gateway, partner) == winner["signing_secret"]


async def test_registrations_at_once_get_lanes_of_their_own(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(add(gateway, id=f"p{number}") for number in range(8)))
    assert sorted(answer.json()["lane"] for answer in answers) == list(range(8))


# -- lanes


def fill(gateway: Gateway) -> None:
    for lane in range(LANES):
        gateway.registered(f"p{lane}", lane=lane)


async def test_when_all_lanes_are_taken_nobody_else_fits(gateway: Gateway) -> None:
    fill(gateway)
    problem(await add(gateway), 409, "no-lane")
    assert not [key for key in gateway.keys.list() if key.partner == "acme"]


async def test_lanes_that_are_added_meanwhile_are_for_new_partners(gateway: Gateway) -> None:
    fill(gateway)
    gateway.log.counts[NOTICES.name] += 2
    assert [(await add(gateway, id=name)).json()["lane"] for name in ("one", "two")] == [LANES, LANES + 1]
    assert f"all {LANES + 2} lanes" in problem(await add(gateway, id="three"), 409, "no-lane")["detail"]


async def test_a_removed_partner_gives_its_lane_back_when_no_other_was_never_used(gateway: Gateway) -> None:
    fill(gateway)
    assert (await remove(gateway, "p7")).status_code == 204
    assert (await add(gateway)).json()["lane"] == 7
    problem(await add(gateway, id="next"), 409, "no-lane")


async def test_a_lane_that_was_never_used_comes_first(gateway: Gateway) -> None:
    gateway.registered("gone", lane=0)
    await remove(gateway, "gone")
    assert (await add(gateway)).json()["lane"] == 1


@pytest.mark.parametrize("status", ["paused", "active"])
async def test_a_paused_partner_keeps_its_lane(gateway: Gateway, status: str) -> None:
    fill(gateway)
    await patch(gateway, {"status": status}, "p3")
    problem(await add(gateway), 409, "no-lane")


# -- changing

CHANGES: list[dict[str, Any]] = [
    {"name": "Acme Labs"},
    {"url": "https://labs.acme.example/"},
    {"purposes": ["a", "b"]},
    {"subject_kinds": ["user", "blog"]},
    {"subject_kinds": []},
    {"batch_size": 1},
    {"receive_within": clock("PT1H")},
    {"complete_within": clock("P1M", extension="P2M", calendar="IE", time_zone="Europe/Dublin")},
    {"clocks": {"stop": None, "erase": {"receive": None, "complete": clock("15 business days")}, "resume": None}},
    {"complete_within": clock("P45D", inclusive=True, since="occurred_at")},
    {"complete_within": clock("15 business days", week=["mon", "tue", "wed", "thu", "fri", "sat"])},
    {"suppression_completes": True},
    {"watch": {"at_risk": 0.5, "remind": [0.25]}},
    {"status": "paused"},
    {"status": "active"},
    {"name": "Acme Labs", "batch_size": 7, "status": "paused"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=[",".join(case) for case in CHANGES])
async def test_a_change_changes_that_and_nothing_else(gateway: Gateway, changes: dict[str, Any]) -> None:
    made = (await add(gateway, subject_kinds=["user"])).json()
    before = await shown(gateway)
    gateway.clock.now = at(5)
    answer = await patch(gateway, changes)
    after = before | changes | {"revision": 2, "updated_at": "2026-01-01T12:05:00Z"}
    assert (answer.status_code, answer.json()) == (200, after)
    assert await shown(gateway) == after
    event = written(gateway)[-1]
    assert isinstance(event, PartnerChanged)
    assert opened(gateway, event) == made["signing_secret"]


async def test_changes_at_once_are_all_kept(gateway: Gateway) -> None:
    await add(gateway)
    fields = [{"name": "New"}, {"batch_size": 5}, {"receive_within": 60}, {"complete_within": "P1M"}]
    await asyncio.gather(*(patch(gateway, changes) for changes in fields))
    after = await shown(gateway)
    clocks = {"receive_within": clock("PT1M"), "complete_within": clock("P1M")}
    assert ({"name": "New", "batch_size": 5} | clocks).items() <= after.items()
    assert after["revision"] == 5


NULLABLE = ["name", "url", "purposes", "subject_kinds", "batch_size", "receive_within", "complete_within", "status"]


@pytest.mark.parametrize("name", NULLABLE)
async def test_null_is_no_change_but_a_mistake(gateway: Gateway, name: str) -> None:
    gateway.registered()
    found = problem(await patch(gateway, {name: None}), 422, "invalid")
    assert [error["pointer"] for error in found["errors"]] == [f"/{name}"]
    assert (await shown(gateway))["revision"] == 1


async def test_a_change_of_nothing_is_a_mistake(gateway: Gateway) -> None:
    gateway.registered()
    problem(await patch(gateway, {}), 422, "invalid")
    assert (await shown(gateway))["revision"] == 1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"id": "other"}, "/id"),
        ({"lane": 1}, "/lane"),
        ({"sealed_secret": "x"}, "/sealed_secret"),
        ({"secrets": []}, "/secrets"),
        ({"signature_schemes": ["v1a"]}, "/signature_schemes"),
        ({"status": "removed"}, "/status"),
        ({"status": "suspended"}, ""),
        ({"status_reason": "because"}, ""),
        ({"status": "paused", "status_reason": " "}, "/status_reason"),
        ({"status": "paused", "status_reason": "two\nlines"}, "/status_reason"),
        ({"draining": "yes"}, "/draining"),
        ({"draining_since": "2026-01-01T12:00:00Z"}, "/draining_since"),
        ({"status": "PAUSED"}, "/status"),
        ({"url": "https://localhost/"}, "/url"),
        ({"url": ""}, "/url"),
        ({"name": ""}, "/name"),
        ({"purposes": []}, "/purposes"),
        ({"batch_size": "5"}, "/batch_size"),
        ({"batch_size": 0}, "/batch_size"),
        ([], ""),
        (None, ""),
    ],
)
async def test_a_wrong_change_changes_nothing(gateway: Gateway, changes: Any, pointer: str) -> None:
    gateway.registered()
    answer = await gateway.http.patch(f"{URL}/acme", content=orjson.dumps(changes), headers=gateway.operator)
    assert pointer in [error["pointer"] for error in problem(answer, 422, "invalid")["errors"]]
    assert (await shown(gateway))["revision"] == 1


@pytest.mark.parametrize("status", [PartnerStatus.SUSPENDED, PartnerStatus.PAUSED])
async def test_an_operator_takes_up_a_stopped_partner_again(gateway: Gateway, status: PartnerStatus) -> None:
    gateway.registered(status=status, status_reason="410 Gone")
    assert (await patch(gateway, {"status": "active"})).json()["status"] == "active"
    assert written(gateway)[-1].status_reason is None


# -- removing


async def test_a_removed_partner_is_remembered_and_its_keys_open_nothing(gateway: Gateway) -> None:
    key = {"authorization": f"Bearer {(await add(gateway)).json()['api_key']}"}
    made_later = gateway.partner("acme")
    other = gateway.partner("other")
    gateway.clock.now = at(1)
    answer = await remove(gateway)
    assert (answer.status_code, answer.content) == (204, b"")
    for headers in (key, made_later):
        problem(await gateway.http.get("/v1/lag", headers=headers), 401, "unauthenticated")
    assert (await gateway.http.get("/v1/lag", headers=other)).status_code == 200
    after = await shown(gateway)
    assert (after["status"], after["revision"], after["updated_at"]) == ("removed", 2, "2026-01-01T12:01:00Z")
    assert isinstance(written(gateway)[-1], PartnerRemoved)
    listed = (await gateway.http.get(URL, headers=gateway.operator)).json()["partners"]
    assert listed == [after]


async def test_a_removed_partner_s_open_notices_are_cancelled(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1, 2)
    await remove(gateway)
    assert {row.status for row in gateway.ledger.notices(["n-acme-1", "n-acme-2"]).values()} == {"cancelled"}
    assert (await gateway.http.get("/v1/lag", headers=gateway.operator)).json()["partners"] == []


async def test_a_removed_partner_cannot_be_changed_or_removed_again(gateway: Gateway) -> None:
    gateway.registered()
    await remove(gateway)
    problem(await patch(gateway, {"status": "active"}), 404, "unknown-partner")
    problem(await remove(gateway), 404, "unknown-partner")


@pytest.mark.parametrize("partner", ["nobody", "Acme", "%00", "a%0Ab", "%F0%9F%A6%8A", "x" * 500, "'; DROP TABLE x"])
async def test_an_unknown_partner_is_404(gateway: Gateway, partner: str) -> None:
    problem(await gateway.http.get(f"{URL}/{partner}", headers=gateway.operator), 404, "unknown-partner")
    problem(await patch(gateway, {"name": "x"}, partner), 404, "unknown-partner")
    problem(await remove(gateway, partner), 404, "unknown-partner")


async def test_a_partner_s_key_sees_that_partner_only(gateway: Gateway) -> None:
    gateway.registered("acme")
    gateway.registered("other", lane=1)
    assert (await gateway.http.get(f"{URL}/acme", headers=gateway.partner("acme"))).json()["id"] == "acme"
    foreign = problem(await gateway.http.get(f"{URL}/other", headers=gateway.partner("acme")), 404)
    nobody = problem(await gateway.http.get(f"{URL}/nobody", headers=gateway.partner("acme")), 404)
    assert foreign["detail"].replace("other", "x") == nobody["detail"].replace("nobody", "x")


# -- half-way


async def test_a_log_that_takes_nothing_registers_nobody(gateway: Gateway) -> None:
    gateway.operator  # noqa: B018 - the key is made before the log fails
    gateway.log.failing = True
    answer = await add(gateway)
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    gateway.log.failing = False
    assert (await add(gateway)).status_code == 201


async def test_a_log_that_fails_at_the_last_moment_leaves_no_key_behind(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_offsets = gateway.log.end_offsets

    async def and_then_fails(topic: str) -> Any:
        ends = await end_offsets(topic)
        gateway.log.failing = True
        return ends

    monkeypatch.setattr(gateway.log, "end_offsets", and_then_fails)
    problem(await add(gateway), 503, "unavailable")
    assert all(key.revoked_at for key in gateway.keys.list() if key.partner == "acme")
    gateway.log.failing = False
    gateway.registered()
    for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
        answer = await gateway.http.request(method, f"{URL}/acme", json=body, headers=gateway.operator)
        problem(answer, 503, "unavailable")
        gateway.log.failing = False
    assert (await shown(gateway))["revision"] == 1


async def test_a_durable_registration_is_answered_even_if_the_ledger_does_not_show_it_yet(gateway: Gateway) -> None:
    """The secret exists only in this answer: a 503 would lose it for ever."""
    gateway.log.projecting = False
    answer = await add(gateway)
    assert answer.status_code == 201
    assert answer.json()["signing_secret"].startswith("whsec_")
    gateway.log.project()
    assert (await shown(gateway))["id"] == "acme"


async def test_nobody_is_registered_by_a_ledger_that_is_behind(gateway: Gateway) -> None:
    """It would give out a lane, or an id, that is taken already."""
    gateway.log.projecting = False
    gateway.registered("other", lane=0)
    problem(await add(gateway), 503, "unavailable")
    problem(await add(gateway, id="other"), 503, "unavailable")
    assert len(written(gateway)) == 1
    gateway.log.project()
    gateway.log.projecting = True
    assert (await add(gateway)).json()["lane"] == 1
    problem(await add(gateway, id="other"), 409, "exists")


async def test_nobody_is_changed_by_a_ledger_that_is_behind(gateway: Gateway) -> None:
    gateway.registered()
    gateway.log.projecting = False
    assert (await patch(gateway, {"name": "First"})).status_code == 200
    problem(await patch(gateway, {"batch_size": 5}), 503, "unavailable")
    gateway.log.project()
    gateway.log.projecting = True
    after = (await patch(gateway, {"batch_size": 5})).json()
    assert (after["name"], after["batch_size"], after["revision"]) == ("First", 5, 3)


async def test_a_removal_revokes_the_keys_even_if_the_ledger_is_behind(gateway: Gateway) -> None:
    gateway.registered()
    key = gateway.partner("acme")
    gateway.log.projecting = False
    assert (await remove(gateway)).status_code == 204
    problem(await gateway.http.get("/v1/lag", headers=key), 401)


async def test_a_removal_that_failed_at_the_keys_is_finished_by_the_next(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.registered()
    key = gateway.partner("acme")

    def locked(identity: str, now: Any) -> bool:
        raise StorageUnusable("the key file cannot be used: database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.keys, "revoke", locked)
        problem(await remove(gateway), 503, "unavailable")
    assert (await gateway.http.get("/v1/lag", headers=key)).status_code == 200
    problem(await remove(gateway), 404, "unknown-partner")
    problem(await gateway.http.get("/v1/lag", headers=key), 401)


async def test_the_next_registration_waits_for_one_that_is_under_way(gateway: Gateway) -> None:
    async with gateway.context.registering:
        waiting = asyncio.ensure_future(add(gateway))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        assert (await gateway.http.get(URL, headers=gateway.operator)).json() == {"partners": []}
    assert (await waiting).status_code == 201


async def test_what_is_registered_says_when(gateway: Gateway) -> None:
    gateway.clock.now += timedelta(hours=3)
    await add(gateway)
    (partner,) = written(gateway)
    assert isinstance(partner, PartnerRegistered)
    assert partner.created_at == partner.updated_at == gateway.clock.now


async def test_limits_are_set_at_registration_and_changed_live(gateway: Gateway) -> None:
    limits = {"lanes": 3, "gzip": True, "max_requests_per_second": 5, "max_in_flight": 2, "max_body_bytes": 65536}
    made = (await add(gateway, **limits)).json()
    assert (made["lane"], made["more_lanes"], made["gzip"], made["max_requests_per_second"]) == (0, [1, 2], True, 5)
    changes = {"max_requests_per_second": None, "max_in_flight": 1, "linger_ms": 0}
    answer = await gateway.http.patch(f"{URL}/acme", headers=gateway.operator, json=changes)
    changed = answer.json()
    assert [changed[name] for name in changes] == [None, 1, 0]
    assert changed["max_body_bytes"] == 65536
    refused = await gateway.http.patch(f"{URL}/acme", headers=gateway.operator, json={"lanes": 2})
    assert refused.status_code == 422
