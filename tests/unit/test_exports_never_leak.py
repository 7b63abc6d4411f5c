"""Whoever opts out is out, whenever it happens: of the rows, or among the withdrawals, or asked back of the partner.

Random toggles, exports, hand-overs, settlements and fan-outs run in any order, through the real gate, gateway, ledger,
index and settlement. What is asked in the end knows nothing of watermarks: of everybody who is out, what became of each
row that a partner was given.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.deciding import ConsentState, decide
from agents.disclosing import Follower
from agents.packing import pack
from agents.settling import Settlement
from rescind.client import ApiError
from rescind.gate import Consents, Gate, Patience
from rescind.gate.snapshot import read_snapshot
from streams.cloudevents import Envelope
from streams.events import ConsentToggled, DeletionRequested, Notice, NoticesIssued
from streams.exports import export_id
from streams.kinds import Action, Choice
from streams.records import TopicPartition, record
from streams.topics import DECISIONS, NOTICES, TOGGLES
from tests.unit.gateway.harness import WITNESS, Gateway, gateway_in

T = TypeVar("T")
PURPOSE, PARTNER = "ai-training", "acme"
SUBJECTS = [f"user:{number}" for number in range(3)]
VERSIONS = ["1", "2"]


class Asking:
    """The service as a gate in a thread of its own sees it: real requests to the gateway in the loop."""

    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self._gateway = gateway
        self._loop = loop

    def run(self, asked: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(asked, self._loop)
        return future.result()

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self.run(self._gateway.http.request(method, f"/v1/{path}", headers=self._gateway.platform, **body))
        if not answer.is_success:
            raise ApiError(answer.status_code, answer.text)
        return answer

    def open_export(self, wanted: dict[str, str]) -> dict[str, Any]:
        return dict(self._ask("POST", "exports", json=wanted).json())

    def consents_for(self, purpose: str) -> Consents:
        return read_snapshot([self._ask("GET", f"consents/snapshot?purpose={purpose}").content], purpose)

    def put_block(self, export: str, number: int, block: bytes) -> None:
        self._ask("PUT", f"exports/{export}/subjects/{number}", content=block)

    def close_export(self, export: str, closing: dict[str, Any]) -> dict[str, Any]:
        return dict(self._ask("POST", f"exports/{export}/close", json=closing).json())

    def export(self, export: str) -> dict[str, Any]:
        return dict(self._ask("GET", f"exports/{export}").json())

    def withdrawals(self, export: str) -> list[str]:
        return [line.strip('"') for line in self._ask("GET", f"exports/{export}/withdrawals").text.splitlines()]


@dataclass
class Export:
    """One that is on its way: by whom its gate must have known to be out, and who went out."""

    gate: Gate
    out_before: set[str]
    given: set[str] = field(default_factory=set)
    withdrawn: set[str] | None = None
    notices_before: int = 0


class World:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.numbers = itertools.count()
        self.states: dict[str, ConsentState] = {}
        self.accepted: list[tuple[Envelope, datetime]] = []
        self.fanned_out = 0
        self.exports: dict[str, Export] = {}
        follower = Follower(gateway.log, gateway.index, gateway.clock, setting_aside=False)
        self.settlement = Settlement(gateway.log, gateway.ledger, follower, WITNESS, gateway.clock)
        self.asking = Asking(gateway, asyncio.get_running_loop())

    def toggle(self, subject: str, choice: Choice, *, retroactive: bool) -> None:
        now = self.pass_by()
        data = ConsentToggled(subject=subject, purpose=PURPOSE, choice=choice, occurred_at=now, retroactive=retroactive)
        envelope = Envelope(f"t{next(self.numbers)}", now, data)
        self.gateway.log.put([record(TOGGLES.name, envelope)])
        self.accepted.append((envelope, now))

    def decide(self) -> None:
        """As the consent agent does, of all that was accepted."""
        for envelope, accepted_at in self.accepted:
            data = envelope.data
            assert isinstance(data, ConsentToggled)
            decision = decide(self.states.get(data.subject), envelope.id, data, accepted_at)
            self.states[data.subject] = decision.state
            self.gateway.log.put([record(DECISIONS.name, event) for event in decision.events])
        self.accepted.clear()

    def fan_out(self) -> None:
        """As the fan-out agent does, of all that was decided."""
        decisions = self.gateway.log.events(DECISIONS.name)[self.fanned_out :]
        self.fanned_out += len(decisions)
        wanted = [
            (each.data.subject, each.data.purpose)
            for each in decisions
            if isinstance(each.data, DeletionRequested) and each.data.partner is None
        ]
        whom = self.gateway.ledger.partner(PARTNER)
        assert whom is not None
        held = self.gateway.index.holders(wanted) if wanted else {}
        self.gateway.log.put([record(NOTICES.name, each, partition=0) for each in pack(decisions, [whom], held)])

    async def undecided(self) -> Mapping[TopicPartition, int]:
        # Whoever waits for the agent gives it the time to decide.
        self.decide()
        return {}

    def out(self) -> set[str]:
        return {subject for subject, state in self.states.items() if state.choice is Choice.OPT_OUT}

    def pass_by(self) -> datetime:
        self.gateway.clock.now += timedelta(seconds=1)
        return self.gateway.clock.now

    # -- exports

    async def open(self, version: str, racing: tuple[str, Choice] | None) -> None:
        if version in self.exports:
            return
        sleeping = itertools.count()

        def sleep(seconds: float) -> None:
            # Between hand-over and settlement somebody may still choose, and be decided on before or after.
            async def settle() -> None:
                if racing is not None and next(sleeping) == 0:
                    self.toggle(*racing, retroactive=True)
                    self.decide()
                self.pass_by()
                await self.settlement.look()

            self.asking.run(settle())

        gate = Gate(
            "", None, dataset="posts", version=version, partner=PARTNER, purpose=PURPOSE, subjects=["who"],
            service=self.asking, patience=Patience(away=0, settling=1, sleep=sleep, monotonic=lambda: 0.0),
        )  # fmt: skip
        self.pass_by()
        accepted = set(self.accepted_out())
        await asyncio.to_thread(gate.__enter__)
        self.exports[version] = Export(gate, accepted)

    def accepted_out(self) -> set[str]:
        """Who is out, by all that was accepted until now."""
        self.decide()
        return self.out()

    async def rows(self, version: str, subjects: list[list[str]]) -> None:
        export = self.exports.get(version)
        if export is None or export.withdrawn is not None:
            return
        rows: list[dict[str, Any]] = [{"who": some} for some in subjects]
        for row in await asyncio.to_thread(lambda: list(export.gate.cleared(rows))):
            assert export.out_before.isdisjoint(row["who"])
            export.given |= set(row["who"])

    async def close(self, version: str) -> None:
        export = self.exports.get(version)
        if export is None or export.withdrawn is not None:
            return
        self.pass_by()
        export.notices_before = len(self.notices())
        handed = await asyncio.to_thread(lambda: export.gate.close(sha256="0" * 64, size=0, format="mine"))
        assert handed.export == export_id("posts", version, PARTNER, PURPOSE)
        export.withdrawn = set(handed.withdrawn)

    def notices(self) -> list[Notice]:
        events = self.gateway.log.events(NOTICES.name)
        return [notice for each in events if isinstance(each.data, NoticesIssued) for notice in each.data.notices]

    def check(self) -> None:
        for version, export in self.exports.items():
            if export.withdrawn is not None:
                assert export.withdrawn <= export.given
                for subject in export.given & self.out():
                    assert self._is_asked_back(subject, version, export.notices_before), (version, subject)

    def _is_asked_back(self, subject: str, version: str, before: int) -> bool:
        since = [notice for notice in self.notices()[before:] if notice.subject == subject]
        if any((each.dataset, each.version) == ("posts", version) for one in since for each in one.datasets or ()):
            return True
        # Who opted out for the future alone, after the hand-over, lets the partner keep what it was given.
        return not self.states[subject].retroactive and any(one.action is Action.STOP for one in since)


_subject, _version = st.sampled_from(SUBJECTS), st.sampled_from(VERSIONS)
_choice = st.sampled_from([Choice.OPT_OUT, Choice.OPT_OUT, Choice.OPT_IN])
_toggle = st.tuples(st.just("toggle"), _subject, _choice, st.sampled_from([True, True, False]))
_agents = st.tuples(st.sampled_from(["decide", "fan out", "settle"]))
_racing = st.one_of(st.none(), st.tuples(_subject, _choice))
_rows = st.tuples(st.just("rows"), _version, st.lists(st.lists(_subject, min_size=1, max_size=2), max_size=4))
_exports = st.one_of(st.tuples(st.just("open"), _version, _racing), st.tuples(st.just("close"), _version))
_any = st.one_of(_toggle, _toggle, _agents, _rows, _exports)


def _some(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(steps, min_size=2, max_size=6)


#: One export from its beginning to its end, with anything in between, and maybe another one across it.
_steps = st.tuples(
    _some(st.one_of(_toggle, _toggle, _agents)),
    st.tuples(st.just("open"), st.just("1"), _racing).map(lambda step: [step]),
    _some(_any),
    st.just([("rows", "1", [[subject] for subject in SUBJECTS])]),
    _some(_any),
    st.just([("close", "1")]),
    _some(_any),
).map(lambda parts: [step for part in parts for step in part])


async def live(directory: Path, steps: list[tuple[Any, ...]]) -> None:
    worlds: list[World] = []

    async def undecided() -> Mapping[TopicPartition, int]:
        return await worlds[0].undecided()

    async with gateway_in(directory, undecided=undecided) as gateway:
        gateway.registered(PARTNER)
        world = World(gateway)
        worlds.append(world)
        for name, *given_ in steps:
            match name:
                case "toggle":
                    subject, choice, retroactive = given_
                    world.toggle(subject, choice, retroactive=retroactive)
                case "decide":
                    world.decide()
                case "fan out":
                    world.fan_out()
                case "settle":
                    world.pass_by()
                    await world.settlement.look()
                case "open":
                    await world.open(*given_)
                case "rows":
                    await world.rows(*given_)
                case "close":
                    await world.close(*given_)
        world.decide()
        world.pass_by()
        await world.settlement.look()
        world.fan_out()
        world.check()
        for export in world.exports.values():
            export.gate.__exit__()


@given(steps=_steps)
@settings(deadline=None, max_examples=15)
def test_nobody_who_is_out_is_left_with_a_partner(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    asyncio.run(live(tmp_path_factory.mktemp("leak"), steps))


OUT, IN = Choice.OPT_OUT, Choice.OPT_IN
ROWS = ("rows", "1", [["user:0"], ["user:1"], ["user:0", "user:2"]])


@pytest.mark.parametrize(
    "steps",
    [
        [("toggle", "user:0", OUT, True), ("open", "1", None), ROWS, ("close", "1")],
        [("open", "1", None), ("toggle", "user:0", OUT, True), ROWS, ("close", "1")],
        [("open", "1", None), ROWS, ("toggle", "user:0", OUT, False), ("decide",), ("fan out",), ("close", "1")],
        [("open", "1", ("user:0", OUT)), ROWS, ("close", "1")],
        [("open", "1", None), ROWS, ("close", "1"), ("toggle", "user:0", OUT, True)],
        [("open", "1", None), ROWS, ("close", "1"), ("toggle", "user:0", OUT, False)],
        [
            ("toggle", "user:0", OUT, True), ("toggle", "user:0", IN, True), ("open", "1", ("user:0", IN)), ROWS,
            ("toggle", "user:0", OUT, True), ("decide",), ("fan out",), ("close", "1"), ("toggle", "user:0", OUT, True),
        ],
    ],
)  # fmt: skip
async def test_each_moment_of_an_opt_out(tmp_path: Path, steps: list[tuple[Any, ...]]) -> None:
    await live(tmp_path, steps)
