"""The overview: every state at a glance, who needs attention first, nothing of a partner's taken for HTML."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
import pytest

from gateway.pages import ago, ahead, duration
from ledger import Role
from tests.unit.gateway.harness import NOON, Gateway, at, logged_in, problem
from tests.unit.gateway.pages import Outline
from tests.unit.gateway.test_lag import delivered, failed, four_states


async def page(gateway: Gateway) -> httpx.Response:
    await logged_in(gateway)
    answer = await gateway.http.get("/dashboard")
    assert answer.status_code == 200
    return answer


async def test_the_root_leads_to_the_page(gateway: Gateway) -> None:
    answer = await gateway.http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/dashboard")


async def test_the_page_may_load_only_what_is_ours_and_be_framed_by_nobody(gateway: Gateway) -> None:
    answer = await page(gateway)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    for name in ("script-src", "style-src", "connect-src", "img-src", "form-action"):
        assert policy[name] == "'self'"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


async def test_what_it_loads_is_kept_for_good_and_found_without_a_session(gateway: Gateway) -> None:
    html = (await page(gateway)).text
    gateway.http.cookies.clear()
    files = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', html)
    assert {name.rpartition("/")[2] for name in files} == {"room.css", "room.js", "icon.svg"}
    for name in files:
        answer = await gateway.http.get(name)
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
        assert "immutable" in answer.headers["cache-control"]
    for name in ("/dashboard/static/x/../files.py", "/dashboard/static/x/secret.key", "/dashboard/static/x/%2e%2e"):
        assert (await gateway.http.get(name)).status_code == 404


async def test_before_the_first_partner_it_says_what_to_do(gateway: Gateway) -> None:
    text = Outline((await page(gateway)).text).words
    assert "No partner is registered yet" in text
    assert "rescind partners add" in text


async def test_who_needs_attention_first_comes_first(gateway: Gateway) -> None:
    four_states(gateway)
    html = (await page(gateway)).text
    outline = Outline(html)
    rows = html[html.index("<tbody>") :]
    assert re.findall(r"</svg>(\w+)</span>", rows) == ["STOP", "STALL", "WARN", "OK"]
    assert re.findall(r'/dashboard/partners/(\w+)">', rows) == ["dead", "stuck", "slow", "fine"]
    assert "HTTP 503 &lt;b&gt;down&lt;/b&gt;" in html
    assert "2 in a row, next attempt in 29 min" in outline.words
    assert "2 attempts in a row failed, and 2 notices wait" in outline.words
    assert "answers: 0 % in time, 100 % late" in outline.words
    assert "nothing is open" not in outline.words, "an OK needs no reason"
    assert "<title>5 open, 5 overdue – Rescind</title>" in html


async def test_what_is_at_risk_undeliverable_or_parked_stands_on_the_row(gateway: Gateway) -> None:
    gateway.registered("acme")
    gateway.issued(1, 2, 3, 4, partner="acme")
    delivered(gateway)
    gateway.clock.now = at(50)
    # As the projection of refusals and of `NoticeParked` counts it.
    for name, count in (("undeliverable", 2), ("parked", 1)):
        gateway.ledger._connection.execute("INSERT INTO counts VALUES ('acme', 'erase', ?, ?)", (name, count))
    words = Outline((await page(gateway)).text).words
    assert "4 at risk" in words
    assert "2 undeliverable" in words
    assert "1 parked" in words
    assert "2 notices are undeliverable; 1 notice is parked, failing while others are taken" in words
    words = Outline((await gateway.http.get("/dashboard/partners/acme")).text).words
    assert "2 notices are undeliverable; 1 notice is parked, failing while others are taken." in words
    for figure in ("at risk 4", "undeliverable 2", "parked 1"):
        assert figure in words


async def test_a_partners_page_tells_how_it_answered(gateway: Gateway) -> None:
    four_states(gateway)
    await logged_in(gateway)
    words = Outline((await gateway.http.get("/dashboard/partners/slow")).text).words
    assert "How it answered last 24h" in words
    assert "erase 1 0 0 % 1 100 % 0 0 %" in words
    assert "stop 0 0 – 0 – 0 –" in words


async def test_the_oldest_is_shown_against_the_clock_that_runs(gateway: Gateway) -> None:
    gateway.registered("taken")
    gateway.registered("waits", lane=1)
    gateway.issued(1, partner="taken")
    gateway.issued(1, partner="waits", lane=1)
    delivered(gateway, "taken")
    gateway.clock.now = at(6)
    words = Outline((await page(gateway)).text).words
    assert "6 min of 10 min to receive" in words
    assert "6 min of 1 h to complete" in words


async def test_a_failure_without_a_next_attempt_promises_none(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    failed(gateway, again=False)
    html = (await page(gateway)).text
    assert "1 in a row" in html
    assert "next attempt" not in html


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; alert(1)//", "{{ 7*7 }}", "{% raw %}", "&amp;"],
)
async def test_a_partner_s_name_is_only_ever_text(gateway: Gateway, name: str) -> None:
    gateway.registered(name=name)
    outline = Outline((await page(gateway)).text)
    assert "img" not in outline.tags
    assert outline.tags.count("script") == 1
    assert name in "".join(outline.text)


async def test_a_paused_partner_is_marked(gateway: Gateway) -> None:
    gateway.registered(status="paused")
    assert '<span class="tag">paused</span>' in (await page(gateway)).text


async def test_a_partner_sees_neither_the_overview_nor_its_stream(gateway: Gateway) -> None:
    gateway.registered()
    await logged_in(gateway, Role.PARTNER, "acme")
    for path in ("/dashboard/events", "/dashboard/partners/acme", "/dashboard/dead-letters"):
        problem(await gateway.http.get(path), 403, "forbidden")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (0.9999, "1.0 s"),
        (1, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (86_400, "1 d"),
        (187_200, "2 d 4 h"),
        (400 * 86_400, "400 d"),
    ],
)
def test_spans_of_time_are_written_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_times_are_told_from_now() -> None:
    assert ago(None, NOON) == "never"
    assert ago(at(-3), NOON) == "3 min ago"
    assert ago(at(-3.5), NOON) == "3 min ago"
    assert ago(NOON - timedelta(seconds=1.9), NOON) == "1 s ago"
    assert ago(NOON + timedelta(seconds=5), NOON) == "0 s ago"
    assert ahead(None, NOON) == ""
    assert ahead(at(2), NOON) == "in 2 min"
    assert ahead(at(-2), NOON) == "now"
