"""Transactions of Kafka, one after the other, by one producer of aiokafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.producer.transaction_manager import TransactionState
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streams.kafka.stopping import stop_producer
from streams.kafka.writer import find, settings
from streams.records import Position, Record

#: Milliseconds after which the brokers take back what is open: its producer was killed, or cannot reach them. Until
#: then nobody reads what stands behind it, unless the next producer of its id begins before.
TIMEOUT_MS = 10_000
#: Milliseconds until a request is made again; where a transaction follows another, the brokers may still be writing the
#: end of that one, and want to be asked again.
_BACKOFF_MS = 20
#: Seconds that what is open gets to be taken back when its producer ends.
_ABORTING = 2.0


class Transactions:
    """Those of one transactional id. It shuts out whoever used the id before, and is of no use after a failure."""

    def __init__(self, common: Mapping[str, Any], name: str) -> None:
        self._producer = AIOKafkaProducer(
            **settings(common), transactional_id=name, transaction_timeout_ms=TIMEOUT_MS, retry_backoff_ms=_BACKOFF_MS
        )

    async def start(self) -> None:
        """Return when nothing of those before can be committed any more, and what they left open is taken back.
        Raises `KafkaError`."""
        await self._producer.start()

    async def run(
        self,
        records: Sequence[Record],
        group: str,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        on_commit: Callable[[list[Position]], None],
    ) -> list[Position]:
        """All in one. `on_commit` is told where the records stand right before it is asked for: from then on, and until
        this returns, nobody knows whether it is done. Raises `KafkaError`, and `LogUnavailable` for a partition that
        there is not."""
        producer = self._producer
        for topic in {record.topic for record in records}:
            await find(producer, topic, {record.partition for record in records if record.topic == topic})
        sent: list[asyncio.Future[Any]] = []
        try:
            await producer.begin_transaction()
            for record in records:
                sent.append(  # noqa: PERF401 - what was sent before a failure must be known
                    await producer.send(
                        record.topic, record.value, record.key, record.partition, headers=list(record.headers)
                    )
                )
            committing = [producer.send_offsets_to_transaction(offsets, group)] if offsets else []
            done = await asyncio.gather(*sent, *committing)
            positions = [Position(each.topic, each.partition, each.offset) for each in done[: len(sent)]]
            on_commit(positions)
            await producer.commit_transaction()
        except (AssertionError, IllegalOperation) as error:
            # aiokafka says so of a producer that has failed meanwhile, and keeps the reason to itself. Cause:
            # `TransactionManager.maybe_add_partition_to_txn`,
            # https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/producer/transaction_manager.py
            raise self._failure() or KafkaError(str(error)) from error
        finally:
            for future in sent:
                future.cancel()
        return positions

    async def stop(self) -> None:
        """What is open is taken back, if there is anybody to do so. In bounded time."""
        manager = self._producer._txn_manager
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_ABORTING):
                if manager.state in (TransactionState.IN_TRANSACTION, TransactionState.ABORTABLE_ERROR):
                    await self._producer.abort_transaction()
                elif manager.needs_transaction_commit() is not None:
                    await asyncio.shield(manager.wait_for_transaction_end())
        self._failure()  # nobody else asks for it, and asyncio would complain
        await stop_producer(self._producer)

    def _failure(self) -> BaseException | None:
        waiter = self._producer._txn_manager._transaction_waiter
        if waiter is None or not waiter.done() or waiter.cancelled():
            return None
        error: BaseException | None = waiter.exception()
        return error
