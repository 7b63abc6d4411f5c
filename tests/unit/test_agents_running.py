"""The agents as the service runs them, on a real log: what one crash, one slow partner, one late registration
may not do. Everything else about them is tested as functions."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from faust.types import TP

from agents.app import GROUP, Parts, acting_app
from agents.directory import Directory
from agents.disclosing import following
from agents.retrying import Backoff
from agents.webhooks import Answer, Payload, body_of
from streams.cloudevents import Envelope, decode
from streams.errors import LogUnavailable
from streams.events import ConsentToggled, NoticesIssued
from streams.kinds import Choice
from streams.records import Position, TopicPartition, record
from streams.sealing import Sealer
from streams.topics import DECISIONS, DELIVERIES, LANES, NOTICES, PARTNERS, SUBJECT_PARTITIONS, TOGGLES
from streams.written import WrittenNotice
from tests.conformance.embedded import Embedded
from tests.conformance.harness import running, until
from tests.unit.fakes import NOON, OK, FakeClock, notice, partner


class HangingSender:
    """Partners that take everything, but for those that never answer, about some subjects or at all."""

    def __init__(self) -> None:
        self.payloads: dict[bytes, tuple[WrittenNotice, ...]] = {}
        self.held: set[str] = set()
        self.deaf: set[str] = set()
        self.asked: list[tuple[str, str]] = []  #: url and subject, in order
        self.requests: list[list[str]] = []  #: the subjects of each
        self._freed = asyncio.Event()

    def payload(self, notices: Sequence[WrittenNotice], *, single: bool, gzip: bool) -> Payload:
        body, media_type = body_of(notices, single=single)
        self.payloads[body] = tuple(notices)
        return Payload(body, media_type, gzip)

    async def send(self, url: str, secrets: Sequence[str], webhook_id: str, payload: Payload, now: Any) -> Answer:
        notices = self.payloads[payload.body]
        self.asked += [(url, notice.subject) for notice in notices]
        self.requests.append([notice.subject for notice in notices])
        if url in self.deaf or any(notice.subject in self.held for notice in notices):
            await self._freed.wait()
        return OK

    def let_go(self) -> None:
        """Answer what is held."""
        self._freed.set()

    def subjects(self, url: str) -> list[str]:
        return [subject for asked, subject in self.asked if asked == url]


class Scene:
    def __init__(self, directory: Path) -> None:
        self.engine = Embedded(directory)
        self.sender = HangingSender()
        self._sealer = Sealer(Fernet.generate_key().decode())
        self._directory = directory
        self._stack = ExitStack()
        self._numbers = itertools.count()

    def close(self) -> None:
        self._stack.close()

    def app(self) -> Any:
        """As after a start: nothing of a former app is left."""
        backoff = Backoff(base=0.01, cap=0.01)
        disclosures = self._stack.enter_context(
            following(self.engine.log, self._directory / f"index-{next(self._numbers)}", FakeClock())
        )
        return acting_app(
            Parts(self.engine.log, self._sealer, self.sender, FakeClock(), backoff, self._directory, disclosures)
        )

    async def register(self, name: str, lane: int, **fields: Any) -> None:
        secrets = [{"scheme": "v1", "sealed": self._sealer.seal("secret")}]
        known = {"url": f"https://{name}.example/", "lane": lane, "batch_size": 1, "secrets": secrets}
        whom = partner(name, **(known | fields))
        await self.engine.log.append([record(PARTNERS.name, Envelope(f"r-{name}", NOON, whom))])

    async def opt_out(self, *subjects: str) -> None:
        """One by one, so that each is a batch, and a pack, of its own."""
        for subject in subjects:
            toggle = ConsentToggled(subject=subject, purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
            await self.engine.log.append([record(TOGGLES.name, Envelope(subject, NOON, toggle))])
            await until(lambda subject=subject: self._decided(subject) == 2)  # type: ignore[misc]

    async def issue(self, name: str, lane: int, *numbers: int) -> None:
        """Packs of one notice each, as the fan-out leaves them."""
        for number in numbers:
            pack = Envelope(f"pack-{number}", NOON, NoticesIssued(partner=name, lane=lane, notices=(notice(number),)))
            await self.engine.log.append([record(NOTICES.name, pack, partition=lane)])

    def _decided(self, subject: str) -> int:
        return sum(event.data.key() == subject for event in self.events(DECISIONS.name, SUBJECT_PARTITIONS))

    def events(self, topic: str, partitions: int) -> list[Envelope]:
        stored = [item for partition in range(partitions) for item in self.engine.stored(topic, partition)]
        return [decode(item.value, item.headers) for item in stored]

    def waits(self, app: Any, lane: int, end: int) -> bool:
        """Whether all below an offset has come to a lane."""
        read: dict[TP, int | None] = app.consumer._read_offset
        return read[TP(NOTICES.name, lane)] == end - 1

    def delivered(self, lane: int) -> int:
        """How far a lane is committed."""
        return self.engine.committed(GROUP).get(TopicPartition(NOTICES.name, lane), 0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.engine.close()


async def test_a_choice_is_not_known_before_its_decision_is_durable(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash in between would lose the decision: the choice, read again, would count as a repetition."""
    toggle = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
    await scene.engine.log.append([record(TOGGLES.name, Envelope("t", NOON, toggle))])
    tried = 0

    async def refuse(*_: object, **__: object) -> list[Position]:
        nonlocal tried
        tried += 1
        raise LogUnavailable("told to fail")

    with monkeypatch.context() as patched:
        # Not by the log itself, which would refuse the table's change in the same transaction.
        patched.setattr(scene.engine.log, "step", refuse)
        async with running(scene.app()):
            await until(lambda: tried == 2)
    assert scene.events(DECISIONS.name, SUBJECT_PARTITIONS) == []
    await scene.engine.restart()
    async with running(scene.app()):
        await until(lambda: len(scene.events(DECISIONS.name, SUBJECT_PARTITIONS)) == 2)


