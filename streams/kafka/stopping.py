"""Ending clients of aiokafka, also where there are no brokers any more."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

#: Seconds that a producer gets for what is under way. Who waits for that was told nothing, and must append again.
SENDING = 5.0


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """aiokafka sends what is left before it ends, and waits for brokers however long they are away."""
    try:
        async with asyncio.timeout(SENDING):
            await producer.stop()
    except TimeoutError:
        await producer._sender.close()
        await producer.client.close()


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """aiokafka cancels its fetches, and if one was about to be tried again, the cancellation comes out as if it were
    ours. Cause: `Fetcher.close`,
    https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/consumer/fetcher.py"""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        await consumer._client.close()
