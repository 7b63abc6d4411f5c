"""`rescind lag`: what a log's own offsets say of each partner, for people and for scripts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agents.app import GROUP
from rescind.backlog import of_interest
from streams.cloudevents import Envelope
from streams.embedded.log import EmbeddedLog
from streams.events import Partner, PartnerStatus
from streams.records import Record, TopicPartition, record
from streams.topics import NOTICES, PARTNERS
from tests.unit.cli.conftest import Run
from tests.unit.fakes import NOON, partner


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three packs in acme's lane, of which it took one; two in beta's, which took all; one in nobody's."""

    async def fill() -> None:
        for name, lane in (("acme", 3), ("beta", 0), ("gamma", 7)):
            await log.append([record(PARTNERS.name, Envelope(name, NOON, partner(name, lane=lane)))])
        await log.append([Record(PARTNERS.name, b"x", b"nonsense", 0)])
        for lane, count in ((3, 3), (0, 2), (30, 1)):
            await log.append([Record(NOTICES.name, None, b"pack", lane)] * count)
        taken = {TopicPartition(NOTICES.name, lane): at for lane, at in ((3, 1), (0, 2))}
        await log._store.commit(GROUP, taken)

    log = EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite")
    asyncio.run(fill())
    log.close()
    return tmp_path


def test_a_person_sees_each_partner_with_its_lane(run: Run, data: Path) -> None:
    ran = run("lag", "--data", str(data))
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["lane", "partner", "status", "backlog"],
        ["0", "beta", "active", "0"],
        ["3", "acme", "active", "2"],
        ["7", "gamma", "active", "0"],
        ["30", "-", "-", "1"],
    ]


def test_a_program_gets_json(run: Run, data: Path) -> None:
    ran = run("lag", "--data", str(data), "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["backlog"] == 3
    assert told["lanes"][1] == {
        "lane": 3,
        "backlog": 2,
        "partners": [{"id": "acme", "name": "acme", "status": "active"}],
    }


@pytest.mark.parametrize(("most", "code"), [(0, 1), (1, 1), (2, 0), (1000, 0)])
def test_a_script_asks_whether_it_is_too_much(run: Run, data: Path, most: int, code: int) -> None:
    assert run("lag", "--data", str(data), "--at-most", str(most)).code == code


def test_an_empty_log_has_nobody(run: Run, tmp_path: Path) -> None:
    EmbeddedLog(f"sqlite://{tmp_path}/log.sqlite").close()
    ran = run("lag", "--data", str(tmp_path), "--at-most", "0")
    assert (ran.code, ran.out) == (0, "no partner is registered\n")


def test_looking_makes_no_log(run: Run, tmp_path: Path) -> None:
    ran = run("lag", "--data", str(tmp_path))
    assert ran.code == 2
    assert ran.err.startswith(f"rescind: there is no log {tmp_path}/log.sqlite")
    assert ran.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_removed_partner_is_named_while_its_lane_holds_something() -> None:
    def gone(name: str, lane: int) -> Partner:
        return partner(name, lane=lane, status=PartnerStatus.REMOVED)

    known = [gone("old", 1), gone("done", 2), gone("before", 3), partner("after", lane=3), partner("paused", lane=4)]
    found = of_interest({1: 5, 2: 0, 3: 1, 4: 0}, known)
    assert [(lane.number, [each.id for each in lane.partners], lane.backlog) for lane in found] == [
        (1, ["old"], 5),
        (3, ["after"], 1),
        (4, ["paused"], 0),
    ]


def test_a_wide_partner_is_named_at_each_of_its_lanes() -> None:
    found = of_interest({1: 5, 2: 0, 3: 0}, [partner("wide", lane=1, more_lanes=(2,))])
    assert [(lane.number, [each.id for each in lane.partners]) for lane in found] == [(1, ["wide"]), (2, ["wide"])]
