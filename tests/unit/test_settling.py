"""Settlement: who had chosen otherwise by the hand-over is asked back, once and for ever, whoever dies in between."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from agents.disclosing import Follower
from agents.packing import notices_for
from agents.settling import Settlement
from agents.withdrawing import gathered, opposed
from ledger import DisclosureIndex, Entry, ExportStatus, Ledger
from streams.blocks import cut, decode_block, encode_block, leaves
from streams.cloudevents import Envelope, decode
from streams.errors import LogUnavailable, Undecodable
from streams.events import (
    ConsentChanged,
    Data,
    DatasetVersion,
    DeletionRequested,
    Notice,
    NoticesIssued,
    PartnerStatus,
)
from streams.exports import (
    ExportClosed,
    ExportOpened,
    ExportSettled,
    SubjectsDisclosed,
    SubjectsWithdrawn,
    WithdrawalsRequested,
    export_id,
)
from streams.kinds import Action, Choice
from streams.manifests import verify, withdrawn
from streams.ranks import rank_of
from streams.records import Message, Position, Record, TopicPartition, record
from streams.topics import DECISIONS, DISCLOSURES, NOTICES
from streams.witness import Witness
from tests.unit.fakes import NOON, FakeClock, MemoryLog, partner

ID = export_id("posts", "1", "p", "ai")
WITNESS = Witness(Fernet.generate_key().decode())
USERS = [f"user:{number:04}" for number in range(2500)]


class Died(Exception):
    """In the place of a process that ends."""


class Crashing(MemoryLog):
    """A log that everybody reads at once; of whose appends one may be the last thing that a process does."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.ledger: Ledger | None = None
        self.follower: Follower | None = None
        self.dies_after: int | None = None

    async def append(self, records: Sequence[Record]) -> list[Position]:
        if self.dies_after == 0:
            raise Died
        positions = await super().append(records)
        entries = []
        for item, position in zip(records, positions, strict=True):
            if item.topic == DISCLOSURES.name:
                await self.show(Message(*position, 0.0, item.headers, item.key, item.value))
            else:
                entries.append(Entry(*position, self.clock(), decode(item.value, item.headers)))
        if self.ledger is not None:
            self.ledger.apply(entries)
        if self.dies_after is not None:
            self.dies_after -= 1
        return positions

    async def show(self, message: Message) -> None:
        assert self.follower is not None
        tp = TopicPartition(message.topic, message.partition)
        await self.follower.take([message], {tp: message.offset + 1})


class Scene:
    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.log = Crashing(self.clock)
        self.ledger = self.log.ledger = Ledger.open(directory / "ledger.sqlite")
        self.index = DisclosureIndex.open(directory / "disclosures.sqlite")
        self.follower = self.log.follower = Follower(self.log, self.index, self.clock, setting_aside=False)
        self.numbers = 0

    def close(self) -> None:
        self.index.close()
        self.ledger.close()

    async def happened(self, topic: str, *events: Data) -> None:
        self.numbers += 1
        now = self.clock()
        await self.log.append(
            [record(topic, Envelope(f"e{self.numbers}-{place}", now, data)) for place, data in enumerate(events)]
        )

    async def chose(
        self, *subjects: str, choice: Choice = Choice.OPT_OUT, retroactive: bool = True, rank: str | None = None
    ) -> None:
        self.clock.pass_by(1)
        events: list[Data] = []
        for subject in subjects:
            common: dict[str, Any] = {
                "subject": subject, "purpose": "ai", "toggle_id": "t", "occurred_at": NOON, "accepted_at": self.clock(),
                "rank": rank,
            }  # fmt: skip
            events.append(ConsentChanged(choice=choice, retroactive=retroactive, **common))
            if retroactive and choice is Choice.OPT_OUT:
                events.append(DeletionRequested(**common))
        await self.happened(DECISIONS.name, *events)

    async def handed_over(self, subjects: Sequence[str], **changes: Any) -> None:
        fields: dict[str, Any] = {"version": "1", "partner": "p", "purpose": "ai", "regime": "opt-out"} | changes
        await self.happened(
            DISCLOSURES.name, ExportOpened(export=ID, dataset="posts", opened_at=self.clock(), **fields)
        )
        blocks = list(cut(subjects))
        for number, some in enumerate(blocks):
            block = base64.b64encode(encode_block(some)).decode()
            data = SubjectsDisclosed(export=ID, dataset="posts", number=number, subjects=len(some), block=block)
            await self.happened(DISCLOSURES.name, data)
        await self.happened(
            DISCLOSURES.name,
            ExportClosed(
                export=ID, dataset="posts", watermark={"rescind.decisions": {"0": 0}}, blocks=len(blocks),
                subjects=len(subjects), closed_at=self.clock(),
            ),
        )  # fmt: skip

    async def look(self) -> None:
        self.clock.pass_by(1)
        await Settlement(self.log, self.ledger, self.follower, WITNESS, self.clock).look()

    def requested(self) -> list[Envelope]:
        events = self.log.events(DECISIONS.name)
        return [each for each in events if isinstance(each.data, DeletionRequested) and each.data.partner is not None]

    def withdrawn(self) -> list[str]:
        return [subject for some in self.index.withdrawals(ID) for subject in some]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


