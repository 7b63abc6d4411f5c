"""Reports: what was asked, answered, late, refused and why, in three forms whose totals add up."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import reports
from ledger import Span, listing, reporting
from ledger.views import OPEN
from streams.events import (
    Acknowledged,
    AckStatus,
    Act,
    Actor,
    BatchDelivered,
    Notice,
    NoticesIssued,
    NoticeUndeliverable,
    OperatorActed,
    Outcome,
    RefusalReason,
)
from streams.kinds import Action
from streams.topics import ACKNOWLEDGEMENTS, ACTIONS, DELIVERIES, NOTICES, UNDELIVERABLE
from tests.unit.gateway.harness import NOON, Gateway, at, gateway_in, problem
from tests.unit.gateway.pages import Outline

JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
DAY = 24 * 60.0
OUTCOMES = {Action.RESUME: Outcome.RESUMED, Action.STOP: Outcome.SUPPRESSED, Action.ERASE: Outcome.DELETED}


def ask(gateway: Gateway, number: int, minutes: float, action: Action = Action.ERASE, partner: str = "acme") -> None:
    """A notice that is to be received within a day, and completed within ten."""
    gateway.clock.now = at(minutes)
    issued = Notice(
        id=f"n-{number}", cause_id="c", toggle_id="t", action=action, subject=f"blog:<i>{number}</i>", purpose="ai",
        occurred_at=at(minutes), issued_at=at(minutes), receive_by=at(minutes + DAY),
        complete_by=at(minutes + 10 * DAY),
    )  # fmt: skip
    pack = NoticesIssued(partner=partner, lane=0, notices=(issued,))
    gateway.happened(NOTICES.name, f"pack-{number}", pack, partition=0)


def take(gateway: Gateway, number: int, minutes: float) -> None:
    data = BatchDelivered(
        partner="acme", lane=0, first_offset=number, last_offset=number, notices=1, webhook_id="msg", attempt=1,
        status_code=200, duration_ms=1, delivered_at=at(minutes),
    )  # fmt: skip
    gateway.happened(DELIVERIES.name, f"delivered-{number}", data)


def answer(
    gateway: Gateway, number: int, minutes: float, outcome: Outcome | None, reason: RefusalReason | None = None
) -> None:
    gateway.clock.now = at(minutes)
    data = Acknowledged(
        notice_id=f"n-{number}", partner="acme", subject=f"blog:<i>{number}</i>", occurred_at=at(minutes), via="api",
        status=AckStatus.COMPLETED if reason is None else AckStatus.REFUSED, outcome=outcome, reason=reason,
        detail=None if reason is None else "=HYPERLINK(\"http://x\") <script>alert(1)</script>",
    )  # fmt: skip
    gateway.happened(ACKNOWLEDGEMENTS.name, f"ack-{number}", data)


def refuse(gateway: Gateway, number: int, minutes: float) -> None:
    data = NoticeUndeliverable(
        partner="acme", lane=0, offset=number, notice_id=f"n-{number}", subject=f"blog:<i>{number}</i>",
        status_code=422, detail="HTTP 422: no such blog", refused_at=at(minutes),
    )  # fmt: skip
    gateway.happened(UNDELIVERABLE.name, f"refused-{number}", data)


def give_up(gateway: Gateway, number: int, minutes: float) -> None:
    by = Actor(key="k1", role="operator", label="on call")
    data = OperatorActed(
        act=Act.DISCARD, by=by, partner="acme", notices=(f"n-{number}",), reason="<b>gone</b>", acted_at=at(minutes)
    )
    gateway.happened(ACTIONS.name, f"discarded-{number}", data)


def busy_month(gateway: Gateway, size: int = 200, seed: int = 1) -> None:
    """What may become of a notice, in a month of a partner, as of its last day."""
    chance = random.Random(seed)
    gateway.registered("acme", name="Acme & <b>Sons</b>")
    for number in range(size):
        asked = number * 29 * DAY / size
        action = chance.choice([Action.ERASE, Action.ERASE, Action.STOP, Action.RESUME])
        ask(gateway, number, asked, action)
        fate = chance.random()
        if fate < 0.04:
            refuse(gateway, number, asked + 5)
            if fate < 0.01:
                give_up(gateway, number, asked + DAY)
        elif fate < 0.95:
            taken = asked + chance.choice([3, 90, 1.2 * DAY])
            take(gateway, number, taken)
            if fate < 0.75:
                answer(gateway, number, taken + chance.choice([1, 3, 9.5]) * DAY, OUTCOMES[action])
            elif fate < 0.85:
                answer(gateway, number, taken + 2 * DAY, None, chance.choice([*RefusalReason]))
    gateway.clock.now = at(30 * DAY)


async def get(gateway: Gateway, key: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    return await gateway.http.get("/v1/partners/acme/report", params=JANUARY | query, headers=key or gateway.operator)


async def report(gateway: Gateway, **query: Any) -> dict[str, Any]:
    answer = await get(gateway, **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


#: What a notice is; all else is of these.
CLOSED_OR_OPEN = ("completed", "refused", "open", "cancelled")


def sums(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Counted again, from the rows alone."""
    statuses = Counter("open" if row["status"] in OPEN else row["status"] for row in rows)
    lateness = ("overdue", "received_late", "answered_late", "issued_late")
    late = {name: sum(row[name] for row in rows) for name in lateness}
    late["suppressed"] = sum((row["action"], row["outcome"]) == ("erase", "suppressed") for row in rows)
    these = {
        "undeliverable": sum(row["status"] == "undeliverable" for row in rows),
        "discarded": sum(row["cancelled_because"] == "discarded" for row in rows),
    }
    return {"asked": len(rows)} | {name: statuses[name] for name in CLOSED_OR_OPEN} | these | late


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, 60), seed=st.integers(0, 10**6), together=st.integers(1, 70), days=st.integers(0, 60))
async def test_totals_are_the_sums_of_the_rows_and_add_up(
    tmp_path_factory: pytest.TempPathFactory, size: int, seed: int, together: int, days: int
) -> None:
    async with gateway_in(tmp_path_factory.mktemp("reports")) as gateway:
        busy_month(gateway, size, seed)
        gateway.clock.now = at(days * DAY)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reports, "_TOGETHER", together)
            found = await report(gateway)
            table = list(csv.DictReader(io.StringIO((await get(gateway, format="csv")).text)))
        rows, totals = found["notices"], found["totals"]
        assert {row["notice"] for row in rows} == {f"n-{number}" for number in range(size)}
        assert rows == sorted(rows, key=lambda row: (row["action"], row["issued_at"]))
        every = totals["all"]
        assert every == sums(rows)
        assert every["asked"] == sum(every[name] for name in CLOSED_OR_OPEN)
        for action, of_it in totals["actions"].items():
            assert of_it == sums([row for row in rows if row["action"] == action])
        assert totals["outcomes"] == Counter(row["outcome"] for row in rows if row["status"] == "completed")
        assert totals["reasons"] == Counter(row["reason"] for row in rows if row["status"] == "refused")
        # The other two forms say the same.
        assert [(row["notice"], row["status"], row["overdue"]) for row in table] == [
            (row["notice"], row["status"], "yes" if row["overdue"] else "no") for row in rows
        ]
        span = Span("acme", NOON - timedelta(days=1), NOON + timedelta(days=40))
        summary = gateway.ledger.report_summary(span, gateway.clock.now)
        assert orjson.loads(orjson.dumps(summary.totals, option=orjson.OPT_NON_STR_KEYS)) == totals
        for name in ("overdue", "answered_late"):
            assert [row.notice.id for row in getattr(summary, name)] == [row["notice"] for row in rows if row[name]]
        gone = [(row["notice"], row["words"]) for row in rows if row["cancelled_because"] == "discarded"]
        assert [(row.notice.id, row.words) for row in summary.discarded] == gone
        for status, spelt_out in (("refused", summary.refused), ("undeliverable", summary.undeliverable)):
            expected = [(row["notice"], row["words"]) for row in rows if row["status"] == status]
            assert [(row.notice.id, row.words) for row in spelt_out] == expected


