"""The log as a whole: the one place that knows which engine runs.

Everybody else sees a `Log`, an `Appender` and Faust apps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import faust

from streams.errors import InvalidInput
from streams.provisioning import Choices, TopicReport
from streams.records import Commit, Message, Position, Record, TopicPartition
from streams.settings import Settings
from streams.states import StateFile
from streams.tables import Retake, Source, SourcedTable, Tables
from streams.topics import ALL, TopicSpec, kept_for
from streams.workarounds import PartitionByPartition, QuietMonitor, RawSchema, TidyAgent

STREAM_BUFFER = 4096
#: What a lane of notices buffers, since a message there is a whole pack: a partner that is down must not
#: fill the memory. Faust stops reading at four fifths of it, and then takes at most one more poll.
LANE_BUFFER = 1024
#: Records that are read at once where nobody waits for the first of them.
READ = 2_000


class Log(ABC):
    """The log of one process. Open it once, with `opened`."""

    def __init__(self) -> None:
        self._data_dirs: dict[Any, Path] = {}
        self._files: list[StateFile] = []

    # -- what every engine says for itself

    @abstractmethod
    async def start(self) -> None:
        """Be ready to append. Raises `LogUnavailable`, and `TopicsMissing` where topics must be made first."""

    @abstractmethod
    async def append(self, records: Sequence[Record]) -> list[Position]:
        """See `streams.records.Appender`."""

    @abstractmethod
    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """See `streams.records.Appender`."""

    @abstractmethod
    async def partitions(self, topic: str) -> int:
        """See `streams.records.Appender`."""

    async def check_writable(self) -> None:
        """Raises `LogUnavailable` where it is known that records would not be taken, as on a full disk. An engine that
        cannot tell without appending says nothing."""
        return

    def hold(self, app: Any, *topics: str) -> None:  # noqa: B027 - most engines need not know
        """The app goes through these topics by steps that are one (`once`). Say so before it starts: where partitions
        move between processes, the former holder of one must be shut out before the next holder reads it."""

    @abstractmethod
    async def step(
        self,
        app: Any,
        records: Sequence[Record],
        commits: Mapping[TopicPartition, Commit],
        *,
        once: bool = True,
        generation: int | None = None,
    ) -> list[Position]:
        """Append what an app's step has caused, and commit what the step has handled, as one: whatever stops us,
        either all of it is durable or nothing, and who was shut out appends and commits nothing. `commits` are of
        partitions that the app is assigned, and never go back. `generation` is that of the messages that were handled.

        Without `once` an engine may append first and then commit, so that a crash in between repeats the records, and
        who has lost the partition may append them, but never commit; a commit with a note, or of several partitions,
        is always made that way. With `once` the partition is one of a topic that is held (`hold`).

        Raises what `append` raises; then repeat it with the same ids: it stands once, also if nobody knows what became
        of the first attempt. Who has lost the partition gets `LogUnavailable` for as long as it does not know that,
        and must not go on. Raises `Overtaken` if the partition was assigned anew since that generation."""

    def before_commit(self, app: Any, work: Callable[[Mapping[TopicPartition, int]], Awaitable[None]]) -> None:
        """Do something each time before the app itself commits that it has handled all below some offsets."""
        app.tables.before.append(work)

    def handled(self, app: Any) -> Mapping[TopicPartition, int]:
        """Below which offsets an app has handled all that it was assigned, where it knows. That may lie behind what it
        was given last: on Kafka the end of a transaction takes an offset, and is no record."""
        return {}

    def since(self, app: Any, message: Any) -> int:
        """From which offset on a message that an app was given is the first that can be read."""
        return int(message.offset)

    @abstractmethod
    async def commits(self, group: str, topic: str) -> dict[TopicPartition, Commit]:
        """What a group has committed of a topic, with its notes; nothing for a partition of which it has not. Raises
        `LogUnavailable`."""

    @abstractmethod
    def read(self, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Message]]:
        """What is there from offset `start` to below `end`, in order, some at a time. Raises `LogUnavailable`."""

    @abstractmethod
    def own(self, group: str) -> None:
        """Where a group can have one consumer only, be the process that is it, until this log closes. Raises
        `LogInUse`."""

    @abstractmethod
    def follow(
        self, topic: str, start: Mapping[TopicPartition, int] | None = None, most: int = READ
    ) -> AsyncIterator[tuple[Sequence[Message], dict[TopicPartition, int]]]:
        """Everything in a topic, from its beginning or from these offsets on, for ever, for nobody's group: some
        messages at a time, at most so many, and from which offset on the next will be."""

    @abstractmethod
    async def backlog(self, group: str, topic: str) -> dict[TopicPartition, int]:
        """How many records of each partition a group has not committed yet."""

    @abstractmethod
    def start_offset(self, tp: TopicPartition) -> int:
        """The partition's log start: records below were retired, and their absence is no loss. Blocks."""

    @abstractmethod
    def begin_upkeep(self, retention: float | None = None) -> None:
        """Where nobody else does so, compact and retire beside the work until the log closes: for the one
        service that owns its groups. `retention` is how many seconds records are kept where they expire; None
        means for ever."""

    @abstractmethod
    def held_records(self) -> dict[str, int]:
        """By topic, how many records are kept beyond their retention for somebody who has not read them yet."""

    @abstractmethod
    def _app_settings(self) -> dict[str, Any]:
        """What `faust.App` must be told of the engine."""

    def _prepare(self, app: Any) -> None:
        """What a new app needs besides its settings."""
        return

    @abstractmethod
    def _source(self, app: Any) -> Source:
        """Where the tables of an app find what was said before."""

    async def stop(self) -> None:
        """The last thing to be called."""
        for file in self._files:
            file.close()

    # -- what is the same on every engine

    def new_app(self, group: str, data_dir: Path) -> Any:
        """A Faust app that consumes as `group`. At least once: what is not committed comes again.

        Raises `LogInUse`; see `own`.
        """
        self.own(group)
        own_dir = data_dir / "faust"
        own_dir.mkdir(parents=True, exist_ok=True)
        app = faust.App(
            group,
            datadir=str(own_dir),
            store="memory://",
            key_serializer="raw",
            value_serializer="raw",
            web_enabled=False,
            autodiscover=False,
            topic_disable_leader=True,
            topic_partitions=1,
            # The default waits for a blocked lane at every rebalance and at shutdown; what is unfinished comes
            # again anyway.
            stream_wait_empty=False,
            stream_buffer_maxsize=STREAM_BUFFER,
            stream_recovery_delay=0.0,
            TableManager=Tables,
            Agent=TidyAgent,
            Monitor=QuietMonitor,
            ConsumerScheduler=PartitionByPartition,
            **self._app_settings(),
        )
        self._prepare(app)
        self._data_dirs[app] = data_dir
        return app

    def new_table(self, app: Any, name: str, *, topic: TopicSpec, retake: Retake) -> Any:
        """A table of an app of this log, whose states lie on disk (`<name>.sqlite` in the data directory), and
        follow from `topic`; see `streams.tables`.

        Its agent changes the table only after everything that a change proves is durable; `retake` brings
        messages of the topic that were handled before, for their effect on the table alone. Raises
        `StorageUnusable`.
        """
        file = StateFile(self._data_dirs[app] / f"{name}.sqlite")
        self._files.append(file)
        self._check_states(file, topic.name)
        table = SourcedTable(
            app, name=name, topic=topic.name, file=file, source=self._source(app), retake=retake,
            partitions=topic.partitions, beacon=app.tables.beacon,
        )  # fmt: skip
        return app.tables.add(table)

    def _check_states(self, file: StateFile, topic: str) -> None:
        """Raise `StorageUnusable` at once for a file that would be refused later, where that can be told."""
        return