async def test_notices_go_into_their_partner_s_lane(scene: Scene) -> None:
    await scene.register("a", lane=3)
    await scene.register("b", lane=5)
    async with running(scene.app()):
        await scene.opt_out("user:1")
        await until(lambda: bool(scene.engine.stored(NOTICES.name, 3) and scene.engine.stored(NOTICES.name, 5)))
    for lane, name in ((3, "a"), (5, "b")):
        (pack,) = [decode(item.value, item.headers).data for item in scene.engine.stored(NOTICES.name, lane)]
        assert isinstance(pack, NoticesIssued)
        assert (pack.partner, pack.lane) == (name, lane)
    assert len(scene.events(NOTICES.name, LANES)) == 2


async def test_a_decision_waits_for_registrations_that_were_durable_before_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable = asyncio.Event()
    run = Directory.run

    async def slowly(self: Directory, log: Any) -> None:
        await readable.wait()
        await run(self, log)

    monkeypatch.setattr(Directory, "run", slowly)
    async with running(scene.app()):
        await scene.register("late", lane=0)
        await scene.opt_out("user:1")
        await asyncio.sleep(0.3)  # long enough for a fan-out that does not wait
        readable.set()
        await until(lambda: scene.sender.subjects("https://late.example/") == ["user:1"])


async def test_what_a_partner_took_is_not_sent_again_and_what_it_did_not_take_is(scene: Scene) -> None:
    await scene.register("p", lane=0)
    scene.sender.held.add("user:2")
    # All of them are there from the beginning, so that a reader could take them in one go.
    await scene.issue("p", 0, 1, 2, 3)
    async with running(scene.app()):
        await until(lambda: scene.sender.subjects("https://p.example/") == ["user:1", "user:2"])
        await until(lambda: scene.delivered(0) == 1)
    assert scene.delivered(0) == 1
    await scene.engine.restart()
    scene.sender.held.clear()
    async with running(scene.app()):
        await until(lambda: scene.delivered(0) == 3)
    assert scene.sender.subjects("https://p.example/") == ["user:1", "user:2", "user:2", "user:3"]


