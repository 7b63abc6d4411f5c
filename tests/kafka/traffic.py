"""The little traffic that the tests of the harness need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.kafka.broker import Broker
from tests.kafka.cluster import Cluster

LETTERS = TopicPartition("letters", 0)


def create(kafka: Broker | Cluster) -> None:
    """The topic, with one partition."""
    with kafka.admin() as admin:
        admin.create_topics({LETTERS.topic: {"num_partitions": 1}}, wait_for_metadata=True)


def produce(address: str, values: Iterable[bytes], **settings: Any) -> None:
    """Return when all are acknowledged."""
    with KafkaProducer(bootstrap_servers=address, acks="all", **settings) as producer:
        for future in [producer.send(LETTERS.topic, value) for value in values]:
            future.get(60)


def stored(address: str, **settings: Any) -> list[bytes]:
    """All values, in order."""
    with KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", **settings) as consumer:
        consumer.assign([LETTERS])
        end = consumer.end_offsets([LETTERS])[LETTERS]
        values: list[bytes] = []
        while consumer.position(LETTERS) < end:
            values += [record.value for records in consumer.poll(1000).values() for record in records]
    return values
