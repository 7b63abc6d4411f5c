"""Three brokers, of which one is lost."""

from __future__ import annotations

from tests.kafka.cluster import Cluster
from tests.kafka.traffic import LETTERS, create, produce, stored


def test_three_brokers_lose_one_and_no_record(kafka_cluster: Cluster) -> None:
    create(kafka_cluster)
    before, meanwhile, after = (
        [b"%s %d" % (when, n) for n in range(200)] for when in (b"before", b"meanwhile", b"after")
    )
    produce(kafka_cluster.address, before)
    lost = kafka_cluster.leader(LETTERS.topic)
    lost.kill()
    produce(kafka_cluster.address, meanwhile)
    assert kafka_cluster.leader(LETTERS.topic).node != lost.node

    # All in sync again, so that the next one may be lost.
    kafka_cluster.start()
    assert lost.running
    produce(kafka_cluster.address, after)
    assert stored(kafka_cluster.address) == before + meanwhile + after