async def test_small_neighbours_are_joined_up_to_the_partners_batch_size(scene: Scene) -> None:
    await scene.register("p", lane=0, batch_size=4)
    scene.sender.held.add("user:1")
    # The first goes alone, since nobody waits when a lane is idle; while it is under way, others come.
    async with running(scene.app()) as app:
        await scene.issue("p", 0, 1)
        await until(lambda: scene.sender.requests == [["user:1"]])
        await scene.issue("p", 0, 2, 3, 4, 5, 6, 7)
        await until(lambda: scene.waits(app, 0, 7))
        scene.sender.let_go()
        await until(lambda: scene.delivered(0) == 7)
    assert scene.sender.requests == [["user:1"], ["user:2", "user:3", "user:4", "user:5"], ["user:6", "user:7"]]


async def test_a_notice_that_was_issued_again_shares_no_request_with_itself(scene: Scene) -> None:
    await scene.register("p", lane=0, batch_size=10)
    scene.sender.held.add("user:1")
    async with running(scene.app()) as app:
        await scene.issue("p", 0, 1)
        await until(lambda: scene.sender.requests == [["user:1"]])
        await scene.issue("p", 0, 2, 3, 2, 4)
        await until(lambda: scene.waits(app, 0, 5))
        scene.sender.let_go()
        await until(lambda: scene.delivered(0) == 5)
    assert scene.sender.requests == [["user:1"], ["user:2", "user:3"], ["user:2", "user:4"]]


async def test_a_busy_lane_waits_a_moment_for_more_and_an_idle_one_does_not(scene: Scene) -> None:
    # Far longer than two packs take to come.
    await scene.register("p", lane=0, batch_size=2, linger_ms=2000)
    async with running(scene.app()):
        await scene.issue("p", 0, 1)
        await until(lambda: scene.delivered(0) == 1 or scene.sender.requests == [["user:1"]])
        await scene.issue("p", 0, 2)
        await scene.issue("p", 0, 3)
        await until(lambda: scene.delivered(0) == 3)
    assert scene.sender.requests == [["user:1"], ["user:2", "user:3"]]


async def test_a_partner_that_hangs_holds_up_nobody_else(scene: Scene) -> None:
    subjects = [f"user:{number}" for number in range(5)]
    await scene.register("deaf", lane=0)
    await scene.register("well", lane=1)
    scene.sender.deaf.add("https://deaf.example/")
    async with running(scene.app()):
        await scene.opt_out(*subjects)
        # In no certain order: each subject has one, but two of them may be fanned out at once.
        await until(lambda: sorted(scene.sender.subjects("https://well.example/")) == subjects)
        assert len(scene.sender.subjects("https://deaf.example/")) == 1


async def test_a_lane_goes_on_while_the_log_takes_nothing_but_not_for_ever_and_nothing_counts_as_done(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.register("p", lane=0)
    subjects = [f"user:{number}" for number in range(1, 41)]
    await scene.issue("p", 0, *range(1, 41))
    refused = 0

    async def refuse(*_: object, **__: object) -> list[Position]:
        nonlocal refused
        refused += 1
        raise LogUnavailable("told to fail")

    async with running(scene.app()):
        with monkeypatch.context() as patched:
            patched.setattr(scene.engine.log, "step", refuse)
            await until(lambda: refused >= 3)
            asked = scene.sender.subjects("https://p.example/")
            # One is being written, twenty wait for it, and one more waits for room.
            assert 2 <= len(asked) <= 22
            assert asked == subjects[: len(asked)]
            assert scene.delivered(0) == 0
        await until(lambda: scene.delivered(0) == 40)
    assert scene.sender.subjects("https://p.example/") == subjects
    assert len(scene.events(DELIVERIES.name, SUBJECT_PARTITIONS)) == 40