async def test_who_chose_otherwise_by_the_hand_over_is_asked_back_of_that_partner(scene: Scene) -> None:
    await scene.chose(USERS[3])
    await scene.chose(USERS[4], retroactive=False)
    await scene.chose(USERS[5])
    await scene.chose(USERS[5], choice=Choice.OPT_IN)
    await scene.chose("user:9999")
    await scene.handed_over(USERS)
    await scene.look()
    assert scene.withdrawn() == [USERS[3], USERS[4]]
    asked = [each.data for each in scene.requested()]
    settled_at = scene.clock()
    assert asked == [
        DeletionRequested(
            subject=subject, purpose="ai", toggle_id=ID, occurred_at=settled_at, accepted_at=settled_at, partner="p",
            datasets=(DatasetVersion(dataset="posts", version="1"),),
        )
        for subject in (USERS[3], USERS[4])
    ]  # fmt: skip
    manifest = scene.index.manifest(ID)
    assert manifest is not None
    said = json.loads(manifest)
    assert verify(said, WITNESS.public) == []
    assert said["withdrawn"] == withdrawn([USERS[3], USERS[4]]).model_dump()
    assert (said["subjects"], said["watermark"]) == (2500, {"rescind.decisions": {"0": 0}})
    count = len(scene.log.records)
    await scene.look()
    assert len(scene.log.records) == count  # all is said
    assert scene.index.unfinished() == []


async def test_of_a_purpose_that_needs_a_yes_whoever_did_not_say_it_is_asked_back(scene: Scene) -> None:
    yes = [subject for subject in USERS if subject not in (USERS[7], USERS[2000])]
    await scene.chose(*yes, choice=Choice.OPT_IN)
    await scene.chose(USERS[8])
    await scene.handed_over(USERS, regime="opt-in")
    await scene.look()
    assert scene.withdrawn() == [USERS[7], USERS[8], USERS[2000]]


def rank(version: int, choice: Choice = Choice.OPT_OUT) -> str:
    return rank_of(version, NOON, choice, retroactive=True)


async def test_a_withdrawal_has_the_rank_of_the_opt_out_that_stands(scene: Scene) -> None:
    """Whoever never chose has none; nor whoever has opted in by the time that it is asked."""
    await scene.chose(USERS[1], rank=rank(1))
    await scene.chose(USERS[1], choice=Choice.OPT_IN, rank=rank(2, Choice.OPT_IN))
    await scene.chose(USERS[1], USERS[2], rank=rank(3))
    await scene.handed_over(USERS[:3], regime="opt-in")
    scene.log.dies_after = 2  # the list and its manifest
    with pytest.raises(Died):
        await scene.look()
    scene.log.dies_after = None
    assert scene.withdrawn() == USERS[:3]
    await scene.chose(USERS[2], choice=Choice.OPT_IN, rank=rank(4, Choice.OPT_IN))
    await scene.look()
    asked = [each.data for each in scene.requested()]
    assert [each.rank for each in asked if isinstance(each, DeletionRequested)] == [None, rank(3), None]


async def test_an_export_of_nobody_and_one_that_nobody_objects_to_are_settled(scene: Scene) -> None:
    await scene.handed_over([])
    await scene.look()
    export = scene.index.export(ID)
    assert export is not None
    assert (export.status, export.withdrawn, export.requested_at) == (ExportStatus.SETTLED, 0, scene.clock())
    assert scene.requested() == []


async def test_of_an_import_those_are_asked_back_who_want_the_past_gone_and_were_not_asked_before(scene: Scene) -> None:
    await scene.chose("user:owed")
    await scene.chose("user:future", retroactive=False)
    await scene.chose("user:asked")
    await scene.chose("user:back")
    await scene.chose("user:back", choice=Choice.OPT_IN)
    notice = Notice(
        id="n", cause_id="c", toggle_id="t", action=Action.ERASE, subject="user:asked", purpose="ai",
        occurred_at=NOON, issued_at=scene.clock(), receive_by=scene.clock(), complete_by=scene.clock(),
    )  # fmt: skip
    await scene.happened(NOTICES.name, NoticesIssued(partner="p", lane=0, notices=(notice,)))
    subjects = sorted(["user:owed", "user:future", "user:asked", "user:back", "user:silent"])
    await scene.handed_over(subjects, imported=True, exported_at=NOON - timedelta(days=100), regime="opt-in")
    await scene.look()
    assert scene.withdrawn() == ["user:owed"]
    manifest = scene.index.manifest(ID)
    assert manifest is not None
    assert json.loads(manifest)["imported"] is True
    assert verify(json.loads(manifest), WITNESS.public) == []


