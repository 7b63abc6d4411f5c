"""The log as a whole: the one place that knows which engine runs.

Everybody else sees an `Appender` and Faust apps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import faust

from streams.embedded.assignor import Assignor
from streams.embedded.holding import HeldBack
from streams.embedded.maintenance import Upkeep
from streams.embedded.opening import path_of
from streams.embedded.states import StateFile
from streams.embedded.store import LogStore
from streams.embedded.tables import Retake, SourcedTable, Tables
from streams.records import Position, Record, TopicPartition
from streams.topics import ALL, TopicSpec, kept_for
from streams.workarounds import QuietMonitor

#: Records of one poll, of all partitions together (of one: `MAX_PARTITION_RECORDS` of the transport). One
#: poll must bring far less than a stream's buffer holds: a full buffer stops Faust's fetcher for every
#: partition, and one blocked lane would stop all the others.
MAX_POLL_RECORDS = 800
STREAM_BUFFER = 4096
#: What a lane of notices buffers, since a message there is a whole pack: a partner that is down must not
#: fill the memory. Faust stops reading at four fifths of it, and then takes at most one more poll.
LANE_BUFFER = 1024


class Log:
    """The embedded log of one process. Open it once, close it last."""

    def __init__(self, url: str) -> None:
        path = path_of(url)
        # Faust parses URLs by other rules than ours; what it is given has only one reading.
        self._url = f"sqlite://{quote(str(path))}"
        self._store = LogStore.shared(path)
        self._store.create_topics(ALL)
        self._upkeep: Upkeep | None = None
        self._data_dirs: dict[Any, Path] = {}
        self._files: list[StateFile] = []

    async def append(self, records: Sequence[Record]) -> list[Position]:
        """See `streams.records.Appender`."""
        return await self._store.append(records)

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """See `streams.records.Appender`."""
        return await self._store.end_offsets(topic)

    def own(self, group: str) -> None:
        """Be the one process that consumes as `group`, until this log closes. Raises `LogInUse`."""
        self._store.own_group(group)

    def new_app(self, group: str, data_dir: Path) -> Any:
        """A Faust app that consumes as `group`. At least once: what is not committed comes again.

        Raises `LogInUse` if another process does so already.
        """
        self.own(group)
        own_dir = data_dir / "faust"
        own_dir.mkdir(parents=True, exist_ok=True)
        app = faust.App(
            group,
            broker=self._url,
            datadir=str(own_dir),
            store="memory://",
            key_serializer="raw",
            value_serializer="raw",
            web_enabled=False,
            autodiscover=False,
            topic_disable_leader=True,
            topic_partitions=1,
            # The default waits for a blocked lane at shutdown; what is unfinished comes again anyway.
            stream_wait_empty=False,
            stream_buffer_maxsize=STREAM_BUFFER,
            stream_recovery_delay=0.0,
            broker_max_poll_records=MAX_POLL_RECORDS,
            broker_commit_interval=0.5,
            PartitionAssignor=Assignor,
            TableManager=Tables,
            Monitor=QuietMonitor,
        )
        self._data_dirs[app] = data_dir
        return app

    def new_table(self, app: Any, name: str, *, source: TopicSpec, retake: Retake) -> Any:
        """A table of an app of this log, whose states lie on disk (`<name>.sqlite` in the data directory).

        It is a Faust table of bytes, with `await table.load(keys)` beside it: the values of many keys, off
        the event loop. Its agent reads `source` and changes the table only after everything that a change
        proves is durable; `retake` brings messages of the source that were handled before, for their effect
        on the table alone. Raises `StorageUnusable`.
        """
        file = StateFile(self._data_dirs[app] / f"{name}.sqlite")
        self._files.append(file)
        table = SourcedTable(
            app, name=name, source=source.name, file=file, log=self._store, retake=retake,
            partitions=source.partitions, beacon=app.tables.beacon,
        )  # fmt: skip
        return app.tables.add(table)

    def start_offset(self, tp: TopicPartition) -> int:
        """The partition's log start: records below were retired, and their absence is no loss."""
        return self._store.start(tp)

    def begin_upkeep(self, retention: float | None = None) -> None:
        """Compact and retire beside the work until the log closes: for the one service that owns its groups.

        `retention` is how many seconds records are kept where they expire; None means for ever.
        """
        specs = kept_for(ALL, retention)
        self._upkeep = Upkeep(self._store, {spec.name: spec for spec in specs})
        self._upkeep.start()

    def held_back(self) -> tuple[HeldBack, ...]:
        """What is kept beyond its retention, because a group has not committed past it yet."""
        return () if self._upkeep is None else self._upkeep.held

    def held_records(self) -> dict[str, int]:
        """By topic, how many records are kept beyond their retention for somebody who has not read them yet."""
        held: dict[str, int] = {}
        for item in self.held_back():
            held[item.topic] = held.get(item.topic, 0) + item.records
        return held

    def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.stop()
        for file in self._files:
            file.close()
        self._store.release()


def events_topic(app: Any, *names: str, partitions: int | None = None, buffer: int | None = None) -> Any:
    """Faust's handle of one or more of our topics: raw bytes, decoded by `streams.cloudevents`."""
    return app.topic(
        *names,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
        maxsize=buffer,
        allow_empty=True,
    )
