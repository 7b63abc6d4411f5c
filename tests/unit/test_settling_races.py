"""Settlement among everybody else, in any order, whoever dies: nobody who chose otherwise is left out of withdrawal and
notice.

The consent decision, the index, the settlement and the fan-out are the real ones; only what brings them together is
played, and any append may be the last thing that a settlement does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import looking
from agents.deciding import ConsentState, decide
from agents.fanout import holders
from agents.packing import notices_for
from agents.settling import Settlement
from ledger import Entry
from streams.blocks import encode_block
from streams.cloudevents import Envelope, decode
from streams.errors import LedgerBehind
from streams.events import ConsentToggled, DatasetVersion, Notice
from streams.exports import ExportClosed, ExportOpened, SubjectsDisclosed, export_id
from streams.kinds import Action, Choice
from streams.records import TopicPartition, record
from streams.topics import DECISIONS, DISCLOSURES
from tests.unit.fakes import partner
from tests.unit.test_settling import WITNESS, Died, Scene

SUBJECTS = [f"user:{number}" for number in range(2)]
STEPS = st.one_of(
    st.tuples(
        st.just("choose"),
        st.sampled_from(SUBJECTS),
        st.sampled_from([Choice.OPT_OUT, Choice.OPT_OUT, Choice.OPT_IN]),
        st.booleans(),
        st.integers(0, 2),
    ),
    st.tuples(st.just("decide")),
    st.tuples(st.just("project")),
    st.tuples(st.just("fan out")),
    st.tuples(st.just("open"), st.just(set(SUBJECTS))),
    st.tuples(st.just("close")),
    st.tuples(st.just("settle"), st.none() | st.integers(0, 4)),
)


@dataclass
class Export:
    """What one gate let through."""

    version: str
    subjects: list[str]
    closed: bool = False

    @property
    def id(self) -> str:
        return export_id("posts", self.version, "p", "ai")


@dataclass
class Play:
    """Everybody, each as far as he has come."""

    scene: Scene
    disclosed: bool
    accepted: list[tuple[str, ConsentToggled]] = field(default_factory=list)
    states: dict[str, ConsentState] = field(default_factory=dict)
    decided: int = 0
    decisions: list[tuple[int, Envelope]] = field(default_factory=list)
    projected: int = 0
    fanned_out: int = 0
    exports: list[Export] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    async def step(self, name: str, *given: Any) -> None:
        await getattr(self, name.replace(" ", "_"))(*given)

    async def choose(self, subject: str, choice: Choice, retroactive: bool, hurry: int) -> None:
        """In a `hurry` all that was accepted is decided, and maybe fanned out, right away."""
        self.scene.clock.pass_by(1)
        toggle = ConsentToggled(
            subject=subject, purpose="ai", choice=choice, retroactive=retroactive, occurred_at=self.scene.clock()
        )
        self.accepted.append((f"t{len(self.accepted)}", toggle))
        while hurry and self.decided < len(self.accepted):
            await self.decide()
        while hurry == 2 and self.fanned_out < len(self.scene.log.events(DECISIONS.name)):
            await self.fan_out()

    async def decide(self) -> None:
        for identity, toggle in self.accepted[self.decided : self.decided + 1]:
            self.scene.clock.pass_by(1)
            decision = decide(self.states.get(toggle.subject), identity, toggle, self.scene.clock())
            await self.scene.log.append([record(DECISIONS.name, event) for event in decision.events])
            self.states[toggle.subject] = decision.state
            self.decided += 1

    async def project(self) -> None:
        """All that is in the log by now; the settlement's requests too."""
        found = [item for item in self.scene.log.records if item.topic == DECISIONS.name]
        entries = [
            Entry(DECISIONS.name, 0, offset, self.scene.clock(), decode(item.value, item.headers))
            for offset, item in enumerate(found[self.projected :], self.projected)
        ]
        self.scene.ledger.apply(entries)
        self.projected = len(found)

    async def fan_out(self) -> None:
        events = self.scene.log.events(DECISIONS.name)[self.fanned_out : self.fanned_out + 1]
        for event in events:
            held = await holders([event], self.scene.follower)
            self.notices += [notice for _, notice in notices_for(event, [partner("p")], held, disclosed=self.disclosed)]
            self.fanned_out += 1

    async def open(self, subjects: set[str]) -> None:
        """As the gate does: by a snapshot with all that was accepted before in it."""
        while self.decided < len(self.accepted):
            await self.decide()
        await self.project()
        with self.scene.ledger.all_who_chose("ai", Choice.OPT_OUT) as (_, pages):
            out = {subject for page in pages for subject in page}
        export = Export(str(len(self.exports)), sorted(subjects - out))
        self.exports.append(export)
        self.scene.clock.pass_by(1)
        await self.scene.happened(
            DISCLOSURES.name,
            ExportOpened(
                export=export.id, dataset="posts", version=export.version, partner="p", purpose="ai",
                regime="opt-out", opened_at=self.scene.clock(),
            ),
        )  # fmt: skip
        if export.subjects:
            block = base64.b64encode(encode_block(export.subjects)).decode()
            data = SubjectsDisclosed(
                export=export.id, dataset="posts", number=0, subjects=len(export.subjects), block=block
            )
            await self.scene.happened(DISCLOSURES.name, data)

    async def close(self) -> None:
        for export in [export for export in self.exports if not export.closed][:1]:
            self.scene.clock.pass_by(1)
            data = ExportClosed(
                export=export.id, dataset="posts", watermark={}, blocks=bool(export.subjects),
                subjects=len(export.subjects), closed_at=self.scene.clock(),
            )  # fmt: skip
            await self.scene.happened(DISCLOSURES.name, data)
            export.closed = True

    async def settle(self, dies_after: int | None) -> None:
        self.scene.log.dies_after = dies_after
        with contextlib.suppress(Died, LedgerBehind):
            await Settlement(self.scene.log, self.scene.ledger, self.scene.follower, WITNESS, self.scene.clock).look()
        self.scene.log.dies_after = None

    async def come_to_rest(self) -> None:
        for _ in self.exports:
            await self.close()
        while self.decided < len(self.accepted):
            await self.decide()
        for _ in range(len(self.exports) + 1):
            await self.project()  # what one settlement asks for the next one waits to see
            await self.settle(None)
        while self.fanned_out < len(self.scene.log.events(DECISIONS.name)):
            await self.fan_out()

    def check(self) -> None:
        for export in self.exports:
            withdrawn = {subject for some in self.scene.index.withdrawals(export.id) for subject in some}
            assert withdrawn <= set(export.subjects)
            for subject in export.subjects if export.closed else ():
                state = self.states.get(subject)
                if state is not None and state.choice is Choice.OPT_OUT:
                    self._told(export, subject, withdrawn=subject in withdrawn, retroactive=state.retroactive)

    def _told(self, export: Export, subject: str, *, withdrawn: bool, retroactive: bool) -> None:
        """The last word that the partner heard of the subject is not to use it; and if it should not have had it, or
        must not keep it, that names the export."""
        heard = [notice for notice in self.notices if notice.subject == subject]
        assert any(notice.action is not Action.RESUME for notice in heard)
        named = DatasetVersion(dataset="posts", version=export.version)
        if withdrawn or retroactive:
            assert any(notice.action is Action.ERASE and named in (notice.datasets or ()) for notice in heard)