async def test_a_report_says_when_each_thing_happened_and_why(gateway: Gateway) -> None:
    gateway.registered()
    for number in range(4):
        ask(gateway, number, 0)
    take(gateway, 0, DAY + 1)
    answer(gateway, 0, 11 * DAY, None, RefusalReason.LEGAL_HOLD)
    refuse(gateway, 1, 5)
    take(gateway, 2, 3)
    gateway.clock.now = at(11 * DAY)
    found = await report(gateway)
    assert (found["partner"], found["name"]) == ("acme", "ACME")
    assert (found["from"], found["to"]) == ("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00")
    assert found["as_of"] == at(11 * DAY).isoformat()
    first, second, third, fourth = found["notices"]
    assert (first["status"], first["reason"]) == ("refused", "legal_hold")
    assert first["words"].startswith("=HYPERLINK")
    assert (first["received_late"], first["answered_late"], first["overdue"]) == (True, True, False)
    assert first["completed_at"] == at(11 * DAY).isoformat()
    assert (second["status"], second["words"]) == ("undeliverable", "HTTP 422: no such blog")
    assert (third["received_late"], third["answered_late"], third["overdue"]) == (False, False, True)
    assert (fourth["status"], fourth["overdue"]) == ("queued", True)


async def test_its_time_is_when_notices_were_issued(gateway: Gateway) -> None:
    gateway.registered()
    for number in range(3):
        ask(gateway, number, number)
    ask(gateway, 3, 1, partner="other")
    window: dict[str, Any] = {"from": at(1).isoformat(), "to": at(2).isoformat()}
    assert [row["notice"] for row in (await report(gateway, **window))["notices"]] == ["n-1"]
    answer = await get(gateway, format="csv", **window)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="rescind-acme-20260101-20260101.csv"'
    assert answer.text.count("\r\n") == 2


