"""Log in and out: what a cookie is worth, and what ends it; and that no other site's page does anything here."""

from __future__ import annotations

from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi.routing import APIRoute

from gateway import dashboard, dead_letter_room, door, own_room, partner_acts, partner_room, subject_room
from gateway.sessions import COOKIE, LASTS
from ledger import Role
from streams.sealing import Sealer
from tests.unit.gateway.harness import Gateway, logged_in, problem
from tests.unit.gateway.pages import Outline

LOGIN, LOGOUT, PAUSE = "/dashboard/login", "/dashboard/logout", "/dashboard/partners/acme/pause"
HTML = {"accept": "text/html,*/*"}


async def log_in(gateway: Gateway, key: str, **changes: Any) -> httpx.Response:
    following = changes.pop("following", None)
    data = {"key": key} | ({} if following is None else {"next": following})
    return await gateway.http.post(LOGIN, data=data, **changes)


def cookie(answer: httpx.Response) -> Any:
    return SimpleCookie(answer.headers["set-cookie"])[COOKIE]


async def test_a_browser_is_shown_the_form_and_comes_back(gateway: Gateway) -> None:
    gateway.registered()
    answer = await gateway.http.get("/dashboard/partners/acme", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{LOGIN}?next=/dashboard/partners/acme")
    form = await gateway.http.get(answer.headers["location"])
    assert 'value="/dashboard/partners/acme"' in form.text
    Outline(form.text)
    answer = await log_in(gateway, gateway.key(Role.OPERATOR), following="/dashboard/partners/acme")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/partners/acme")
    assert (await gateway.http.get("/dashboard/partners/acme")).status_code == 200


async def test_a_program_is_told_401(gateway: Gateway) -> None:
    answer = await gateway.http.get("/dashboard")
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Cookie ")


async def test_nobody_is_sent_elsewhere(gateway: Gateway) -> None:
    outside = ["https://evil.example/", "//evil.example", "/dashboard//evil.example", "/dashboard/../v1", "\\evil", ""]
    for elsewhere in [*outside, "/docs"]:
        answer = await log_in(gateway, gateway.key(Role.OPERATOR), following=elsewhere)
        assert answer.headers["location"] == "/dashboard"


async def test_the_cookie_is_for_the_dashboard_and_for_no_script(gateway: Gateway) -> None:
    made = cookie(await log_in(gateway, gateway.key(Role.OPERATOR)))
    assert made["httponly"]
    assert (made["samesite"], made["path"], made["secure"]) == ("strict", "/dashboard", "")
    assert int(made["max-age"]) == LASTS.total_seconds()
    assert gateway.key(Role.OPERATOR) not in made.value
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway.app), base_url="https://rescind.test") as https:
        assert cookie(await https.post(LOGIN, data={"key": gateway.key(Role.OPERATOR)}))["secure"]


async def test_it_opens_nothing_of_the_api(gateway: Gateway) -> None:
    await logged_in(gateway)
    headers = {"cookie": f"{COOKIE}={gateway.http.cookies[COOKIE]}"}
    problem(await gateway.http.get("/v1/lag", headers=headers), 401)


async def test_a_wrong_key_opens_nothing(gateway: Gateway) -> None:
    for key in ["", "x", "rsk_operator_000000000000_x", "rsk_operator_\u00e4", "x" * 50_000]:
        answer = await log_in(gateway, key)
        assert answer.status_code == 401
        assert "unknown or revoked" in answer.text
        assert "set-cookie" not in answer.headers
        assert key not in answer.text or not key.startswith("rsk")


async def test_a_platform_has_no_room_here(gateway: Gateway) -> None:
    answer = await log_in(gateway, gateway.key(Role.PLATFORM))
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_a_partner_comes_to_its_own_page_wherever_it_wanted_to(gateway: Gateway) -> None:
    answer = await log_in(gateway, gateway.key(Role.PARTNER, "acme"), following="/dashboard/dead-letters")
    assert answer.headers["location"] == "/dashboard/mine"


async def test_a_session_ends(gateway: Gateway) -> None:
    await logged_in(gateway)
    gateway.clock.now += LASTS - timedelta(seconds=1)
    assert (await gateway.http.get("/dashboard")).status_code == 200
    gateway.clock.now += timedelta(seconds=1)
    problem(await gateway.http.get("/dashboard"), 401)


async def test_a_revoked_key_ends_its_sessions_at_once(gateway: Gateway) -> None:
    made, plain = gateway.keys.create(Role.OPERATOR, gateway.clock.now)
    await log_in(gateway, plain)
    assert (await gateway.http.get("/dashboard")).status_code == 200
    gateway.keys.revoke(made.id, gateway.clock.now)
    problem(await gateway.http.get("/dashboard"), 401)


async def test_only_what_this_service_sealed_counts(gateway: Gateway) -> None:
    await logged_in(gateway)
    good = gateway.http.cookies[COOKIE].strip('"')
    said = gateway.context.sealer.open(good)
    broken = good[:40] + ("A" if good[40] != "A" else "B") + good[41:]
    other = Sealer(Fernet.generate_key().decode())
    gateway.http.cookies.clear()
    for bad in ("", "x", broken, good[:-4], other.seal(said), gateway.context.sealer.seal("whsec_abc"), "é"):
        answer = await gateway.http.get("/dashboard", headers=[(b"cookie", f"{COOKIE}={bad}".encode())])
        problem(answer, 401)
    assert (await gateway.http.get("/dashboard", headers={"cookie": f"{COOKIE}={good}"})).status_code == 200


