"""The consent agent alone, as the service runs it, in this process or in one that is killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from agents import consent
from agents.consent import add_consent
from streams.clock import utc_now
from streams.cloudevents import Envelope, decode
from streams.embedded.consumer import Consumer
from streams.embedded.log import EmbeddedLog
from streams.embedded.schema import SHIFT
from streams.events import ConsentChanged, ConsentToggled, DeletionRequested
from streams.kinds import Choice
from streams.log import Log
from streams.records import record
from streams.states import StateFile
from streams.topics import DECISIONS, TOGGLES
from tests.conformance.harness import started
from tests.recovery.model import NOON, Flip

PATIENCE = 60.0
GROUP = "rescind"


def open_log(directory: Path) -> EmbeddedLog:
    return EmbeddedLog(f"sqlite://{directory / 'log.sqlite'}")


def consent_app(log: Log, directory: Path) -> Any:
    app = log.new_app(GROUP, directory)
    # Often, so that there are many moments to be killed at.
    app.conf.broker_commit_interval = 0.02
    add_consent(app, log, utc_now)
    return app


async def fill(log: Log, flips: Sequence[Flip]) -> None:
    for start in range(0, len(flips), 1000):
        await log.append([record(TOGGLES.name, _toggle(flip)) for flip in flips[start : start + 1000]])


def _toggle(flip: Flip) -> Envelope:
    data = ConsentToggled(
        subject=flip.subject,
        purpose=flip.purpose,
        choice=Choice.OPT_OUT if flip.out else Choice.OPT_IN,
        occurred_at=NOON.replace(hour=12 + flip.minute // 60 % 12, day=1 + flip.minute // 720, minute=flip.minute % 60),
        version=flip.version,
        retroactive=flip.erase,
    )
    return Envelope(flip.id, NOON, data)


@asynccontextmanager
async def deciding(log: EmbeddedLog, directory: Path, number: int) -> AsyncIterator[Any]:
    """The app, from its start to the moment when it has committed so many toggles, or has crashed."""
    app = consent_app(log, directory)
    async with started(app):
        stopped = asyncio.ensure_future(app.wait_until_stopped())
        async with asyncio.timeout(PATIENCE):
            while not stopped.done() and not (_ready(app) and committed(directory) >= number):
                await asyncio.sleep(0.01)
        stopped.cancel()
        yield app


def _ready(app: Any) -> bool:
    return app.tables.recovery.completed.is_set() and not app.tables.behind


async def decide_all(directory: Path, number: int | None = None) -> Any:
    """A whole life of the agent, until it has decided all toggles that there are (or ever were: `number`), with
    a clean stop. The stopped app."""
    log = open_log(directory)
    wanted = ends(directory, TOGGLES.name) if number is None else number
    try:
        async with deciding(log, directory, wanted) as app:
            pass
    finally:
        log.close()
    return app


def victim(directory: str, seed: int, most: int) -> None:
    """The same in a process of its own, which kills itself at one of its first `most` steps: before or after
    decisions are appended, before, within or after the table's transaction, before or after a commit."""
    chance = random.Random(seed)
    left = chance.randrange(1, most)
    consent.BATCH = 20  # many small steps instead of a few large ones

    def step(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: type, name: str, *, coroutine: bool = True) -> None:
        inner = getattr(owner, name)

        async def outer(self: Any, *args: Any, **named: Any) -> Any:
            # Long enough for somebody else to commit in between.
            await asyncio.sleep(chance.uniform(0.0, 0.02))
            step()
            result = await inner(self, *args, **named)
            step()
            return result

        def plain(self: Any, *args: Any) -> Any:
            step()
            result = inner(self, *args)
            step()
            return result

        setattr(owner, name, outer if coroutine else plain)

    around(EmbeddedLog, "step")
    around(Consumer, "_commit")
    around(StateFile, "_write", coroutine=False)
    connect = StateFile._connect

    def traced(self: StateFile, settings: str) -> sqlite3.Connection:
        connection = connect(self, settings)
        # Within a transaction: after each of its statements began.
        connection.set_trace_callback(step)
        return connection

    StateFile._connect = traced  # type: ignore[method-assign]
    asyncio.run(decide_all(Path(directory)))


# -- what is on disk, read past all of our own code


def query(path: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, parameters).fetchall()


def states(directory: Path) -> dict[str, str]:
    return dict(query(directory / "consent.sqlite", "SELECT key, value FROM states"))


def reaches(directory: Path) -> int:
    return int(query(directory / "consent.sqlite", "SELECT COALESCE(SUM(next), 0) FROM reaches")[0][0])


def ends(directory: Path, topic: str) -> int:
    sql = "SELECT COUNT(*) FROM records JOIN topics ON topics.id = tp >> ? WHERE name = ?"
    return int(query(directory / "log.sqlite", sql, SHIFT, topic)[0][0])


def committed(directory: Path) -> int:
    sql = "SELECT COALESCE(SUM(offset), 0) FROM commits JOIN topics ON topics.id = tp >> ? WHERE name = ?"
    return int(query(directory / "log.sqlite", sql, SHIFT, TOGGLES.name)[0][0])


def decided(directory: Path) -> dict[str, list[tuple[str, str]]]:
    """What the log's decisions say, see `in_order`."""
    sql = "SELECT value FROM records JOIN topics ON topics.id = tp >> ? WHERE name = ? ORDER BY tp, offset"
    return in_order(value for (value,) in query(directory / "log.sqlite", sql, SHIFT, DECISIONS.name))


def in_order(decisions: Iterable[bytes]) -> dict[str, list[tuple[str, str]]]:
    """For each subject what was decided, in order; a decision that was told again only once.

    Asserts that who tells again says the same, and that nothing goes under two ids.
    """
    told: dict[str, Envelope] = {}
    ids: dict[tuple[str, str], str] = {}
    found: dict[str, list[tuple[str, str]]] = {}
    for value in decisions:
        envelope = decode(value)
        if envelope.id in told:
            assert told[envelope.id] == envelope
            continue
        told[envelope.id] = envelope
        assert isinstance(envelope.data, ConsentChanged | DeletionRequested)
        what = (envelope.data.toggle_id, type(envelope.data).__name__)
        assert ids.setdefault(what, envelope.id) == envelope.id
        found.setdefault(envelope.data.subject, []).append(what)
    return found
