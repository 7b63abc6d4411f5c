"""The gate over HTTP: who passes, as of which place in the log, and when nobody does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.gate import MOST
from ledger import choosing
from streams import ids
from streams.events import ConsentChanged, ConsentToggled
from streams.kinds import Choice
from streams.records import TopicPartition
from streams.settings import Settings
from streams.topics import DECISIONS, TOGGLES
from tests.unit.gateway.harness import Gateway, at, gateway_in, problem

PURPOSE = "ai-training"
SNAPSHOT = f"/v1/consents/snapshot?purpose={PURPOSE}"


def chose(gateway: Gateway, subject: str, choice: Choice = Choice.OPT_OUT, purpose: str = PURPOSE) -> None:
    """As the consent agent decides it."""
    now = gateway.clock.now
    changed = ConsentChanged(
        subject=subject, purpose=purpose, choice=choice, retroactive=True, toggle_id="t", occurred_at=now,
        accepted_at=now,
    )  # fmt: skip
    gateway.happened(DECISIONS.name, ids.derive("c", subject, purpose, choice, str(now)), changed)


def toggled(gateway: Gateway, subject: str) -> None:
    toggle = ConsentToggled(subject=subject, purpose=PURPOSE, choice=Choice.OPT_OUT, occurred_at=gateway.clock.now)
    gateway.happened(TOGGLES.name, ids.derive("t", subject), toggle)


def lines(text: str) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    head, *subjects, end = (json.loads(line) for line in text.splitlines())
    return head, subjects, end


async def ask(gateway: Gateway, **question: Any) -> Any:
    return await gateway.http.post("/v1/gate", json={"purpose": PURPOSE} | question, headers=gateway.platform)


@pytest.fixture
async def opt_in(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway_in(tmp_path, {"opt_in_purposes": "other, ai-training"}) as gateway:
        yield gateway


async def test_a_snapshot_has_the_exceptions_and_says_as_of_when(gateway: Gateway) -> None:
    for number in range(7):
        chose(gateway, f"user:{number}")
    chose(gateway, "user:3", Choice.OPT_IN)
    chose(gateway, "user:4", purpose="other")
    chose(gateway, "blog:é\U0001f600")
    answer = await gateway.http.get(SNAPSHOT, headers=gateway.platform)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert int(answer.headers["content-length"]) == len(answer.content)
    head, subjects, end = lines(answer.text)
    assert subjects == ["blog:é\U0001f600", *(f"user:{number}" for number in (0, 1, 2, 4, 5, 6))]
    assert end == {"end": True, "count": 7}
    ends = await gateway.log.end_offsets(DECISIONS.name)
    assert head == {
        "purpose": PURPOSE,
        "regime": "opt-out",
        "watermark": {DECISIONS.name: {str(tp.partition): offset for tp, offset in ends.items()}},
        "taken_at": "2026-01-01T12:00:00Z",
    }


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7])
async def test_a_snapshot_comes_page_by_page(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(choosing, "_TOGETHER", 3)
    expected = [f"user:{number}" for number in range(count)]
    for subject in expected:
        chose(gateway, subject)
    assert lines((await gateway.http.get(SNAPSHOT, headers=gateway.operator)).text)[1:] == (
        expected,
        {"end": True, "count": count},
    )


async def test_where_a_yes_is_needed_the_exceptions_are_those_who_said_it(opt_in: Gateway) -> None:
    chose(opt_in, "user:1", Choice.OPT_IN)
    chose(opt_in, "user:2", Choice.OPT_OUT)
    head, subjects, _ = lines((await opt_in.http.get(SNAPSHOT, headers=opt_in.platform)).text)
    assert (head["regime"], subjects) == ("opt-in", ["user:1"])
    answer = (await ask(opt_in, rows=[["user:1"], ["user:2"], ["user:3"], ["user:1", "user:3"]])).json()
    assert (answer["regime"], answer["passes"]) == ("opt-in", [True, False, False, False])


async def test_what_a_snapshot_reads_is_of_one_moment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_TOGETHER", 2)
    for number in range(5):
        chose(gateway, f"user:{number}")
    with gateway.ledger.all_who_chose(PURPOSE, Choice.OPT_OUT) as (watermark, pages):
        found = next(pages)
        chose(gateway, "user:9")
        chose(gateway, "user:4", Choice.OPT_IN)
        found += [subject for page in pages for subject in page]
    assert found == [f"user:{number}" for number in range(5)]
    assert sum(watermark.values()) == 5
    assert all(tp.topic == DECISIONS.name for tp in watermark)


async def test_a_row_passes_if_all_of_its_subjects_allow_it(gateway: Gateway) -> None:
    gateway.registered("acme")
    chose(gateway, "user:1")
    chose(gateway, "user:2")
    chose(gateway, "user:2", Choice.OPT_IN)
    answer = (await ask(gateway, partner="acme", rows=[["user:2", "user:3"], ["user:3", "user:1"], ["user:1"]])).json()
    watermark = answer.pop("watermark")
    assert sum(watermark[DECISIONS.name].values()) == 3
    assert answer == {
        "purpose": PURPOSE, "regime": "opt-out", "passes": [True, False, False], "cleared": 1, "dropped": 2,
    }  # fmt: skip
    many = [f"user:{number}" for number in range(MOST)]
    answer = (await ask(gateway, subjects=many)).json()
    assert answer["passes"] == [subject != "user:1" for subject in many]


@pytest.mark.parametrize(
    ("question", "where"),
    [
        ({}, ""),
        ({"subjects": ["user:1"], "rows": [["user:1"]]}, ""),
        ({"subjects": []}, "/subjects"),
        ({"subjects": ["user:1"] * (MOST + 1)}, "/subjects"),
        ({"subjects": ["user:1", "User:1"]}, "/subjects/1"),
        ({"subjects": ["user:1 "]}, "/subjects/0"),
        ({"subjects": [None]}, "/subjects/0"),
        ({"rows": [["user:1"], []]}, "/rows/1"),
        ({"rows": [["user:1", 7]]}, "/rows/0/1"),
        ({"subjects": ["user:1"], "purpose": "No"}, "/purpose"),
        ({"subjects": ["user:1"], "visibility": "public"}, "/visibility"),
    ],
)
async def test_a_question_that_is_wrong_clears_nothing(gateway: Gateway, question: dict[str, Any], where: str) -> None:
    body = problem(await ask(gateway, **question), 422, "invalid")
    assert where in [error["pointer"] for error in body["errors"]]
    assert "User:1" not in json.dumps(body)


async def test_who_may_not_receive_gets_nothing_cleared(gateway: Gateway) -> None:
    problem(await ask(gateway, subjects=["user:1"], partner="nobody"), 404, "unknown-partner")
    gateway.registered("acme", purposes=("other",))
    problem(await ask(gateway, subjects=["user:1"], partner="acme"), 422, "invalid")
    gateway.registered("held", lane=1, status="suspended", status_reason="refuses all")
    problem(await ask(gateway, subjects=["user:1"], partner="held"), 409, "partner-barred")


# -- what is not known to be fresh clears nothing

STALE = {"gate_max_lag_seconds": 0.05}


async def both(gateway: Gateway) -> list[Any]:
    return [await gateway.http.get(SNAPSHOT, headers=gateway.platform), await ask(gateway, subjects=["user:1"])]


async def test_a_ledger_that_is_behind_clears_nothing(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, STALE) as gateway:
        gateway.log.projecting = False
        chose(gateway, "user:1")
        for answer in await both(gateway):
            problem(answer, 503, "ledger-behind")
        gateway.log.project()
        snapshot, answer = await both(gateway)
        assert lines(snapshot.text)[1] == ["user:1"]
        assert answer.json()["passes"] == [False]


async def test_a_log_that_does_not_answer_clears_nothing(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, STALE) as gateway:
        gateway.log.failing = True
        for answer in await both(gateway):
            problem(answer, 503, "ledger-behind")


async def test_toggles_that_nobody_has_decided_yet_clear_nothing(tmp_path: Path) -> None:
    left: dict[TopicPartition, int] = {}

    async def undecided() -> Mapping[TopicPartition, int]:
        return left

    async with gateway_in(tmp_path, STALE, undecided=undecided) as gateway:
        toggled(gateway, "user:1")
        (where,) = [tp for tp, end in (await gateway.log.end_offsets(TOGGLES.name)).items() if end]
        left[where] = 1
        for answer in await both(gateway):
            problem(answer, 503, "ledger-behind")
        left[where] = 0
        assert [answer.status_code for answer in await both(gateway)] == [200, 200]


async def test_a_snapshot_waits_for_what_was_accepted_before_it(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, {"gate_max_lag_seconds": 30}) as gateway:
        gateway.log.projecting = False
        chose(gateway, "user:1")
        asked = asyncio.ensure_future(gateway.http.get(SNAPSHOT, headers=gateway.platform))
        await asyncio.sleep(0)
        chose(gateway, "user:2")
        gateway.log.project()
        assert lines((await asked).text)[1][0] == "user:1"


async def test_a_question_is_answered_at_once_while_the_last_proof_is_young(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, {"gate_max_lag_seconds": 0.05}) as gateway:
        assert (await ask(gateway, subjects=["user:1"])).status_code == 200
        gateway.log.projecting = False
        chose(gateway, "user:1")
        # The clock stands still: what is not read yet was accepted within the time that is allowed.
        assert (await ask(gateway, subjects=["user:1"])).json()["passes"] == [True]
        problem(await gateway.http.get(SNAPSHOT, headers=gateway.platform), 503, "ledger-behind")
        for minutes in (1, -1):
            gateway.clock.now = at(minutes)
            problem(await ask(gateway, subjects=["user:1"]), 503, "ledger-behind")


async def test_a_disk_without_room_is_said(gateway: Gateway, tmp_path: Path) -> None:
    context = replace(gateway.context, settings=Settings(data_dir=tmp_path / "gone"))
    gateway.app.state.context = context
    problem(await gateway.http.get(SNAPSHOT, headers=gateway.platform), 503, "unavailable")