def new_log(settings: Settings) -> Log:
    """The log that the settings name, not started. Raises `InvalidInput`, `StorageUnusable`."""
    if _engine(settings) == "kafka":
        from streams.kafka.log import KafkaLog  # noqa: PLC0415 - only one engine is ever loaded

        return KafkaLog(settings.log_url, settings.kafka)
    from streams.embedded.log import EmbeddedLog  # noqa: PLC0415

    return EmbeddedLog(settings.log_url)


def provision(settings: Settings, choices: Choices, *, change: bool) -> list[TopicReport] | None:
    """Make the topics of the log as they should be; without `change` only say what that would do. None if the log
    makes them by itself. Blocks. Raises `InvalidInput`, `LogUnavailable`, and `StorageUnusable` for settings."""
    if _engine(settings) == "sqlite":
        return None
    from streams.kafka import connecting, provisioning  # noqa: PLC0415

    cluster = connecting.Cluster(settings.log_url, settings.kafka)
    return provisioning.provision(cluster, kept_for(ALL, settings.retention), choices, change=change)


def _engine(settings: Settings) -> str:
    scheme = urlsplit(settings.log_url).scheme
    if scheme not in ("sqlite", "kafka"):
        raise InvalidInput(f"RESCIND_LOG must be sqlite:///path or kafka://host:port, not {settings.log_url!r}")
    return scheme


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Log]:
    """The log that the settings name, for as long as the context lasts. Raises what `start` does, too."""
    log = new_log(settings)
    try:
        await log.start()
        yield log
    finally:
        await log.stop()


def events_topic(app: Any, *names: str, partitions: int | None = None, buffer: int | None = None) -> Any:
    """Faust's handle of one or more of our topics: raw bytes, decoded by `streams.cloudevents`."""
    return app.topic(*names, schema=RawSchema(), partitions=partitions, maxsize=buffer)
