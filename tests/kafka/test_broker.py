"""A broker that starts, serves, dies, comes back with its data, and is wiped."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer
from kafka.structs import OffsetAndMetadata

from tests.kafka.broker import Broker
from tests.kafka.distribution import Distribution
from tests.kafka.processes import KafkaFailed
from tests.kafka.traffic import LETTERS, create, produce, stored


def test_what_is_produced_is_consumed(kafka: Broker) -> None:
    create(kafka)
    produce(kafka.address, [b"a", b"b"])
    assert stored(kafka.address) == [b"a", b"b"]


def test_a_killed_broker_keeps_what_it_acknowledged(kafka: Broker) -> None:
    create(kafka)
    values = [b"%d" % n for n in range(1000)]
    produce(kafka.address, values)
    kafka.kill()
    assert not kafka.running
    kafka.start()
    assert stored(kafka.address) == values


def test_a_stopped_broker_keeps_its_data_and_address(kafka: Broker) -> None:
    create(kafka)
    produce(kafka.address, [b"a"])
    kafka.stop()
    assert not kafka.running
    kafka.start()
    assert stored(kafka.address) == [b"a"]


def test_a_wiped_broker_has_no_topics_and_no_groups_even_with_members(kafka: Broker) -> None:
    create(kafka)
    settings = {"bootstrap_servers": kafka.address, "group_id": "readers", "auto_offset_reset": "earliest"}
    with KafkaConsumer(LETTERS.topic, **settings, enable_auto_commit=False) as consumer:
        produce(kafka.address, [b"a"])
        while not consumer.poll(1000):
            pass
        # It never polls again, as if it had been killed.
        kafka.wipe()
        with kafka.admin() as admin:
            assert admin.list_groups() == []
            assert LETTERS.topic not in admin.list_topics()
    create(kafka)
    assert stored(kafka.address) == []


def test_kafkas_own_tools_run_against_it(kafka: Broker) -> None:
    create(kafka)
    kafka.tool("kafka-console-producer", "--topic", LETTERS.topic, stdin="a\nb\nc\n")
    assert stored(kafka.address) == [b"a", b"b", b"c"]
    with KafkaConsumer(bootstrap_servers=kafka.address, group_id="readers", enable_auto_commit=False) as consumer:
        consumer.assign([LETTERS])
        consumer.commit({LETTERS: OffsetAndMetadata(1, "", -1)})

    described = kafka.tool("kafka-consumer-groups", "--describe", "--group", "readers")
    heads, row = described.strip().splitlines()
    found = dict(zip(heads.split(), row.split(), strict=True))
    assert (found["CURRENT-OFFSET"], found["LOG-END-OFFSET"], found["LAG"]) == ("1", "3", "2")


def test_a_tool_that_fails_says_why(kafka: Broker) -> None:
    with pytest.raises(KafkaFailed, match="Topic 'nowhere' does not exist"):
        kafka.tool("kafka-topics", "--describe", "--topic", "nowhere")


def test_a_broker_that_cannot_start_says_why(kafka_distribution: Distribution, tmp_path: Path) -> None:
    with (
        Broker(kafka_distribution, tmp_path, settings={"process.roles": "broker"}) as broker,
        pytest.raises(KafkaFailed, match=r"controller.quorum.voters|process.roles"),
    ):
        broker.start()


OWNER = """
import sys, threading
from pathlib import Path
from tests.kafka.broker import Broker
from tests.kafka.distribution import fetched

broker = Broker(fetched(), Path(sys.argv[1]))
starting = threading.Thread(target=broker.start)
starting.start()
starting.join()
print(broker.pid, flush=True)
input()
"""


def test_a_broker_ends_with_the_process_that_started_it_not_with_the_thread(
    kafka_distribution: Distribution, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        broker = psutil.Process(int(owner.stdout.readline()))
        try:
            with pytest.raises(psutil.TimeoutExpired):
                broker.wait(0.5)
            assert broker.status() != psutil.STATUS_ZOMBIE
            owner.kill()
            broker.wait(10)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                broker.kill()
