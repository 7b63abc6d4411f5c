"""Several gateways that register partners at once: of one data directory they take turns; of several hosts, each
with a view that may be out of date, the log's order decides, and everybody knows the same in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock

from gateway import Turns
from streams.cloudevents import decode
from streams.events import Partner, PartnerRegistered, PartnerStatus
from streams.records import Position, Record, TopicPartition
from streams.topics import LANES, PARTNERS
from tests.unit.gateway.harness import Gateway, MemoryLog, gateway_in, problem

URL = "/v1/partners"


async def add(gateway: Gateway, name: str, /, **changes: Any) -> httpx.Response:
    body = {"id": name, "name": name, "url": f"https://{name}.example/", "purposes": ["ai"]} | changes
    return await gateway.http.post(URL, json=body, headers=gateway.operator)


async def patch(gateway: Gateway, name: str, /, **changes: Any) -> httpx.Response:
    return await gateway.http.patch(f"{URL}/{name}", json=changes, headers=gateway.operator)


async def remove(gateway: Gateway, name: str) -> httpx.Response:
    return await gateway.http.delete(f"{URL}/{name}", headers=gateway.operator)


@dataclass
class Late:
    """An appender before whose next record something happens elsewhere, which its gateway cannot know."""

    log: MemoryLog
    meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def append(self, records: Sequence[Record]) -> list[Position]:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self.log.append(records)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return await self.log.end_offsets(topic)

    async def partitions(self, topic: str) -> int:
        return await self.log.partitions(topic)


@dataclass
class Hosts:
    """Two hosts: each with a gateway, a ledger and keys of its own, over one log. `there` may be `late`."""

    here: Gateway
    there: Gateway
    late: Late

    def standing(self, name: str) -> Partner:
        """A partner as both ledgers have it, and whoever reads nothing but the newest record of a key."""
        here, there = (gateway.ledger.partner(name) for gateway in (self.here, self.there))
        assert here == there
        assert here is not None
        newest = [decode(item.value, item.headers) for item in self.here.log.records if item.key == name.encode()][-1]
        assert isinstance(newest.data, Partner)
        assert newest.data.model_dump() == here.model_dump()
        return here

    def lanes(self) -> list[int]:
        return [partner.lane for partner in self.here.ledger.partners() if partner.status is not PartnerStatus.REMOVED]


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    async with gateway_in(tmp_path / "here") as here, gateway_in(tmp_path / "there", log=here.log) as there:
        late = Late(here.log)
        there.app.state.context = replace(there.context, appender=late)
        yield Hosts(here, there, late)


# -- different hosts


async def test_of_two_partners_in_one_lane_the_later_goes_to_another(hosts: Hosts) -> None:
    hosts.late.meanwhile = lambda: add(hosts.here, "first")
    answer = await add(hosts.there, "second")
    assert answer.status_code == 201
    made = answer.json()
    assert (made["lane"], made["revision"]) == (1, 2)
    assert hosts.standing("first").lane == 0
    second = hosts.standing("second")
    assert second.lane == 1
    assert hosts.there.context.sealer.open(second.secrets[0].sealed) == made["signing_secret"]
    assert hosts.there.keys.authenticate(made["api_key"]) is not None


async def test_what_else_came_in_between_moves_nobody(hosts: Hosts) -> None:
    await add(hosts.here, "known")
    hosts.late.meanwhile = lambda: patch(hosts.here, "known", name="New")
    made = (await add(hosts.there, "second")).json()
    assert (made["lane"], made["revision"]) == (1, 1)
    hosts.late.meanwhile = lambda: remove(hosts.here, "known")
    assert (await add(hosts.there, "third")).json()["lane"] == 2


async def test_of_two_registrations_of_one_id_the_first_counts_for_everybody(hosts: Hosts) -> None:
    answers = []

    async def meanwhile() -> None:
        answers.append(await add(hosts.here, "acme", name="First"))

    hosts.late.meanwhile = meanwhile
    problem(await add(hosts.there, "acme", name="Second"), 409, "exists")
    made = answers[0].json()
    standing = hosts.standing("acme")
    assert standing.name == "First"
    assert hosts.here.context.sealer.open(standing.secrets[0].sealed) == made["signing_secret"]
    assert hosts.here.keys.authenticate(made["api_key"]) is not None
    assert all(key.revoked_at for key in hosts.there.keys.list() if key.partner == "acme")


async def test_a_rotation_that_a_change_overtook_shows_the_secret_that_counts(hosts: Hosts) -> None:
    await add(hosts.here, "acme")
    hosts.late.meanwhile = lambda: patch(hosts.here, "acme", name="New")
    answer = await hosts.there.http.post(f"{URL}/acme/rotate-secret", json={}, headers=hosts.there.operator)
    standing = hosts.standing("acme")
    assert (standing.name, len(standing.secrets)) == ("New", 2)
    assert hosts.there.context.sealer.open(standing.secrets[0].sealed) == answer.json()["signing_secret"]


async def test_the_last_lane_goes_to_the_first(hosts: Hosts) -> None:
    for lane in range(LANES - 1):
        hosts.here.registered(f"p{lane}", lane=lane)
    hosts.late.meanwhile = lambda: add(hosts.here, "first")
    problem(await add(hosts.there, "second"), 409, "no-lane")
    assert hosts.standing("second").status is PartnerStatus.REMOVED
    assert sorted(hosts.lanes()) == list(range(LANES))
    assert all(key.revoked_at for key in hosts.there.keys.list() if key.partner == "second")


async def test_changes_at_once_are_both_kept(hosts: Hosts) -> None:
    await add(hosts.here, "acme")
    hosts.late.meanwhile = lambda: patch(hosts.here, "acme", name="New")
    after = (await patch(hosts.there, "acme", batch_size=7)).json()
    assert (after["name"], after["batch_size"], after["revision"]) == ("New", 7, 3)
    standing = hosts.standing("acme")
    assert (standing.name, standing.batch_size) == ("New", 7)


async def test_a_change_does_not_bring_a_removed_partner_back(hosts: Hosts) -> None:
    await add(hosts.here, "acme")
    hosts.late.meanwhile = lambda: remove(hosts.here, "acme")
    problem(await patch(hosts.there, "acme", batch_size=7), 404, "unknown-partner")
    assert hosts.here.ledger.partner("acme") == hosts.there.ledger.partner("acme")
    standing = hosts.here.ledger.partner("acme")
    assert standing is not None
    assert (standing.status, standing.batch_size) == (PartnerStatus.REMOVED, 100)


async def test_a_removal_removes_what_somebody_changed_meanwhile(hosts: Hosts) -> None:
    await add(hosts.here, "acme")
    hosts.late.meanwhile = lambda: patch(hosts.here, "acme", name="New")
    assert (await remove(hosts.there, "acme")).status_code == 204
    standing = hosts.standing("acme")
    assert (standing.status, standing.name) == (PartnerStatus.REMOVED, "New")


async def test_a_registration_is_answered_though_the_ledger_cannot_tell_yet(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    """The secret exists only in this answer."""

    async def meanwhile() -> None:
        hosts.here.log.projecting = False
        hosts.here.registered("other", lane=9)

    hosts.late.meanwhile = meanwhile
    answer = await add(hosts.there, "acme")
    assert answer.status_code == 201
    assert "whether acme is the only partner in lane 0 is not known" in caplog.text
    hosts.here.log.project()
    assert isinstance(hosts.here.log.events(PARTNERS.name)[-1].data, PartnerRegistered)


# -- one data directory


async def test_gateways_of_one_directory_take_turns(tmp_path: Path) -> None:
    async with gateway_in(tmp_path) as here:
        there = replace(here.context, registering=Turns(tmp_path / "registering.lock"))
        async with gateway_in(tmp_path, log=here.log) as other:
            other.app.state.context = there
            answers = await asyncio.gather(*(add(here if n % 2 else other, f"p{n}") for n in range(8)))
    assert sorted(answer.json()["lane"] for answer in answers) == list(range(8))
    # Nobody had to move: each saw all who came before.
    assert {answer.json()["revision"] for answer in answers} == {1}


async def test_who_waits_too_long_is_told_to_come_again(tmp_path: Path) -> None:
    path = tmp_path / "registering.lock"
    async with gateway_in(tmp_path, registering=Turns(path, patience=0.1)) as gateway:
        with FileLock(path):
            for answer in (await add(gateway, "acme"), await patch(gateway, "acme", name="x")):
                found = problem(answer, 503, "unavailable")
                assert found["detail"] == "another change of partners is under way"
                assert answer.headers["retry-after"] == "1"
        assert (await add(gateway, "acme")).status_code == 201, "who gave up waiting holds nothing"


async def test_a_lock_that_cannot_be_made_is_a_503(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with gateway_in(tmp_path, registering=Turns(tmp_path / "file" / "x.lock")) as gateway:
        assert "cannot lock" in problem(await add(gateway, "acme"), 503, "unavailable")["detail"]
