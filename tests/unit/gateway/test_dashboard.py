"""The status page: every state at a glance, nothing of a partner's taken for HTML."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from html.parser import HTMLParser

import httpx
import pytest

from gateway.dashboard import ago, ahead, duration
from ledger import Role
from tests.unit.gateway.harness import NOON, Gateway, at, problem
from tests.unit.gateway.test_lag import failed, four_states


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def page(gateway: Gateway) -> httpx.Response:
    answer = await gateway.http.get("/dashboard", headers=basic(gateway.key(Role.OPERATOR)))
    assert answer.status_code == 200
    return answer


class Outline(HTMLParser):
    """Tags and text; fails on a tag that is closed out of order."""

    _VOID = frozenset({"meta", "br", "circle", "path"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


async def test_a_browser_is_asked_for_a_password(gateway: Gateway) -> None:
    answer = await gateway.http.get("/dashboard")
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Basic realm="Rescind"'


@pytest.mark.parametrize("user", ["", "anybody", "op", "a b"])
async def test_any_user_name_will_do(gateway: Gateway, user: str) -> None:
    headers = basic(gateway.key(Role.OPERATOR), user)
    assert (await gateway.http.get("/dashboard", headers=headers)).status_code == 200


@pytest.mark.parametrize("role", [Role.PLATFORM, Role.PARTNER])
async def test_only_operators_may_look(gateway: Gateway, role: Role) -> None:
    key = gateway.key(role, "acme" if role is Role.PARTNER else None)
    problem(await gateway.http.get("/dashboard", headers=basic(key)), 403, "forbidden")


async def test_a_bearer_key_is_not_what_a_browser_sends(gateway: Gateway) -> None:
    problem(await gateway.http.get("/dashboard", headers=gateway.operator), 401)


async def test_the_root_leads_to_the_page(gateway: Gateway) -> None:
    answer = await gateway.http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/dashboard")


async def test_the_page_may_load_nothing_and_be_framed_by_nobody(gateway: Gateway) -> None:
    answer = await page(gateway)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "script" not in Outline(answer.text).tags


async def test_before_the_first_partner_it_says_what_to_do(gateway: Gateway) -> None:
    text = " ".join(Outline((await page(gateway)).text).text)
    assert "No partner is registered yet" in text
    assert "rescind partners add" in text


async def test_who_needs_attention_first_comes_first(gateway: Gateway) -> None:
    four_states(gateway)
    html = (await page(gateway)).text
    Outline(html)
    assert re.findall(r"</svg>(\w+)</span>", html) == ["STOP", "STALL", "WARN", "OK"]
    assert re.findall(r'class="name">(\w+)<', html) == ["DEAD", "STUCK", "SLOW", "FINE"]
    assert "HTTP 503 &lt;b&gt;down&lt;/b&gt;" in html
    assert "2 in a row; next attempt in 29 min" in html
    assert "<title>Rescind – 5 open, 5 overdue</title>" in html


async def test_a_failure_without_a_next_attempt_promises_none(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    failed(gateway, again=False)
    html = (await page(gateway)).text
    assert "(1 in a row)" in html
    assert "next attempt" not in html


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; alert(1)//", "{{ 7*7 }}", "{% raw %}", "&amp;"],
)
async def test_a_partner_s_name_is_only_ever_text(gateway: Gateway, name: str) -> None:
    gateway.registered(name=name)
    outline = Outline((await page(gateway)).text)
    assert not {"script", "img"} & set(outline.tags)
    assert name in "".join(outline.text)


async def test_a_paused_partner_is_marked(gateway: Gateway) -> None:
    gateway.registered(status="paused")
    assert '<span class="soft">paused</span>' in (await page(gateway)).text


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
    assert ago(NOON + timedelta(seconds=5), NOON) == "0 ms ago"
    assert ahead(None, NOON) == ""
    assert ahead(at(2), NOON) == "in 2 min"
    assert ahead(at(-2), NOON) == "in 0 ms"