async def played(directory: Path, steps: Sequence[tuple[Any, ...]], *, disclosed: bool) -> None:
    scene = Scene(directory)
    scene.log.ledger = None  # it reads when it is told to
    for connection in (scene.ledger._connection, scene.index._writer):
        connection.execute("PRAGMA synchronous=OFF")  # no disk is lost here
    before, looking._CATCH_UP = looking._CATCH_UP, 0.0  # and while it is behind, that is said at once
    scene.log.ends[TopicPartition(DECISIONS.name, 0)] = 0
    play = Play(scene, disclosed)
    try:
        for step in steps:
            await play.step(*step)
        await play.come_to_rest()
        play.check()
        assert scene.index.unfinished() == []
    finally:
        looking._CATCH_UP = before
        scene.close()


@given(st.lists(STEPS, min_size=6, max_size=20), st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_nobody_is_left_out_of_both(steps: list[tuple[Any, ...]], disclosed: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(played(Path(directory), steps, disclosed=disclosed))


def test_the_races_that_matter_one_by_one(tmp_path: Path) -> None:
    """An opt-out before the snapshot, between snapshot and hand-over, between hand-over and settlement, and later; each
    fanned out before and after the next thing happens."""
    out = ("choose", SUBJECTS[0], Choice.OPT_OUT, True, 0)
    life: list[tuple[Any, ...]] = [("open", {SUBJECTS[0], SUBJECTS[1]}), ("close",), ("settle", None), ("fan out",)]
    number = 0
    for place in range(len(life) + 1):
        for hurry in ([], [("decide",)], [("decide",), ("fan out",), ("fan out",)], [("decide",), ("project",)]):
            directory = tmp_path / str(number)
            directory.mkdir()
            number += 1
            asyncio.run(played(directory, [*life[:place], out, *hurry, *life[place:]], disclosed=True))