async def test_no_cell_is_a_formula(gateway: Gateway) -> None:
    gateway.registered()
    ask(gateway, 0, 0)
    answer(gateway, 0, 5, None, RefusalReason.OTHER)
    (row,) = csv.DictReader(io.StringIO((await get(gateway, format="csv")).text))
    assert row["words"].startswith("'=HYPERLINK")
    assert row["subject"] == "blog:<i>0</i>"


async def test_the_page_is_a_whole_document_in_which_nothing_of_others_acts(gateway: Gateway) -> None:
    busy_month(gateway)
    answer = await get(gateway, format="html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    outline = Outline(answer.text)
    assert not {"script", "img", "link", "i", "iframe", "base", "a"} & set(outline.tags)
    text = " ".join("".join(outline.text).split())
    assert "Acme & <b>Sons</b>: what was asked, and what became of it" in text
    assert "<script>alert(1)</script>" in text
    assert "http" not in answer.text.replace("http://x", "").replace("HTTP", "")
    every = (await report(gateway))["totals"]["all"]
    assert (
        f"{every['asked']} asked = {every['completed']} completed + {every['refused']} refused + {every['open']} open"
        f" + {every['cancelled']} cancelled."
    ) in text
    assert f"{every['overdue']} of the open ones are overdue, {every['undeliverable']} undeliverable." in text
    assert every["undeliverable"] > every["discarded"] > 0
    assert "discarded by " in text


async def test_the_page_spells_out_so_many_and_says_that_there_are_more(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_month(gateway)
    for module in (reports, reporting):
        monkeypatch.setattr(module, "SPELT_OUT", 3)
    monkeypatch.setattr(listing, "LOOKED_AT", 7)
    text = (await get(gateway, format="html")).text
    refused = (await report(gateway))["totals"]["all"]["refused"]
    assert f"The first 3 of {refused}. All of them are in the report as CSV or JSON." in text


async def test_a_time_without_notices_is_said(gateway: Gateway) -> None:
    gateway.registered()
    assert "Nothing was asked of ACME in this time." in (await get(gateway, format="html")).text
    found = await report(gateway)
    assert (found["notices"], found["totals"]["all"]["asked"]) == ([], 0)


async def test_a_partner_reads_its_own_report(gateway: Gateway) -> None:
    gateway.registered()
    ask(gateway, 0, 0)
    assert (await get(gateway, gateway.partner("acme"))).json()["totals"]["all"]["asked"] == 1
    problem(await get(gateway, gateway.partner("other")), 404, "unknown-partner")
    problem(await get(gateway, gateway.platform), 403)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": "2026-02-01T00:00:00Z"}, "from must be before to"),
        ({"from": "January"}, "not a time"),
        ({"format": "pdf"}, "format"),
        ({"form": "csv"}, "form"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(gateway: Gateway, query: dict[str, str], words: str) -> None:
    gateway.registered()
    body = problem(
        await gateway.http.get("/v1/partners/acme/report", params=JANUARY | query, headers=gateway.operator), 422
    )
    assert words in str(body)


async def test_nobody_knows_an_unknown_partner(gateway: Gateway) -> None:
    problem(await get(gateway), 404, "unknown-partner")


async def test_a_ledger_that_cannot_be_read_is_a_problem_and_no_half_report(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, raise_app_exceptions=False) as gateway:
        gateway.registered()
        gateway.operator  # noqa: B018 - a key, while it can be made
        (tmp_path / "ledger.sqlite").rename(tmp_path / "away")
        for form in reports.Format:
            problem(await get(gateway, format=form), 503, "unavailable")
