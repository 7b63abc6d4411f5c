"""A service under load that is killed again and again, six receivers that behave as partners do, and what an
independent model says of what came of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from rescind.client import ApiError, Client, Unreachable
from tests.e2e import log_file, receivers
from tests.e2e.choices import PURPOSES, Users
from tests.e2e.receivers import About, Receiver, Word
from tests.e2e.world import PATIENCE, World, query

#: Seconds between two requests of the platform.
TICK = 0.15
#: Whom the refusing partner cannot read, and whom it will not delete.
_UNREADABLE, _KEPT = "blog:", "site:"
#: What the ledger says of a notice that asks for nothing any more.
CLOSED = ("completed", "cancelled")


@dataclass(frozen=True, slots=True)
class Part:
    """A partner to register, with its receiver."""

    receiver: Receiver
    batch_size: int = 100
    lanes: int = 1


def cast(chance: random.Random) -> dict[str, Part]:
    refusing = receivers.refuses(
        lambda subject: subject.startswith(_UNREADABLE), lambda subject: subject.startswith(_KEPT)
    )
    return {
        "honest": Part(Receiver(receivers.honest), batch_size=5, lanes=3),
        "busy": Part(Receiver(receivers.busy(chance))),
        "closing": Part(Receiver(receivers.closes(chance)), batch_size=10),
        "later": Part(Receiver(receivers.acknowledges_later, answers_after=0.5)),
        "refusing": Part(Receiver(refusing), batch_size=8),
        "slow": Part(Receiver(receivers.slow), batch_size=20),
    }


@asynccontextmanager
async def opened(here: World, parts: Mapping[str, Part]) -> AsyncIterator[dict[str, Receiver]]:
    """Register receivers, which live as long as this."""
    async with AsyncExitStack() as stack:
        for name, part in parts.items():
            await part.receiver.open()
            stack.push_async_callback(part.receiver.close)
            wanted = {"id": name, "name": name, "url": part.receiver.url, "purposes": PURPOSES}
            made = await here.add(wanted | {"batch_size": part.batch_size, "lanes": part.lanes})
            part.receiver.know(here.url, made["api_key"])
        yield {name: part.receiver for name, part in parts.items()}


class Load:
    """A platform that emits as long as this is open, and says again, under the same ids, what was not accepted."""

    def __init__(self, here: World, users: Users) -> None:
        self.accepted: set[str] = set()
        self._here = here
        self._users = users
        self._stopping = self._abandoned = False

    async def __aenter__(self) -> Self:
        self._emitting = asyncio.create_task(asyncio.to_thread(self._emit))
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Where the service is gone for good, nobody waits until it has accepted the last word.
        self._stopping, self._abandoned = True, error is not None
        await self._emitting

    def _emit(self) -> None:
        with self._here.platform() as client:
            for post in self._users.posts():
                self._post(client, post)
                if self._stopping:
                    return
                # A steady load, and not as much as goes in.
                time.sleep(TICK)

    def _post(self, client: Client, post: list[dict[str, Any]]) -> None:
        while not self._abandoned:
            try:
                self.accepted |= set(client.post_toggles(post))
            except (Unreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status < 500:
                    raise
                time.sleep(0.1)
            else:
                return


async def kill(
    here: World, kills: int, chance: random.Random, every: tuple[float, float], among: Sequence[Receiver]
) -> None:
    """Kill the service so many times: `every` so many seconds, then in the middle of a request to one `among` the
    receivers, then while it starts, and so on. It runs in the end."""
    for number in range(1, kills + 1):
        if number % 3 == 0:
            await here.die_while_starting(chance.uniform(0.0, 4.0))
        else:
            # Not a wait for something: any moment is as good as any other for a power cut.
            await asyncio.sleep(chance.uniform(*every))
            if number % 3 == 2:
                await _strike(here, chance.choice(among), chance.choice(("read", "answered")))
            await here.service.kill()
        if number % 3 != 2 or number == kills:
            await here.start()


async def _strike(here: World, receiver: Receiver, moment: Literal["read", "answered"]) -> None:
    """Kill the service in the middle of the receiver's next request, or just after it."""
    struck = asyncio.Event()

    def strike() -> None:
        os.kill(here.service.pid, signal.SIGKILL)
        struck.set()

    receiver.at[moment] = strike
    try:
        # A partner of which nothing is asked for that long may be spared.
        with suppress(TimeoutError):
            await asyncio.wait_for(struck.wait(), 10.0)
    finally:
        receiver.at.clear()


_OPEN = f"""SELECT COUNT(*) FROM notices WHERE status NOT IN ('completed', 'refused', 'cancelled')
AND NOT (partner = 'refusing' AND subject LIKE '{_UNREADABLE}%')"""


async def settled(here: World, expected: int) -> bool:
    """Wait until all notices were issued and none is open but what a partner cannot read. Slow is not wrong: False once
    nothing has moved for a long time."""
    last, moved = (-1, -1), time.monotonic()
    while time.monotonic() - moved < PATIENCE:
        state = await asyncio.to_thread(_state, here.data_dir / "ledger.sqlite")
        if state == (expected, 0):
            return True
        if state != last:
            last, moved = state, time.monotonic()
        await asyncio.sleep(0.5)
    return False


def _state(ledger: Path) -> tuple[int, int]:
    return query(ledger, "SELECT COUNT(*) FROM notices")[0][0], query(ledger, _OPEN)[0][0]