async def test_a_withdrawal_is_no_word_about_the_past_of_others(scene: Scene) -> None:
    """That one partner was asked for what it was given too late does not make an opt-out reach back."""
    await scene.chose("user:1", retroactive=False)
    await scene.handed_over(["user:1"])
    await scene.look()
    assert scene.withdrawn() == ["user:1"]
    assert scene.ledger.owed("other", "ai", ["user:1"]) == frozenset()
    (entry,) = [each for each in scene.ledger.timeline("user:1") if each.kind == "withdrawal_requested"]
    assert (entry.partner, "posts 1" in entry.summary) == ("p", True)


async def test_whoever_dies_at_any_point_what_follows_is_the_same(tmp_path: Path) -> None:
    # Blocks of the list, the settlement, the requests, and that they are durable.
    for died in range(6):
        directory = tmp_path / str(died)
        directory.mkdir()
        scene = Scene(directory)
        await scene.chose(*USERS[:1500:2])
        await scene.handed_over(USERS)
        scene.log.dies_after = died
        try:
            await scene.look()
        except Died:
            pass
        else:
            assert died >= 4  # it came to its end
        scene.log.dies_after = None
        before = scene.index.manifest(ID)
        # The next one begins with another index, and at another time; who settled before counts nevertheless.
        await scene.chose(USERS[1])
        await scene.look()
        assert before in (None, scene.index.manifest(ID))
        expected = USERS[:1500:2] if before is not None else sorted([*USERS[:1500:2], USERS[1]])
        assert scene.withdrawn() == expected
        by_id = {each.id: each for each in scene.requested()}
        assert sorted(each.data.subject for each in by_id.values()) == expected  # type: ignore[attr-defined]
        assert all(by_id[each.id] == each for each in scene.requested())
        settled = [each for each in scene.log.events(DISCLOSURES.name) if isinstance(each.data, ExportSettled)]
        assert len(settled) == 1
        assert scene.index.unfinished() == []
        scene.close()


async def test_of_two_that_settle_at_once_the_first_counts_for_both(scene: Scene) -> None:
    await scene.chose(USERS[0])
    await scene.handed_over(USERS[:10])
    said = withdrawn([USERS[0], USERS[1]])
    block = base64.b64encode(encode_block([USERS[0], USERS[1]])).decode()
    others = Settlement(scene.log, scene.ledger, scene.follower, WITNESS, scene.clock)
    (export,) = scene.index.unfinished()
    await scene.happened(DISCLOSURES.name, SubjectsWithdrawn(
        export=ID, dataset="posts", withdrawal=said.sha256, number=0, subjects=2, block=block
    ))  # fmt: skip
    await scene.happened(DISCLOSURES.name, ExportSettled(
        export=ID, dataset="posts", withdrawn=said, blocks=1, manifest="{}", settled_at=NOON
    ))  # fmt: skip
    await others._settle(export)  # it had looked before
    await scene.look()
    assert scene.withdrawn() == [USERS[0], USERS[1]]
    assert [each.data.subject for each in scene.requested()] == [USERS[0], USERS[1]]  # type: ignore[attr-defined]
    assert isinstance(scene.log.events(DISCLOSURES.name)[-1].data, WithdrawalsRequested)


async def test_an_export_that_cannot_be_settled_holds_back_no_other(scene: Scene) -> None:
    await scene.handed_over(USERS[:3])
    await scene.chose(USERS[0])
    other = export_id("posts", "2", "p", "ai")
    scene.index._writer.execute("UPDATE leaves SET data = x'00'")
    await scene.happened(
        DISCLOSURES.name,
        ExportOpened(export=other, dataset="posts", version="2", partner="p", purpose="ai", regime="opt-out",
                     opened_at=NOON),
        ExportClosed(export=other, dataset="posts", watermark={}, blocks=0, subjects=0, closed_at=NOON),
    )  # fmt: skip
    with pytest.raises(Undecodable):
        await scene.look()
    statuses = {export.id: export.status for export in scene.index.exports(9)}
    assert statuses == {ID: ExportStatus.CLOSED, other: ExportStatus.SETTLED}