async def test_log_out(gateway: Gateway) -> None:
    token = await logged_in(gateway)
    answer = await gateway.http.post(LOGOUT, data={"token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, LOGIN)
    assert COOKIE not in gateway.http.cookies
    problem(await gateway.http.get("/dashboard"), 401)


# -- what changes something comes from a page of ours


@pytest.fixture
async def token(gateway: Gateway) -> str:
    gateway.registered()
    return await logged_in(gateway)


def status(gateway: Gateway) -> str:
    partner = gateway.ledger.partner("acme")
    assert partner is not None
    return partner.status.value


async def test_a_form_without_the_session_s_token_does_nothing(gateway: Gateway, token: str) -> None:
    for given in [None, "", "x", "é"]:
        data = {"confirmed": "yes"} | ({} if given is None else {"token": given})
        problem(await gateway.http.post(PAUSE, data=data), 403, "stale-form")
        assert status(gateway) == "active"


async def test_nor_does_one_with_another_session_s(gateway: Gateway, token: str) -> None:
    assert token != await logged_in(gateway)
    problem(await gateway.http.post(PAUSE, data={"confirmed": "yes", "token": token}), 403, "stale-form")
    assert status(gateway) == "active"


async def test_another_site_s_page_does_nothing(gateway: Gateway, token: str) -> None:
    for headers in [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://rescind.test.evil.example"},
        {"origin": "http://rescind.test:8080"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ]:
        data = {"confirmed": "yes", "token": token}
        problem(await gateway.http.post(PAUSE, data=data, headers=headers), 403, "cross-site")
        assert status(gateway) == "active"
        answer = await log_in(gateway, gateway.key(Role.OPERATOR), headers=headers)
        problem(answer, 403, "cross-site")
        assert "set-cookie" not in answer.headers


async def test_a_page_of_ours_does(gateway: Gateway, token: str) -> None:
    for headers in [{"origin": "http://rescind.test"}, {"sec-fetch-site": "same-origin"}, {}]:
        answer = await gateway.http.post(PAUSE, data={"confirmed": "yes", "token": token}, headers=headers)
        assert answer.status_code == 303
        assert status(gateway) == "paused"


async def test_only_a_form_is_a_form(gateway: Gateway, token: str) -> None:
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""]:
        headers = {"content-type": kind}
        answer = await gateway.http.post(PAUSE, content=f"confirmed=yes&token={token}", headers=headers)
        problem(answer, 415)
        assert status(gateway) == "active"


async def test_a_form_that_cannot_be_read_is_400(gateway: Gateway, token: str) -> None:
    for body in [b"a=%FF", b"\xff", b"&".join(b"chosen=x" for _ in range(3000))]:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        problem(await gateway.http.post(PAUSE, content=body, headers=headers), 400)


ROOMS = (door, partner_acts, subject_room, dead_letter_room, own_room)
BUTTONS = sorted(
    route.path
    for room in ROOMS
    for route in room.router.routes
    if isinstance(route, APIRoute) and route.methods == {"POST"} and route.path != LOGIN
)


async def test_every_button_needs_the_token(gateway: Gateway, token: str) -> None:
    for path in BUTTONS:
        own = path.startswith("/dashboard/mine")
        await logged_in(gateway, *((Role.PARTNER, "acme") if own else (Role.OPERATOR,)))
        act = "redrive" if "whose" in path else "pause"
        filled = path.format(partner="acme", act=act, whose="ours")
        problem(await gateway.http.post(filled, data={"confirmed": "yes", "all": "yes"}), 403, "stale-form")


def test_there_are_buttons() -> None:
    assert len(BUTTONS) == 5


async def test_every_page_is_for_its_own_kind_alone(gateway: Gateway) -> None:
    gateway.registered()
    pages = [
        route.path.format(partner="acme")
        for room in (*ROOMS, dashboard, partner_room)
        for route in room.router.routes
        if isinstance(route, APIRoute) and route.methods == {"GET"} and route.path not in ("/", LOGIN)
    ]
    assert len(pages) == 6
    for path in pages:
        gateway.http.cookies.clear()
        problem(await gateway.http.get(path), 401, "unauthenticated")
        own = path == "/dashboard/mine"
        await logged_in(gateway, *((Role.OPERATOR,) if own else (Role.PARTNER, "acme")))
        if path == "/dashboard":
            continue  # where the brand leads: everybody comes home by it
        problem(await gateway.http.get(path), 403, "forbidden")


async def test_a_partner_comes_to_its_own_page_by_the_brand(gateway: Gateway) -> None:
    gateway.registered()
    await logged_in(gateway, Role.PARTNER, "acme")
    answer = await gateway.http.get("/dashboard")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/mine")
    problem(await gateway.http.get("/dashboard/events"), 403, "forbidden")
