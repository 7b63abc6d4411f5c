"""Faust's own consumer for Kafka, with what it gets wrong put right.

**Timing.** A worker that is killed says nothing; the brokers notice after `SESSION_TIMEOUT`, the shortest that
they allow by default (`group.min.session.timeout.ms`), and its partitions go to others with the next join, which
takes well under a second. Heartbeats have a thread of their own, so a busy worker is not taken for dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from streams.errors import LogUnavailable
from streams.kafka.steps import Steps
from streams.kafka.stopping import stop_consumer
from streams.records import Commit, TopicPartition

R = TypeVar("R")

#: Seconds.
SESSION_TIMEOUT, HEARTBEAT_INTERVAL, REBALANCE_TIMEOUT = 6.0, 1.5, 10.0
#: Records of one poll, which may all be of one partition. It must be far less than what a lane buffers: a full
#: buffer stops Faust's fetcher for every partition, and one blocked lane would stop all the others.
MAX_POLL_RECORDS = 200
#: How long a broker keeps a fetch when there is nothing to read. What is taken up again waits that long.
_FETCH_WAIT_MS = 200
#: Messages after which others get the event loop.
_YIELD_EVERY = 100
#: Seconds that an attempt to commit may take, and until the next one.
_COMMITTING, _COMMIT_RETRY = 2.0, 0.5
#: Seconds until a group that did not take us is tried again.
_JOIN_RETRY = 1.0
#: Seconds to wait for a partition's log start.
_ASKING = 2.0
#: Seconds until a broker that could not be reached is tried again.
_CONNECT_RETRY = 1.0
#: Seconds that the consumer's thread may take to answer: two attempts to commit, one after the other.
_ANSWERING = 5.0
#: What is committed of a partition of which nothing is.
_NOTHING = Commit(-1)


class Run(NamedTuple):
    """What a poll found of a partition: all that can be read from offset `start` to below `end`."""

    start: int | None
    records: Sequence[Any]
    end: int


class _Thread(driver.AIOKafkaConsumerThread):
    """Where aiokafka runs. Commits take turns here, so that none goes behind another, and one that was made by a step
    is not made again without its note."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: What is committed, or may be.
        self.known: dict[TP, Commit] = {}
        self._turn = asyncio.Lock()

    async def on_start(self) -> None:
        await reached(self, super().on_start, lambda: self._consumer)

    async def on_thread_stop(self) -> None:
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            # Faust's own never says that it has ended if this raises what it may.
            await stop_consumer(self._consumer)

    def close(self) -> None:
        """A rebalance found the app stopping; `on_thread_stop` will come. Faust's own calls the consumer closed, so
        that nobody closes it any more, and closes its parts on another event loop, where that fails: the member never
        left its group, whose others waited until its session was over, and never hung up. Cause:
        `AIOKafkaConsumerThread.close`,
        https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/drivers/aiokafka.py
        """

    async def seek_all(self, wanted: Mapping[TP, int]) -> None:
        """Where to read from next; what is not ours any more is left alone, as a rebalance seeks anew.

        Faust's `seek` does so from the caller's thread, under the fetcher's hands: a poll that is giving out records
        of that partition then misses them, and ends in a KeyError that stops the worker. Cause:
        `AIOKafkaConsumerThread.seek`,
        https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/drivers/aiokafka.py
        """
        await self.call_thread(self._seek_all, wanted)

    async def _seek_all(self, wanted: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp in wanted.keys() & {TP(*each) for each in consumer.assignment()}:
            consumer.seek(KafkaTP(*tp), wanted[tp])

    async def hear_of_trouble(self) -> KafkaError | None:
        """What keeps us from being a member of our group, or from hearing from it. aiokafka tries again when it was
        asked for that, and not before. Raises `KafkaError` if it has given up."""
        return await self.call_thread(self._take_trouble)

    async def _take_trouble(self) -> KafkaError | None:
        coordinator = self._ensure_consumer()._coordinator
        try:
            coordinator.check_errors()
        except KafkaError as error:
            if coordinator._coordination_task.done():
                raise
            return error
        return None

    async def is_member(self, generation: int) -> bool:
        """Whether the brokers count us as a member of our group, in this generation; also while they gather a new one.
        Raises `KafkaError`."""
        return await self._ask(self._is_member(generation))

    async def _is_member(self, generation: int) -> bool:
        coordinator = self._ensure_consumer()._coordinator
        if coordinator.generation != generation:
            return False
        answer = await coordinator._send_req(HeartbeatRequest(coordinator.group_id, generation, coordinator.member_id))
        error = for_code(answer.error_code)
        if error in (NoError, RebalanceInProgressError):
            return True
        if error in (IllegalGenerationError, UnknownMemberIdError):
            return False
        raise error(coordinator.group_id)

    async def commit_step(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """Return when they are durable. Raises `KafkaError`, and `LogUnavailable` if one is not of our partitions."""
        await self._ask(self._commit_step(commits))

    async def _commit_step(self, commits: Mapping[TopicPartition, Commit]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp in commits:
            if KafkaTP(*tp) not in assigned:
                raise LogUnavailable(f"{tp.topic}[{tp.partition}] is somebody else's by now")
        async with self._turn:
            wanted = {tp: commit for tp, commit in commits.items() if commit.offset >= self._known_of(tp).offset}
            if not wanted:
                return
            # Also if nobody answers: then it may be done, and nothing may go behind it.
            self.known.update({TP(*tp): commit for tp, commit in wanted.items()})
            async with asyncio.timeout(_COMMITTING):
                await consumer.commit({KafkaTP(*tp): OffsetAndMetadata(*commit) for tp, commit in wanted.items()})

    async def _ask(self, question: Coroutine[Any, Any, R]) -> R:
        """Past Faust's queue for this thread, where a poll may be waited for. A thread that ends answers nobody."""
        try:
            asked = asyncio.run_coroutine_threadsafe(question, self.thread_loop)
        except RuntimeError:
            question.close()
            raise LogUnavailable("the consumer has ended") from None
        try:
            async with asyncio.timeout(_ANSWERING):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            raise KafkaTimeoutError("no answer") from None

    def _known_of(self, tp: tuple[str, int]) -> Commit:
        return self.known.get(TP(*tp), _NOTHING)

    def _stopped_set(self) -> None:
        # A crash ends the thread, and its loop with it.
        if not self.thread_loop.is_closed():
            super()._stopped_set()

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        conf = self.app.conf
        credentials = driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context)
        return AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._strategy()],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            # What a producer took back by a transaction was never said.
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            **credentials,
        )

    def _strategy(self) -> Any:
        if self.app.tables.changelog_topics:
            return self.app.assignor  # it keeps a table's partitions and its changelog's together
        # Sticky: a partition that stays needs nothing read again. aiokafka keeps what a member had in the
        # class, https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/coordinator/assignors/sticky
        return type("StickyAssignor", (StickyPartitionAssignor,), {})

    async def _fetch_records(self, consumer: AIOKafkaConsumer, *args: Any, **kwargs: Any) -> dict[TP, Run]:
        starts = _positions(consumer)
        found = await super()._fetch_records(consumer, *args, **kwargs)
        ends = _positions(consumer)
        return {
            TP(*tp): Run(starts.get(tp), found.get(tp, ()), end)
            for tp, end in ends.items()
            if tp in found or end != starts.get(tp)
        }

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Faust has dropped the acknowledgements already, and never asks again: so try until it works, or
        until the partitions are somebody else's. Before a rebalance or a stop, once. Faust's own crashes the app, so
        that a broker which restarts would take all workers along; and where there is no broker it never ends. Cause:
        `AIOKafkaConsumerThread._commit`,
        https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/drivers/aiokafka.py
        """
        consumer = self._ensure_consumer()
        generation = self.app.consumer_generation_id
        while generation == self.app.consumer_generation_id:
            assigned = consumer.assignment()
            if not any(KafkaTP(*tp) in assigned for tp in offsets):
                return False
            try:
                async with self._turn, asyncio.timeout(_COMMITTING):
                    await self._commit_forward({tp: at for tp, at in offsets.items() if KafkaTP(*tp) in assigned})
            except (CommitFailedError, IllegalStateError) as error:
                self.log.warning("offsets are not committed, and come again: %s", error)
                return False
            except (KafkaError, TimeoutError) as error:
                self.log.warning("offsets are not committed yet: %s", error or "no answer")
                if self.should_stop or self.consumer.should_stop or self.app.rebalancing:
                    return False
                await asyncio.sleep(_COMMIT_RETRY)
            else:
                return True
        return False

    async def _commit_forward(self, offsets: Mapping[TP, int]) -> None:
        wanted = {tp: Commit(at) for tp, at in offsets.items() if at > self._known_of(tp).offset}
        if wanted:
            commits = {KafkaTP(*tp): OffsetAndMetadata(*commit) for tp, commit in wanted.items()}
            await self._ensure_consumer().commit(commits)
            self.known.update(wanted)


class Consumer(driver.Consumer):
    """Reads as a member of a consumer group.

    **Which records count.** Around a rebalance Faust may hand on a record twice, or never: a fetch that began
    before it ends after it, the position moves on although flow was suspended, and all buffers are emptied at the
    end of it, with what was read already. So here we count for ourselves, from the commits on. A run of a partition
    that begins where we stand is taken, with the offsets in it that bring nothing: compacted away, taken back, or
    the marks of transactions. One that begins later makes us fetch again from where we stand. Cause:
    `Consumer.getmany`, `Consumer._drain_messages` and `Recovery._resume_streams`,
    https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/consumer.py

    **What is committed.** Everything below the first message that is not acknowledged; if there is none,
    everything that was read. So a partition whose end is such a mark has no lag. Faust would list every offset
    that brings nothing. Cause: `Consumer._new_offset`, same place.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The offset whose turn it is; changelogs are not among them, their tables seek for themselves.
        self._next: dict[TP, int] = {}
        #: Offsets below `_next` whose messages are not acknowledged, in order.
        self._open: dict[TP, dict[int, None]] = {}
        #: Of those that stand behind offsets which bring nothing: from where on these do.
        self._since: dict[TP, dict[int, int]] = {}
        #: Right behind what was given out last.
        self._behind: dict[TP, int] = {}
        self._steps: Steps = self.transport.steps
        #: Partitions of which something was read and not taken, since streams were not running: aiokafka has moved
        #: on, and where nothing follows, nothing would tell.
        self._dropped: set[TP] = set()
        self._sought = False
        self._streaming = False
        #: Of the last assignment.
        self._generation = -1

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._steps.stop()

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @Service.task
    async def _stay_in_the_group(self) -> None:
        """Faust never asks aiokafka for its errors, and aiokafka waits to be asked before it tries again: whatever it
        was that kept a worker from its group once, say a member that went by other rules and is gone by now, it would
        stand idle for ever. Cause: `GroupCoordinator._push_error_to_user`,
        https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/consumer/group_coordinator.py
        """
        while not self.should_stop:
            await self.sleep(_JOIN_RETRY)
            error = await self._thread.hear_of_trouble()
            if error is not None:
                self.log.warning("this worker is not in its group, and tries again: %s", error)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # What is done need not be done again by whoever gets these partitions.
        await self.commit()
        self._stand_still()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._stand_still()
        if generation_id != self._generation + 1 and self.app._assignment:
            await self._begin_anew()
        self._generation = generation_id
        # Before anybody asks what is committed.
        self._steps.assigned([TopicPartition(*tp) for tp in assigned], generation_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _begin_anew(self) -> None:
        """There was an assignment in between of which we have not heard: others may have had what is ours again now.
        Who reads it must not go by what it knew. Faust keeps the actors of partitions that are there before and after.
        Cause: `App._update_assignment`, https://github.com/faust-streaming/faust/blob/v0.15.3/faust/app/base.py"""
        await self.app.agents.on_rebalance(set(self.app._assignment), set())
        self.app._assignment = set()

    def _stand_still(self) -> None:
        self._sought = self._streaming = False
        self._next = {}
        self._open = {}
        self._since = {}
        self._behind = {}

    async def perform_seek(self) -> None:
        """To the commits, and to the log start where there is none."""
        tps = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
        known = await self._committed(tps)
        streams = {tp: known[tp].offset if tp in known else None for tp in tps}
        new = [tp for tp in tps if tp not in known]
        starts = {TP(*tp): at for tp, at in (await self.earliest_offsets(*new)).items()} if new else {}
        self._thread.known = dict(known)
        # A group that has never committed has no lag in Kafka's tools, and a lane that is stuck at its first
        # record would look as one that is not used.
        if unheld := {tp: at for tp, at in starts.items() if self._steps.known(TopicPartition(*tp)) is None}:
            await self._thread.commit(unheld)
        self._next = {tp: starts[tp] if at is None else at for tp, at in streams.items()}
        self._open = {tp: {} for tp in self._next}
        self._since = {tp: {} for tp in self._next}
        self._behind = dict(self._next)
        self._committed_offset.update(self._next)
        await self._thread.seek_all(dict(self._next))
        self._sought = True

    async def _committed(self, tps: Sequence[TP]) -> dict[TP, Commit]:
        wanted = [TopicPartition(*tp) for tp in tps]
        await self._steps.ready(wanted)
        while True:
            try:
                found: Mapping[TopicPartition, Commit] = await self.transport.log.committed(self.app.conf.id, wanted)
            except LogUnavailable as error:
                self.log.warning("%s; trying again in %.1f s", error, _CONNECT_RETRY)
                await asyncio.sleep(_CONNECT_RETRY)
            else:
                return {TP(*tp): commit for tp, commit in found.items()}

    async def _seek(self, partition: TP, offset: int) -> None:
        await self._thread.seek_all({partition: offset})

    def resume_flow(self) -> None:
        super().resume_flow()
        # Faust also resumes for tables, before it has sought.
        self._streaming = self._sought

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            await self._drain(fetcher)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _drain(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            await asyncio.sleep(0)
            if self._streaming:
                await self._take_up_dropped()
            runs, active = await self._wait_next_records(timeout=1.0)
            for tp, run in (runs or {}).items():
                if self.flow_active and (tp in active or tp in self._buffered_partitions):
                    await self._take(tp, run)
                else:
                    self._dropped.add(tp)

    async def _take_up_dropped(self) -> None:
        dropped, self._dropped = self._dropped, set()
        for tp in dropped & self._next.keys():
            await self._seek(tp, self._next[tp])

    async def _take(self, tp: TP, run: Run) -> None:
        if self._is_changelog_tp(tp):
            for record in run.records:
                await self._take_change(tp, record)
        elif not self._streaming:
            self._dropped.add(tp)
        elif tp in self._next:
            if run.start is None or run.start > self._next[tp]:
                await self._return(tp)
            elif await self._take_records(tp, run.records):
                self._next[tp] = max(self._next[tp], run.end)

    async def _return(self, tp: TP) -> None:
        """Fetch again from where we stand. If that was retired meanwhile, aiokafka went on at the log start by
        itself, and so do we."""
        try:
            async with asyncio.timeout(_ASKING):
                start = next(iter((await self.earliest_offsets(tp)).values()))
        except (KafkaError, TimeoutError):
            start = 0  # it will be asked for again, and the other partitions must not wait
        if tp in self._next:
            self._next[tp] = max(self._next[tp], start)
            self._behind[tp] = max(self._behind[tp], start)
            await self._seek(tp, self._next[tp])

    async def _take_records(self, tp: TP, records: Sequence[Any]) -> bool:
        """False if there was a rebalance meanwhile. A stream passes over what is of an older generation."""
        generation = self.app.consumer_generation_id
        for number, record in enumerate(records, start=1):
            if record.offset < self._next[tp]:
                continue
            self._open[tp][record.offset] = None
            if record.offset > self._behind[tp]:
                self._since[tp][record.offset] = self._behind[tp]
            self._behind[tp] = record.offset + 1
            await self.callback(self._to_message(tp, record))
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
            if not self._streaming or generation != self.app.consumer_generation_id:
                return False
            self._next[tp] = record.offset + 1
        return True

    async def _take_change(self, tp: TP, record: Any) -> None:
        read = self._read_offset[tp]
        if read is None or record.offset >= read:
            await self.callback(self._to_message(tp, record))
            self._read_offset[tp] = record.offset

    def ack(self, message: Any) -> bool:
        """A message of an older generation comes again."""
        self._unacked_messages.discard(message)
        if message.acked or message.generation_id != self.app.consumer_generation_id:
            return False
        message.acked = True
        self._since.get(message.tp, {}).pop(message.offset, None)
        return self._open.get(message.tp, {}).pop(message.offset, self) is None

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self._next if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int:
        return next(iter(self._open[tp]), self._next[tp])

    def _should_commit(self, tp: TP, offset: int) -> bool:
        known = self._steps.known(TopicPartition(*tp))
        return bool(super()._should_commit(tp, offset)) or (known is not None and offset > known.offset)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # A crash ends the thread at once, and what is asked of it then is never answered.
        if self.crashed or not await self.app.tables.before_commit(offsets):
            return False
        held = {TopicPartition(*tp): at for tp, at in offsets.items() if self._steps.known(TopicPartition(*tp))}
        others = {tp: at for tp, at in offsets.items() if TopicPartition(*tp) not in held and not self._noted(tp)}
        advanced = await self._steps.advance(held)
        return advanced and (not others or bool(await super()._commit(others)))

    def _noted(self, tp: TP) -> bool:
        """A note speaks of what is not handled yet. Only a step knows what it is to say from the next offset on."""
        return bool(self._thread.known.get(tp, _NOTHING).note and self._open.get(tp))

    async def is_member(self, generation: int) -> bool:
        """See `_Thread.is_member`."""
        return bool(await self._thread.is_member(generation))

    def must_have(self, tps: Iterable[TopicPartition]) -> None:
        """Raises `LogUnavailable` if not all of these are ours, or if it is not known yet what is committed of them."""
        assigned = self.assignment()
        for tp in tps:
            if not self._sought or TP(*tp) not in assigned:
                raise LogUnavailable(f"{tp.topic}[{tp.partition}] is somebody else's by now, or was assigned anew")

    async def commit_step(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """See `_Thread.commit_step`."""
        self.must_have(commits)
        if commits:
            await self._thread.commit_step(commits)

    def handled(self) -> dict[TopicPartition, int]:
        """See `streams.log.Log.handled`."""
        return {TopicPartition(*tp): self._new_offset(tp) for tp in self._next} if self._streaming else {}

    def since(self, message: Any) -> int:
        """See `streams.log.Log.since`."""
        return self._since.get(message.tp, {}).get(message.offset, int(message.offset))

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust complains of every lane that does not move, for ever; whose partner is down is in the ledger."""


def _positions(consumer: AIOKafkaConsumer) -> dict[KafkaTP, int]:
    """Where aiokafka stands in each partition, as far as it knows. It moves on with what a poll brings."""
    subscription = consumer._subscription.subscription
    if subscription is None or subscription.assignment is None:
        return {}
    return {tp: at.offset for tp, at in subscription.assignment.all_consumed_offsets().items()}


class Producer(driver.Producer):
    """Faust's. Agents of ours append past it; it is there for who does not."""

    async def on_start(self) -> None:
        await reached(self, super().on_start, lambda: self._producer)


class Transport(driver.Transport):
    """Faust's, with our consumer and producer."""

    Consumer = Consumer
    Producer = Producer
    log: Any
    steps: Steps


async def reached(service: Any, start: Callable[[], Awaitable[None]], client: Callable[[], Any]) -> None:
    """Start a client of Kafka when there are brokers to reach: one that restarts takes nobody along."""
    while True:
        try:
            return await start()
        except KafkaConnectionError as error:
            service.log.warning("%s; trying again in %.1f s", error, _CONNECT_RETRY)
            await client().stop()
        if service.should_stop:
            return None
        await asyncio.sleep(_CONNECT_RETRY)