@dataclass
class Outcome:
    """What came of a campaign; `faults` are what must not be, in words, by kind."""

    kills: int
    toggles: int
    notices: int
    requests: Counter[str] = field(default_factory=Counter)
    #: Of requests, by partner: those with something that was answered 2xx before, and those that such ones repeat.
    repeats: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def fault(self, kind: str, words: str) -> None:
        self.faults[kind].append(words)

    def __str__(self) -> str:
        """The figures, and of each kind of fault the two that are told shortest."""
        counts = {kind: len(found) for kind, found in self.faults.items()}
        shortest = [f"{kind}: {words}" for kind, all_ in self.faults.items() for words in sorted(all_, key=len)[:2]]
        figures = (
            f"{self.kills} kills, {self.toggles} toggles, {self.notices} notices, of which {self.cancelled} cancelled;"
            f" {self.requests.total()} requests; {self.repeats.total()} of them repeat {self.forgotten.total()} that"
            f" were answered ({self.forgotten.total() / self.kills:.2f} a kill): {dict(self.forgotten)}; {counts}"
        )
        return "\n".join([figures, *shortest])


def outcome(data_dir: Path, users: Users, load: Load, kills: int, parts: Mapping[str, Part]) -> Outcome:
    """Compare the files of a service that has ended with the model and the receivers.

    A kill finds one request of a lane under way at most, of which the service cannot know whether it was taken; all
    that was answered before is on the log. So of each lane a kill may make one answered request come once more. The
    time between an answer and its commit is short, and though some kills aim at it in one lane, seldom are many lanes
    in it: two a kill, of all lanes together, are plenty.
    """
    log, ledger = data_dir / "log.sqlite", data_dir / "ledger.sqlite"
    toggles = log_file.toggles(log)
    held = query(ledger, "SELECT partner, subject, purpose, toggle_id, id, status FROM notices")
    found = Outcome(kills, len(toggles), len(held), cancelled=sum(row[5] == "cancelled" for row in held))

    for lost in load.accepted.symmetric_difference(toggles):
        found.fault("lost or unknown toggle", lost)
    kept = {row[0] for row in query(ledger, "SELECT id FROM toggles")}
    for lost in kept.symmetric_difference(toggles):
        found.fault("toggle that the ledger does not have", lost)
    choices = {row[:2]: row[2] == "opt_out" for row in query(ledger, "SELECT subject, purpose, choice FROM consents")}
    wanted = {about: chosen.out for about, chosen in users.of(toggles).items()}
    for about in wanted.keys() | choices.keys():
        if wanted.get(about) is not choices.get(about):
            found.fault("wrong consent", f"{about}")

    _issued(found, log, users.words(toggles), parts)
    statuses = {(row[0], *row[3:5]): row[5] for row in held}
    for name, part in parts.items():
        _partner(found, name, part.receiver, users, wanted, statuses)
        if found.forgotten[name] > kills * part.lanes:
            found.fault("more repeats than kills can cause", f"{name}: {found.forgotten[name]}")
    if found.forgotten.total() > 2 * kills:
        found.fault("more repeats than kills are likely to cause", f"{found.forgotten.total()}")
    return found


def _issued(found: Outcome, log: Path, words: set[tuple[str, str]], parts: Mapping[str, Part]) -> None:
    issued = log_file.issued(log)
    for asked in issued.keys() ^ {(name, *word) for name in parts for word in words}:
        found.fault("notice that is missing, or one too many", f"{asked}")
    for asked, places in issued.items():
        if len(places) != 1:
            found.fault("notice under two ids", f"{asked}: {dict(places)}")
        for stands in places.values():
            if len(stands) != 1:
                found.fault("notice at several places", f"{asked}: {stands}")


def _partner(
    found: Outcome,
    name: str,
    receiver: Receiver,
    users: Users,
    wanted: Mapping[About, bool],
    statuses: Mapping[tuple[str, str, str], str],
) -> None:
    mine = receiver.received
    found.requests[name] = len(mine.requests)
    found.repeats[name] = mine.repeats
    found.forgotten[name] = mine.forgotten

    for kind, words in (("taken", mine.taken), ("sent", mine.seen)):
        for late in users.turned_around(words.values()):
            story = "; ".join(mine.story(late.about))
            found.fault(f"older notice first {kind} after a newer one", f"{name}: {late.toggle}: {story}")
    for word in users.misranked(mine.seen.values()):
        found.fault("rank that says otherwise than the versions", f"{name}: {word}")
    for (partner, toggle, identity), status in statuses.items():
        if partner == name and status == "completed" and identity not in mine.taken:
            found.fault("completed and never taken", f"{name}: {toggle}")
        # An answer that a kill has lost was never known. What came once more shows that, and `outcome` bounds how much
        # does; of it, the user may take back what the partner did not take again.
        answered = mine.answered.get(identity)
        if partner == name and status == "cancelled" and answered is not None and not answered.forgotten:
            story = "; ".join(mine.story(users.chosen[toggle].about))
            found.fault("cancelled though it was answered 2xx", f"{name}: {toggle}: {story}")

    last: dict[About, tuple[int, str]] = {}
    for (partner, toggle, _), status in statuses.items():
        chosen = users.chosen[toggle]
        if partner != name:
            continue
        last[chosen.about] = max(last.get(chosen.about, (0, "")), (chosen.version, status))
        expected = name == "refusing" and chosen.about[0].startswith((_UNREADABLE, _KEPT))
        if status not in CLOSED and not expected:
            found.fault("open in the end", f"{name}: {toggle} is {status}")
    for about, out in wanted.items():
        if obeys(mine.held.get(about)) is not out and last.get(about, (0, CLOSED[0]))[1] in CLOSED:
            story = "; ".join(mine.story(about))
            found.fault("receiver that holds the opposite, with nothing open", f"{name}: {about}: {story}")


def obeys(word: Word | None) -> bool:
    """After this last word, does a receiver leave the subject alone? Without any, it does not."""
    return word is not None and word.action != "resume"