@given(st.sets(st.integers(0, 4000)), st.sets(st.integers(0, 4000)), st.booleans())
def test_who_is_opposed_is_what_sets_say(held: set[int], chosen: set[int], out: bool) -> None:
    subjects = sorted(f"user:{number}" for number in held)
    said = sorted(f"user:{number}" for number in chosen)
    pieces = [leaf for some in cut(subjects) for leaf in leaves(encode_block(some))]
    firsts = [(decode_block(b"\x01" + leaf)[0], leaf) for leaf in pieces]
    expected = sorted(set(subjects) & set(said) if out else set(subjects) - set(said))
    assert list(opposed(firsts, said, out=out)) == expected


def test_across_leaves_too() -> None:
    pieces = list(leaves(encode_block(USERS)))
    firsts = [(USERS[1024 * number], leaf) for number, leaf in enumerate(pieces)]
    said = ["a:1", USERS[0], USERS[1023], USERS[1024], USERS[2499], "user:9999"]
    assert list(opposed(firsts, said, out=True)) == [USERS[0], USERS[1023], USERS[1024], USERS[2499]]
    assert list(opposed(firsts, said, out=False)) == [each for each in USERS if each not in said]


def test_a_long_list_is_many_blocks() -> None:
    many = [f"user:{number:06}" for number in range(20_000)]
    said, blocks = gathered(iter(many))
    assert said == withdrawn(many)
    assert [subject for _, block in blocks for subject in decode_block(block)] == many
    assert [count for count, _ in blocks] == [8192, 8192, 3616]


# -- what partners are asked then


def asked(
    whom: Any, given: dict[str, list[tuple[str, str]]], *, disclosed: bool = False, **data: Any
) -> list[tuple[str, int | None]]:
    request = DeletionRequested(
        subject="user:1", purpose="ai", toggle_id="t", occurred_at=NOON, accepted_at=NOON, **data
    )
    found = notices_for(Envelope("d", NOON, request), [whom], {("user:1", "ai"): given}, disclosed=disclosed)
    return [(notice.action, notice.datasets_count) for _, notice in found]


ONE = [("posts", "1")]
AIMED = {"partner": "p", "datasets": ({"dataset": "posts", "version": "1"},)}


def test_a_notice_names_what_the_partner_was_given() -> None:
    many = [("posts", str(number)) for number in range(150)]
    decision = Envelope(
        "d", NOON, DeletionRequested(subject="user:1", purpose="ai", toggle_id="t", occurred_at=NOON, accepted_at=NOON)
    )
    ((_, notice),) = notices_for(decision, [partner("p")], {("user:1", "ai"): {"p": many}})
    assert notice.datasets is not None
    assert (len(notice.datasets), notice.datasets_count) == (100, 150)
    assert notice.datasets[0] == DatasetVersion(dataset="posts", version="0")


@pytest.mark.parametrize(
    ("changes", "given", "disclosed", "data", "expected"),
    [
        ({}, {}, False, {}, [("erase", None)]),
        ({}, {"p": ONE}, False, {}, [("erase", 1)]),
        ({}, {"other": ONE}, False, {}, [("erase", None)]),
        ({}, {"p": ONE}, True, {}, [("erase", 1)]),
        ({}, {"other": ONE}, True, {}, [("stop", None)]),
        # It holds the subject, though it is registered otherwise by now.
        ({"purposes": ("ads",)}, {"p": ONE}, False, {}, [("erase", 1)]),
        ({"purposes": ("ads",)}, {}, False, {}, []),
        ({"subject_kinds": ("blog",)}, {"p": ONE}, True, {}, [("erase", 1)]),
        ({"purposes": ("ads",), "status": PartnerStatus.REMOVED}, {"p": ONE}, False, {}, []),
        ({"draining_since": NOON}, {"p": ONE}, False, {}, []),
        # Of it alone.
        ({}, {}, True, AIMED, [("erase", 1)]),
        ({"id": "other"}, {"other": ONE}, False, AIMED, []),
        ({"purposes": ("ads",), "draining_since": NOON}, {}, False, AIMED, [("erase", 1)]),
        ({"status": PartnerStatus.REMOVED}, {}, False, AIMED, []),
    ],
)
def test_who_is_asked_what(
    changes: dict[str, Any], given: Any, disclosed: bool, data: dict[str, Any], expected: list[tuple[str, int | None]]
) -> None:
    assert asked(partner("p", **changes), given, disclosed=disclosed, **data) == expected


async def test_a_log_that_is_away_only_makes_it_wait(scene: Scene) -> None:
    await scene.chose(USERS[0])
    await scene.handed_over(USERS[:3])
    scene.log.failures = 1
    await scene.look()
    assert scene.withdrawn() == [USERS[0]]
    with pytest.raises(LogUnavailable):
        scene.log.failures = 1
        await scene.log.append([])
