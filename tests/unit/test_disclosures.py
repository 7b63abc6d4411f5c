"""The index of disclosures: what it says follows from the log's order alone, and it may be deleted."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.disclosing import following
from ledger import Disclosure, DisclosureIndex, ExportStatus
from ledger.disclosed import place
from streams.blocks import encode_block
from streams.cloudevents import Envelope, encode
from streams.embedded.log import EmbeddedLog
from streams.errors import StorageUnusable
from streams.events import Data
from streams.exports import (
    ExportClosed,
    ExportOpened,
    ExportSettled,
    SubjectsDisclosed,
    SubjectsWithdrawn,
    WithdrawalsRequested,
    export_id,
)
from streams.manifests import withdrawn
from streams.records import Message, Record, TopicPartition, record
from streams.topics import DISCLOSURES, POISONED

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ID = export_id("posts", "1", "acme", "ai")
TP = TopicPartition(DISCLOSURES.name, 0)
USERS = [f"user:{number:04}" for number in range(3000)]


def opened(dataset: str = "posts", version: str = "1", partner: str = "acme", **changes: Any) -> ExportOpened:
    fields: dict[str, Any] = {"purpose": "ai", "regime": "opt-out", "opened_at": NOON} | changes
    identity = export_id(dataset, version, partner, fields["purpose"])
    return ExportOpened(export=identity, dataset=dataset, version=version, partner=partner, **fields)


def block(subjects: Sequence[str]) -> str:
    return base64.b64encode(encode_block(subjects)).decode()


def disclosed(number: int, subjects: Sequence[str], export: str = ID, dataset: str = "posts") -> SubjectsDisclosed:
    return SubjectsDisclosed(
        export=export, dataset=dataset, number=number, subjects=len(subjects), block=block(subjects)
    )


def closed(blocks: int, subjects: int, export: str = ID, dataset: str = "posts", minutes: int = 1) -> ExportClosed:
    return ExportClosed(
        export=export, dataset=dataset, watermark={"rescind.decisions": {"0": 7}}, blocks=blocks, subjects=subjects,
        closed_at=NOON + timedelta(minutes=minutes),
    )  # fmt: skip


def settled(subjects: Sequence[str], manifest: str = "{}", blocks: int | None = None) -> list[Data]:
    said = withdrawn(subjects)
    some: list[Data] = [
        SubjectsWithdrawn(
            export=ID, dataset="posts", withdrawal=said.sha256, number=0, subjects=len(subjects), block=block(subjects)
        )
    ] * bool(subjects)
    count = len(some) if blocks is None else blocks
    end = ExportSettled(export=ID, dataset="posts", withdrawn=said, blocks=count, manifest=manifest, settled_at=NOON)
    return [*some, end]


def messages(events: Iterable[Data], start: int = 0) -> list[Message]:
    return [
        Message(*TP, offset, 0.0, [("content-type", b"application/cloudevents+json")], b"posts",
                encode(Envelope(f"e{offset}", NOON, data)))
        for offset, data in enumerate(events, start)
    ]  # fmt: skip


class Scene:
    def __init__(self, path: Path) -> None:
        self.index = DisclosureIndex.open(path)
        self.end = 0

    def say(self, *events: Data) -> None:
        found = messages(events, self.end)
        self.end += len(found)
        assert self.index.apply(found, {TP: self.end}) == []

    def status(self, identity: str = ID) -> ExportStatus | None:
        export = self.index.export(identity)
        return None if export is None else export.status

    def of(self, subject: str) -> list[tuple[str, str, bool]]:
        return [(each.export.partner, each.export.version, each.withdrawn) for each in self.index.of(subject)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterable[Scene]:
    made = Scene(tmp_path / "disclosures.sqlite")
    yield made
    made.index.close()


def test_who_is_found_is_who_was_handed_over(scene: Scene) -> None:
    scene.say(opened(), disclosed(0, USERS[:2000]), disclosed(1, USERS[2000:2500]))
    assert (scene.of(USERS[0]), scene.index.any) == ([], False)
    scene.say(closed(2, 2500))
    assert scene.index.any is True
    for subject in (USERS[0], USERS[1999], USERS[2000], USERS[2499]):
        assert scene.of(subject) == [("acme", "1", False)]
    for subject in (USERS[2500], "user:", "user:0000x", "a:1"):
        assert scene.of(subject) == []
    export = scene.index.export(ID)
    assert export is not None
    assert (export.status, export.subjects, export.watermark) == ("closed", 2500, {"rescind.decisions": {"0": 7}})
    assert export.disclosed_at == export.closed_at == NOON + timedelta(minutes=1)
    assert [leaf[0] for leaf in scene.index.leaves(ID)] == [USERS[0], USERS[1024], USERS[2000]]


def test_holders_are_by_purpose_and_the_newest_first(scene: Scene) -> None:
    for number, (dataset, partner, purpose) in enumerate(
        [("posts", "acme", "ai"), ("photos", "acme", "ai"), ("posts", "bolt", "ai"), ("posts", "acme", "ads")]
    ):
        identity = export_id(dataset, "1", partner, purpose)
        scene.say(
            opened(dataset, partner=partner, purpose=purpose),
            disclosed(0, ["user:1"], identity, dataset),
            closed(1, 1, identity, dataset, minutes=number),
        )
    assert scene.index.holders([("user:1", "ai"), ("user:2", "ai")]) == {
        ("user:1", "ai"): {"bolt": [("posts", "1")], "acme": [("photos", "1"), ("posts", "1")]},
        ("user:2", "ai"): {},
    }


def test_the_first_word_counts_and_what_is_handed_over_does_not_change(scene: Scene) -> None:
    scene.say(opened(), disclosed(0, ["user:1"]), closed(1, 1))
    scene.say(opened(opened_at=NOON + timedelta(days=1)), disclosed(0, ["user:2"]), closed(1, 1, minutes=9))
    export = scene.index.export(ID)
    assert export is not None
    assert (export.opened_at, export.closed_at) == (NOON, NOON + timedelta(minutes=1))
    assert (scene.of("user:1"), scene.of("user:2")) == ([("acme", "1", False)], [])


def test_while_it_is_open_a_block_takes_the_place_of_the_one_before(scene: Scene) -> None:
    scene.say(opened(), disclosed(0, USERS[:2000]), disclosed(1, USERS[2000:]), disclosed(0, USERS[:5]))
    assert scene.index.block(ID, 0) == (USERS[0], USERS[4], 5)
    scene.say(disclosed(2, ["zz:1"]), closed(2, 1005))
    assert scene.of(USERS[4]) == [("acme", "1", False)]
    assert (scene.of(USERS[5]), scene.of("zz:1")) == ([], [])


@pytest.mark.parametrize(
    ("events", "blocks", "subjects", "said"),
    [
        ([], 1, 1, "block 0 of 1 is missing"),
        ([disclosed(1, ["user:1"])], 2, 1, "block 0 of 2 is missing"),
        ([disclosed(0, ["user:1"])], 1, 2, "hold 1 subjects, not 2"),
        ([disclosed(0, ["user:1"])], 0, 1, "the 0 blocks hold 0 subjects"),
        ([disclosed(0, ["user:2"]), disclosed(1, ["user:1"])], 2, 2, "block 1 begins before block 0 ends"),
        ([disclosed(0, ["user:2"]), disclosed(1, ["user:2"])], 2, 2, "block 1 begins before block 0 ends"),
    ],
)
def test_what_is_not_whole_is_not_closed(
    scene: Scene, events: list[Data], blocks: int, subjects: int, said: str
) -> None:
    scene.say(opened(), *events)
    assert said in str(scene.index.unfit(ID, blocks, subjects))
    scene.say(closed(blocks, subjects))
    assert scene.status() is ExportStatus.OPEN


def test_an_export_of_nobody_is_closed_too(scene: Scene) -> None:
    scene.say(opened(), closed(0, 0))
    assert scene.status() is ExportStatus.CLOSED


def test_of_two_settlements_the_first_that_is_whole_counts(scene: Scene) -> None:
    scene.say(opened(), disclosed(0, USERS[:10]), closed(1, 10))
    assert [export.id for export in scene.index.unfinished()] == [ID]
    one, one_end = settled(USERS[:2], '{"one": 1}')
    two, two_end = settled(USERS[:3], '{"two": 2}')
    scene.say(two_end)  # its list is not there yet
    assert scene.status() is ExportStatus.CLOSED
    scene.say(one, two, one, one_end, two_end)
    assert scene.status() is ExportStatus.SETTLED
    assert scene.index.manifest(ID) == b'{"one": 1}'
    assert list(scene.index.withdrawals(ID)) == [USERS[:2]]
    assert scene.of(USERS[1]) == [("acme", "1", True)]
    assert scene.of(USERS[2]) == [("acme", "1", False)]
    assert [export.id for export in scene.index.unfinished()] == [ID]
    scene.say(WithdrawalsRequested(export=ID, dataset="posts", requested_at=NOON))
    assert scene.index.unfinished() == []


def test_what_is_said_of_an_export_that_there_is_not_is_passed_over(scene: Scene) -> None:
    scene.say(disclosed(0, ["user:1"]), closed(1, 1), *settled(["user:1"]))
    scene.say(opened(), disclosed(0, ["user:1"], dataset="other"), closed(1, 1, dataset="other"))
    assert scene.status() is ExportStatus.OPEN
    assert scene.index.unfit(ID, 1, 1) is not None
    assert scene.index.export("nobody") is None
    assert scene.index.manifest("nobody") is None


def test_an_import_left_when_it_left(scene: Scene) -> None:
    before = NOON - timedelta(days=400)
    scene.say(opened(imported=True, exported_at=before), disclosed(0, ["user:1"]), closed(1, 1))
    (found,) = scene.index.of("user:1")
    assert found.export.imported
    assert found.export.disclosed_at == before


def test_what_is_no_event_of_ours_is_returned_and_passed_over(scene: Scene) -> None:
    good = messages([opened(), disclosed(0, ["user:1"]), closed(1, 1)])
    (alien,) = messages([opened()])
    bad = [
        alien._replace(value=None),
        alien._replace(value=b"{}"),
        alien._replace(value=good[1].value.replace(block(["user:1"]).encode(), b"AAAA")),  # type: ignore[union-attr]
    ]
    mixed = [item._replace(offset=offset) for offset, item in enumerate([*bad[:2], good[0], bad[2], *good[1:]])]
    assert [message.offset for message, _ in scene.index.apply(mixed, {TP: 6})] == [0, 1, 3]
    assert scene.of("user:1") == [("acme", "1", False)]


def test_deleted_or_of_another_version_it_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "disclosures.sqlite"
    events = [opened(), disclosed(0, USERS), closed(1, 3000), *settled(USERS[:1])]
    answers: list[list[Disclosure]] = []
    for how in ("fresh", "known", "other version", "forgotten"):
        scene = Scene(path)
        if how == "forgotten":
            scene.index.forget()
        assert scene.index.offsets() == ({TP: 5} if how == "known" else {})
        assert scene.index.apply(messages(events), {TP: 5}) == []
        answers.append(scene.index.of(USERS[0]))
        if how == "known":
            scene.index._writer.execute("PRAGMA user_version = 99")
        scene.index.close()
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0].withdrawn


def test_however_it_is_cut_into_transactions_it_is_the_same(tmp_path: Path) -> None:
    found = messages([opened(), disclosed(0, USERS[:5]), disclosed(0, USERS[:4]), closed(1, 4), *settled(USERS[:1])])
    answers = []
    for number, cuts in enumerate(itertools.product([False, True], repeat=len(found) - 1)):
        index = DisclosureIndex.open(tmp_path / f"{number}.sqlite")
        start = 0
        for end in [*(after for after, cut in enumerate(cuts, 1) if cut), len(found)]:
            # What was taken before comes again, as after a crash.
            assert index.apply(found[max(0, start - 1) : end], {TP: end}) == []
            start = end
        answers.append((index.of(USERS[0]), index.of(USERS[4]), index.offsets()))
        index.close()
    assert all(answer == answers[0] for answer in answers)


async def test_who_follows_goes_on_where_the_index_is(tmp_path: Path) -> None:
    log = EmbeddedLog(f"sqlite://{tmp_path / 'log.sqlite'}")
    said = [opened(), disclosed(0, ["user:1"]), closed(1, 1), *settled(["user:1"])]
    for number, data in enumerate(said):
        await log.append([record(DISCLOSURES.name, Envelope(f"e{number}", NOON, data))])
        with following(log, tmp_path / "disclosures.sqlite", lambda: NOON) as follower:
            seen: list[int] = []
            follower.index.apply = _counted(follower.index.apply, seen)  # type: ignore[method-assign]
            task = asyncio.ensure_future(follower.run(log))
            await follower.caught_up()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert seen == [1]  # what was read before is not read again
            status = follower.index.export(ID)
    assert status is not None
    assert status.status is ExportStatus.SETTLED
    log.close()


def _counted(apply: Any, seen: list[int]) -> Any:
    def counted(messages: Sequence[Message], positions: Any) -> Any:
        seen.append(len(messages))
        return apply(messages, positions)

    return counted


async def test_an_index_that_knows_more_than_the_log_is_made_anew(tmp_path: Path) -> None:
    """As after a backup of the log was put back."""
    index = DisclosureIndex.open(tmp_path / "disclosures.sqlite")
    index.apply(messages([opened(version=str(number)) for number in range(9)]), {TP: 9})
    index.close()
    log = EmbeddedLog(f"sqlite://{tmp_path / 'log.sqlite'}")
    bad = Record(DISCLOSURES.name, b"posts", b"nonsense")
    await log.append([bad, record(DISCLOSURES.name, Envelope("e", NOON, opened()))])
    with following(log, tmp_path / "disclosures.sqlite", lambda: NOON, setting_aside=True) as follower:
        task = asyncio.ensure_future(follower.run(log))
        async with asyncio.timeout(30):
            while [export.version for export in follower.index.exports(99)] != ["1"]:
                await follower.news.wait()
            while sum((await log.end_offsets(POISONED.name)).values()) != 1:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    log.close()


def test_pages_of_exports_are_the_newest_first(scene: Scene) -> None:
    for minute in range(5):
        partner = "acme" if minute % 2 else "bolt"
        scene.say(opened(version=str(minute), partner=partner, opened_at=NOON + timedelta(minutes=minute)))
    first = scene.index.exports(2)
    then = scene.index.exports(9, before=place(first[-1]))
    assert [export.version for export in (*first, *then)] == ["4", "3", "2", "1", "0"]
    assert [export.version for export in scene.index.exports(9, partner="acme")] == ["3", "1"]
    assert scene.index.exports(9, dataset="photos") == []


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    path = tmp_path / "disclosures.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StorageUnusable, match="not a database"):
        DisclosureIndex.open(path)
