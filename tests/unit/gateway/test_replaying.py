"""Replays over HTTP: what goes into the lanes again, in pages, and what a user has chosen meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway import reissuing, replaying
from streams.events import Act, Notice, NoticesIssued, OperatorActed
from streams.kinds import Action
from streams.packs import packed_again
from streams.topics import ACTIONS, NOTICES
from tests.unit.gateway.harness import NOON, Gateway, at, problem

HOUR: dict[str, Any] = {"from": "2026-01-01T12:00:00Z", "to": "2026-01-01T13:00:00Z"}


async def replay(gateway: Gateway, partner: str = "acme", **fields: Any) -> httpx.Response:
    return await gateway.http.post(f"/v1/partners/{partner}/replay", json=HOUR | fields, headers=gateway.operator)


def again(gateway: Gateway) -> list[NoticesIssued]:
    """The packs that were issued again."""
    packs = [event.data for event in gateway.log.events(NOTICES.name)]
    return [pack for pack in packs if isinstance(pack, NoticesIssued) and pack.again is not None]


def names(packs: list[NoticesIssued]) -> list[list[str]]:
    return [[notice.id.removeprefix("n-acme-") for notice in pack.notices] for pack in packs]


def choose(gateway: Gateway, number: int, action: Action, subject: int, lane: int = 0) -> None:
    """A notice about a subject that others are about, too."""
    notice = Notice(
        id=f"n-acme-{number}", cause_id="c", toggle_id="t", action=action, subject=f"user:{subject}",
        purpose="ai-training", occurred_at=gateway.clock.now, issued_at=gateway.clock.now,
        receive_by=at(10), complete_by=at(60),
    )  # fmt: skip
    gateway.happened(NOTICES.name, f"pack-{number}", NoticesIssued(partner="acme", lane=lane, notices=(notice,)), lane)


async def test_a_dry_run_counts_and_does_nothing(gateway: Gateway) -> None:
    gateway.registered(batch_size=2)
    gateway.issued(1, 2, 3)
    choose(gateway, 4, Action.RESUME, subject=1)
    before = len(gateway.log.records)
    answer = await replay(gateway, dry_run=True)
    assert (answer.status_code, len(gateway.log.records)) == (200, before)
    assert answer.json() == {"id": "id-1", "notices": 3, "requests": 2, "superseded": 1, "next": None}


async def test_what_was_issued_then_is_issued_again_as_it_was(gateway: Gateway) -> None:
    gateway.registered(batch_size=2)
    gateway.clock.now = NOON - timedelta(minutes=1)
    gateway.issued(1)
    gateway.clock.now = NOON
    gateway.issued(2, 3, 4)
    gateway.clock.now = at(60)
    gateway.issued(5)
    first = [event.data for event in gateway.log.events(NOTICES.name)][1]
    answer = await replay(gateway)
    assert answer.status_code == 202
    assert (answer.json()["notices"], answer.json()["requests"], answer.json()["next"]) == (3, 2, None)
    packs = again(gateway)
    assert names(packs) == [["2", "3"], ["4"]]
    assert isinstance(first, NoticesIssued)
    assert [notice for pack in packs for notice in pack.notices] == list(first.notices)
    assert all(pack.again is not None and pack.again.how == "replay" and pack.lane == 0 for pack in packs)
    timeline = gateway.ledger.timeline("user:2")
    assert timeline[-1].summary.startswith("acme is asked again to stop and delete: replay by key ")


async def test_who_replayed_what_is_recorded(gateway: Gateway) -> None:
    gateway.registered()
    await replay(gateway)
    (acted,) = [event.data for event in gateway.log.events(ACTIONS.name)]
    assert isinstance(acted, OperatorActed)
    assert (acted.act, acted.partner, acted.by.role) == (Act.REPLAY, "acme", "operator")
    assert acted.details == {"from": "2026-01-01T12:00:00+00:00", "to": "2026-01-01T13:00:00+00:00"}


async def test_a_partner_with_other_lanes_now_is_asked_there(gateway: Gateway) -> None:
    gateway.registered(lane=4, more_lanes=(7,))
    gateway.issued(*range(20), lane=1)
    await replay(gateway)
    partner = gateway.ledger.partner("acme")
    assert partner is not None
    packs = again(gateway)
    assert {pack.lane for pack in packs} == {4, 7}
    assert all(partner.lane_of(notice.subject) == pack.lane for pack in packs for notice in pack.notices)


async def test_pages_end_and_go_on_until_nothing_is_left(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "_TOGETHER", 3)
    monkeypatch.setattr(replaying, "_AT_ONCE", 5)
    gateway.registered()
    for number in range(14):
        gateway.issued(number)
    pages: list[dict[str, Any]] = [(await replay(gateway, id="r")).json()]
    while pages[-1]["next"] is not None:
        pages.append((await replay(gateway, id="r", after=pages[-1]["next"])).json())
    assert [page["notices"] for page in pages] == [6, 6, 2]
    assert {page["id"] for page in pages} == {"r"}
    assert [each for pack in names(again(gateway)) for each in pack] == [str(number) for number in range(14)]
    assert len(gateway.log.events(ACTIONS.name)) == 1


async def test_what_is_replayed_says_how_far_it_was_checked_for_reversals(gateway: Gateway) -> None:
    """In the lane that its partner has now: of that one the ledger may have read nothing."""
    gateway.registered()
    for number in range(3):
        gateway.issued(number)
    assert (await replay(gateway)).status_code == 202
    assert {pack.checked for pack in again(gateway)} == {3}
    gateway.registered("acme", 5, revision=2)
    assert (await replay(gateway)).status_code == 202
    assert [(pack.lane, pack.checked) for pack in again(gateway)][-1] == (5, 0)


async def test_one_that_was_interrupted_is_repeated_under_the_same_ids(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "_TOGETHER", 2)
    gateway.registered()
    for number in range(6):
        gateway.issued(number)
    left = [1]

    async def end_soon(*given: Any) -> reissuing.Reissued:
        gateway.log.failing = not left
        left.clear()
        return await reissuing.issue_again(*given)

    with monkeypatch.context() as patched:
        patched.setattr(replaying, "issue_again", end_soon)
        problem(await replay(gateway, id="r"), 503)
    gateway.log.failing = False
    assert names(again(gateway)) == [["0", "1"]]
    assert (await replay(gateway, id="r")).json()["notices"] == 6
    events = [event for event in gateway.log.events(NOTICES.name) if event.data in again(gateway)]
    assert names(again(gateway)) == [["0", "1"], ["0", "1"], ["2", "3"], ["4", "5"]]
    assert len({event.id for event in events}) == 3
    assert len({event.id for event in gateway.log.events(ACTIONS.name)}) == 1


async def test_another_replay_of_the_same_has_ids_of_its_own(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1)
    for _ in range(2):
        await replay(gateway)
    assert len({event.id for event in gateway.log.events(NOTICES.name)}) == 3
    assert len({event.id for event in gateway.log.events(ACTIONS.name)}) == 2


async def test_what_was_reversed_since_is_left_out(gateway: Gateway) -> None:
    gateway.registered()
    gateway.issued(1, 2)
    gateway.clock.now = at(90)
    choose(gateway, 3, Action.RESUME, subject=1)
    answer = (await replay(gateway)).json()
    assert (answer["notices"], answer["superseded"]) == (1, 1)
    assert names(again(gateway)) == [["2"]]


@pytest.mark.parametrize("times", [1, 2])
async def test_the_last_word_is_the_users_though_it_came_while_we_looked(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    gateway.registered()
    choose(gateway, 1, Action.RESUME, subject=1)
    gateway.issued(2)
    chosen = [(3, Action.ERASE), (4, Action.RESUME)][:times]

    def meanwhile(*given: Any) -> Any:
        if chosen:
            choose(gateway, *chosen.pop(0), subject=1)
        return packs(*given)

    packs = packed_again
    monkeypatch.setattr(reissuing, "packed_again", meanwhile)
    await replay(gateway)
    assert names(again(gateway)) == [["1", "2"], ["3"], ["4"]][: times + 1]


async def test_nothing_is_issued_while_the_ledger_does_not_know_everything(gateway: Gateway) -> None:
    gateway.registered()
    gateway.log.projecting = False
    gateway.issued(1)
    problem(await replay(gateway), 503)
    assert again(gateway) == []


async def test_nobody_is_asked_again_who_is_asked_nothing_any_more(gateway: Gateway) -> None:
    gateway.registered(status="removed")
    problem(await replay(gateway), 404, "unknown-partner")
    problem(await replay(gateway, "nobody"), 404, "unknown-partner")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"from": "2026-01-01T13:00:00Z"}, ""),
        ({"from": "yesterday"}, "/from"),
        ({"to": None}, "/to"),
        ({"dry_run": "yes"}, "/dry_run"),
        ({"id": "a b"}, "/id"),
        ({"after": "x" * 501}, "/after"),
        ({"lane": 1}, "/lane"),
    ],
)
async def test_a_wrong_replay_is_422_and_replays_nothing(
    gateway: Gateway, fields: dict[str, Any], pointer: str
) -> None:
    gateway.registered()
    gateway.issued(1)
    found = problem(await replay(gateway, **fields), 422, "invalid")
    assert pointer in [error["pointer"] for error in found["errors"]]
    assert again(gateway) == []


@pytest.mark.parametrize(
    "after", ["x", "!", "ä", "bnVsbA", "WzEsMl0X", "WzEsImEiXQ", "WzEsMiwzXQ", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LDFd"]
)
async def test_what_is_no_cursor_is_422(gateway: Gateway, after: str) -> None:
    gateway.registered()
    problem(await replay(gateway, after=after), 422, "invalid")


async def test_a_body_without_times_is_422(gateway: Gateway) -> None:
    gateway.registered()
    answer = await gateway.http.post("/v1/partners/acme/replay", json={}, headers=gateway.operator)
    assert {"/from", "/to"} == {error["pointer"] for error in problem(answer, 422)["errors"]}
