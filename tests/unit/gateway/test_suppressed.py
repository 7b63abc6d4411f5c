"""What was only suppressed, amended, or issued too late: told apart wherever somebody looks."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events import Acknowledged, AckStatus, Notice, NoticesIssued, Outcome
from streams.kinds import Action
from streams.topics import ACKNOWLEDGEMENTS, NOTICES
from tests.unit.gateway.harness import NOON, Gateway, at, logged_in
from tests.unit.gateway.pages import Outline


def issue(gateway: Gateway, number: int, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "id": f"n-{number}", "cause_id": "c", "toggle_id": "t", "action": Action.ERASE, "subject": f"user:{number}",
        "purpose": "ai-training", "occurred_at": NOON, "issued_at": NOON, "receive_by": at(10), "complete_by": at(60),
    }  # fmt: skip
    notice = Notice.model_validate(fields | changes)
    pack = NoticesIssued(partner="acme", lane=0, notices=(notice,))
    gateway.happened(NOTICES.name, f"pack-{number}", pack, 0)


def say(gateway: Gateway, number: int, outcome: Outcome) -> None:
    data = Acknowledged(
        notice_id=f"n-{number}", partner="acme", subject=f"user:{number}", status=AckStatus.COMPLETED, outcome=outcome,
        occurred_at=NOON, via="api",
    )  # fmt: skip
    gateway.happened(ACKNOWLEDGEMENTS.name, f"said-{number}-{outcome}", data)


@pytest.fixture
def some(gateway: Gateway) -> Gateway:
    """Deleted, only suppressed, suppressed by contract, stopped, and one that the platform issued too late."""
    gateway.registered("acme", suppression_completes=True)
    issue(gateway, 1)
    issue(gateway, 2)
    issue(gateway, 3, suppression_completes=True)
    issue(gateway, 4, action=Action.STOP)
    issue(gateway, 5, legal_receive_by=at(-90), legal_complete_by=at(-60))
    say(gateway, 1, Outcome.DELETED)
    for number in (2, 3, 4):
        say(gateway, number, Outcome.SUPPRESSED)
    return gateway


async def test_a_list_tells_them_apart(some: Gateway) -> None:
    async def found(**query: str) -> dict[str, tuple[str, bool]]:
        answer = await some.http.get("/v1/notices", params=query, headers=some.operator)
        return {each["id"]: (each["status"], each["suppression_completes"]) for each in answer.json()["notices"]}

    assert await found(outcome="suppressed") == {
        "n-2": ("in_progress", False), "n-3": ("completed", True), "n-4": ("completed", False)
    }  # fmt: skip
    assert await found(outcome="suppressed", status="open") == {"n-2": ("in_progress", False)}
    assert await found(outcome="suppressed", subject="user:2") == {"n-2": ("in_progress", False)}
    assert await found(outcome="deleted") == {"n-1": ("completed", False)}


async def test_a_report_tells_them_apart(some: Gateway) -> None:
    some.clock.now = at(90)
    query = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    path = "/v1/partners/acme/report"
    report = (await some.http.get(path, params=query, headers=some.operator)).json()
    sums = report["totals"]["all"]
    assert (sums["completed"], sums["open"], sums["suppressed"], sums["issued_late"]) == (3, 2, 2, 1)
    assert report["totals"]["outcomes"] == {"deleted": 1, "suppressed": 2}
    rows = {each["notice"]: each for each in report["notices"]}
    assert (rows["n-2"]["status"], rows["n-2"]["outcome"], rows["n-2"]["overdue"]) == (
        "in_progress",
        "suppressed",
        True,
    )
    late = rows["n-5"]
    assert (late["issued_late"], late["legal_complete_by"], late["complete_by"]) == (
        True, "2026-01-01T11:00:00+00:00", "2026-01-01T13:00:00+00:00"
    )  # fmt: skip
    page = await some.http.get(path, params=query | {"format": "html"}, headers=some.operator)
    words = Outline(page.text.replace("<!doctype html>", "").split("<body>")[1].split("</body>")[0]).words
    assert "2 of those to erase are only suppressed: the data is still there." in words
    assert "1 was issued after a date by the person's request." in words
    assert "in progress, suppressed only" in words


async def test_the_partner_s_page_tells_them_apart(some: Gateway) -> None:
    await logged_in(some)
    words = Outline((await some.http.get("/dashboard/partners/acme")).text).words
    assert "2 to erase only suppressed: the data is still there." in words
    assert "1 issued after a date by the person's request: the platform's delay, not the partner's." in words
    assert "By contract, suppressed completes an erase ." in words


async def test_what_is_changed_counts_for_what_is_issued_then(gateway: Gateway) -> None:
    gateway.registered("acme")
    change = {"suppression_completes": True}
    assert (await gateway.http.patch("/v1/partners/acme", json=change, headers=gateway.operator)).status_code == 200
    await logged_in(gateway)
    words = Outline((await gateway.http.get("/dashboard/partners/acme")).text).words
    assert "By contract, suppressed completes an erase ." in words
    shown = (await gateway.http.get("/v1/partners/acme", headers=gateway.operator)).json()
    assert shown["suppression_completes"] is True


async def test_a_subject_s_page_says_who_was_late(some: Gateway) -> None:
    found = (await some.http.get("/v1/subjects/user:5/timeline", headers=some.operator)).json()["entries"]
    (told,) = [each for each in found if each["kind"] == "issued_late"]
    assert told["at"] == "2026-01-01T12:00:00Z"
    assert "the platform was late" in told["summary"]
