"""What is known of a subject, whatever characters its name has."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from streams import ids
from streams.events import ConsentChanged, ConsentToggled
from streams.kinds import Choice
from streams.topics import DECISIONS, TOGGLES
from tests.unit.gateway.harness import NOON, Gateway, at, problem

CONSENTS, TIMELINE = "/v1/consents/{}", "/v1/subjects/{}/timeline"
both = pytest.mark.parametrize("form", [CONSENTS, TIMELINE], ids=["consents", "timeline"])

SUBJECTS = [
    "user:1",
    "blog:staff.example.com",
    "urn:a:b:c",
    "path:a/b/c",
    "path:/",
    "path:a//b",
    "path:a/",
    "path:../../etc/passwd",
    "path:a/timeline",
    "path:timeline",
    "url:https://example.com/?q=1#top",
    "odd:100%",
    "odd:%2F",
    "odd:+&;=@!$'()*,~",
    "odd:a\\b",
    "user:Jürgen",
    "user:日本語",
    "user:🦊",
    "user:e\u0301",
    'odd:"<script>',
    "user:" + "x" * 255,
]


def opted_out(gateway: Gateway, subject: str) -> None:
    toggle = ConsentToggled(subject=subject, purpose="ai-training", choice=Choice.OPT_OUT, occurred_at=at(-5))
    gateway.happened(TOGGLES.name, "t-1", toggle)
    changed = ConsentChanged(
        subject=subject,
        purpose="ai-training",
        choice=Choice.OPT_OUT,
        previous=None,
        retroactive=True,
        toggle_id="t-1",
        version=7,
        occurred_at=at(-5),
        accepted_at=NOON,
    )
    gateway.happened(DECISIONS.name, ids.change_id("t-1"), changed)


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_subject_is_found_by_its_encoded_name(gateway: Gateway, subject: str) -> None:
    opted_out(gateway, subject)
    answer = await gateway.http.get(CONSENTS.format(quote(subject, safe="")), headers=gateway.platform)
    assert answer.json() == {
        "subject": subject,
        "consents": [
            {
                "subject": subject,
                "purpose": "ai-training",
                "choice": "opt_out",
                "version": 7,
                "occurred_at": "2026-01-01T11:55:00Z",
                "toggle_id": "t-1",
                "decided_at": "2026-01-01T12:00:00Z",
            }
        ],
    }
    answer = await gateway.http.get(TIMELINE.format(quote(subject, safe="")), headers=gateway.platform)
    assert answer.json()["subject"] == subject
    assert [entry["kind"] for entry in answer.json()["entries"]] == ["toggled", "consent_changed"]


@pytest.mark.parametrize("path", ["/v1/consents/url:a/b:c", "/v1/subjects/url:a/b:c/timeline"])
async def test_slashes_and_colons_need_no_encoding(gateway: Gateway, path: str) -> None:
    opted_out(gateway, "url:a/b:c")
    answer = await gateway.http.get(path, headers=gateway.platform)
    assert answer.json()["subject"] == "url:a/b:c"
    assert answer.json().get("consents") or answer.json().get("entries")


@both
async def test_a_subject_that_was_never_seen_has_nothing(gateway: Gateway, form: str) -> None:
    answer = await gateway.http.get(form.format("user:nobody"), headers=gateway.operator)
    assert answer.status_code == 200
    assert {"subject": "user:nobody"}.items() <= answer.json().items()
    assert [value for name, value in answer.json().items() if name != "subject"] == [[]]


@pytest.mark.parametrize(
    "subject",
    [
        "1",
        ":",
        "user:",
        ":1",
        "User:1",
        "user:a b",
        "user:a\tb",
        "user:\0",
        "user:" + "x" * 256,
        "k" * 33 + ":1",
        "-:1",
    ],
)
@both
async def test_what_is_no_subject_is_422(gateway: Gateway, form: str, subject: str) -> None:
    answer = await gateway.http.get(form.format(quote(subject, safe="")), headers=gateway.platform)
    found = problem(answer, 422, "invalid")
    assert found["errors"][0]["detail"]


@both
async def test_a_line_break_never_leads_to_another_subject(gateway: Gateway, form: str) -> None:
    opted_out(gateway, "user:1")
    answer = await gateway.http.get(form.format("user:1%0A"), headers=gateway.platform)
    assert answer.status_code in (404, 422)
    problem(answer, answer.status_code)


@both
async def test_bytes_that_are_no_text_are_no_failure(gateway: Gateway, form: str) -> None:
    answer = await gateway.http.get(form.format("user:%FF%FE"), headers=gateway.platform)
    assert answer.status_code in (200, 422)
