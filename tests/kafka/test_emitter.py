"""The platform's emitter on a real broker: what it says is in the log is there, once, in order, where it belongs."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from rescind.emitter import BufferFull, Emitted, Emitter, NotEmitted, producing
from streams.cloudevents import OUR_HEADERS, Envelope, decode
from streams.events import ConsentToggled
from streams.kinds import Choice
from streams.partitioning import partition_of
from streams.topics import TOGGLES
from tests.kafka.broker import Broker
from tests.kafka.cluster import Cluster
from tests.kafka.distribution import Distribution

#: Seconds after which an answer that must come counts as never coming.
PATIENCE = 60.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_broker(kafka_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One that makes topics for whoever asks, as brokers do unless told otherwise."""
    settings = {"auto.create.topics.enable": "true"}
    with Broker(kafka_distribution, tmp_path_factory.mktemp("emitter"), settings=settings) as broker:
        yield broker


@pytest.fixture
def bare(own_broker: Broker) -> Broker:
    """A broker without topics."""
    if not own_broker.running:
        own_broker.start()
    own_broker.wipe()
    return own_broker


@pytest.fixture
def broker(bare: Broker) -> Broker:
    create_topic(bare)
    return bare


def create_topic(broker: Broker | Cluster, **config: str) -> None:
    with broker.admin() as admin:
        wanted = {"num_partitions": TOGGLES.partitions, "configs": config}
        admin.create_topics({TOGGLES.name: wanted}, wait_for_metadata=True)


def emitter(broker: Broker | Cluster, **settings: Any) -> Emitter:
    return Emitter(f"kafka://{broker.address}", platform="/blogs", **settings)


def logged(broker: Broker | Cluster) -> list[Any]:
    """Every record of the topic, partition by partition."""
    tps = [KafkaPartition(TOGGLES.name, number) for number in range(TOGGLES.partitions)]
    records: list[Any] = []
    with KafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest") as consumer:
        consumer.assign(tps)
        ends = consumer.end_offsets(tps)
        while any(consumer.position(tp) < ends[tp] for tp in tps):
            records += itertools.chain(*consumer.poll(1000).values())
    return sorted(records, key=lambda record: (record.partition, record.offset))


def envelope(record: Any) -> Envelope:
    assert record.headers == OUR_HEADERS
    return decode(record.value, record.headers)


def test_toggles_land_where_the_service_expects_them(broker: Broker) -> None:
    subjects = [f"blog:{number}.example.com" for number in range(50)] + ["user:1", "user:über", "photo:🖼️:1"]
    with emitter(broker) as emitting:
        futures = [
            emitting.emit(
                subject,
                "ai-training",
                "opt_out",
                occurred_at=NOON,
                version=number,
                retroactive=False,
                source="settings",
            )
            for number, subject in enumerate(subjects)
        ]
        answers = {
            (answer.partition, answer.offset): answer for answer in (future.result(PATIENCE) for future in futures)
        }
    records = logged(broker)
    assert len(records) == len(answers) == len(subjects)
    for record in records:
        found = envelope(record)
        number = subjects.index(record.key.decode())
        assert record.partition == partition_of(record.key, TOGGLES.partitions)
        assert answers[record.partition, record.offset] == Emitted(
            found.id, TOGGLES.name, record.partition, record.offset
        )
        assert found.source == "/blogs"
        assert found.data == ConsentToggled(
            subject=subjects[number], purpose="ai-training", choice=Choice.OPT_OUT, occurred_at=NOON,
            version=number, retroactive=False, source="settings",
        )  # fmt: skip


def test_a_broker_that_is_killed_under_load_loses_and_doubles_nothing(broker: Broker) -> None:
    stop = Event()
    count = itertools.count()

    def load(thread: int, emitting: Emitter) -> list[Future[Emitted]]:
        futures: list[Future[Emitted]] = []
        for number in itertools.count():
            if stop.is_set():
                return futures
            subject = f"user:{thread}-{number % 5}"
            futures.append(emitting.emit(subject, "ai", "opt_out", version=number, id=f"{thread}.{number}"))
            next(count)
        raise AssertionError

    with emitter(broker, block_for=PATIENCE, max_pending=2000) as emitting, ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, thread, emitting) for thread in range(4)]
        try:
            for _ in range(2):
                # In the middle of answers that come.
                emitting.emit("user:x", "ai", "opt_in", id=f"x.{next(count)}").result(PATIENCE)
                broker.kill()
                broker.start()
            emitting.emit("user:x", "ai", "opt_in", id=f"x.{next(count)}").result(PATIENCE)
        finally:
            stop.set()
        answers = [future.result(PATIENCE) for loaded in loads for future in loaded.result()]
    records = logged(broker)
    assert len(answers) > 1000, "there was no load"
    ids = [envelope(record).id for record in records]
    assert len(ids) == len(set(ids)), "doubled"
    assert {answer.id for answer in answers} <= set(ids), "acknowledged, and lost"
    assert len(ids) == len(answers) + 3
    versions = defaultdict(list)
    for record in records:
        data = envelope(record).data
        assert isinstance(data, ConsentToggled)
        if data.version is not None:
            versions[data.subject].append(data.version)
    assert len(versions) == 20
    for subject, seen in versions.items():
        assert seen == sorted(seen), f"{subject} is out of order"


def test_while_the_broker_is_down_the_buffer_fills_and_says_so(broker: Broker) -> None:
    with emitter(broker, max_pending=50) as emitting:
        emitting.emit("user:0", "ai", "opt_out").result(PATIENCE)
        broker.kill()
        futures = [emitting.emit(f"user:{number}", "ai", "opt_out") for number in range(50)]
        started = time.monotonic()
        with pytest.raises(BufferFull, match="50 toggles wait"):
            emitting.emit("user:51", "ai", "opt_out")
        assert time.monotonic() - started < 5
        broker.start()
        for future in futures:
            future.result(PATIENCE)
        emitting.emit("user:51", "ai", "opt_out").result(PATIENCE)
    assert len(logged(broker)) == 52


def test_a_broker_that_stays_away_costs_the_toggles_their_time_and_no_more(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "CONNECTING", 1.0)
    with emitter(broker, timeout=2.0) as impatient, emitter(broker) as patient:
        impatient.emit("user:0", "ai", "opt_out").result(PATIENCE)
        broker.kill()
        started = time.monotonic()
        # The second one comes when the connection was given up already.
        for subject in ("user:1", "user:2"):
            with pytest.raises(NotEmitted):
                impatient.emit(subject, "ai", "opt_out").result(PATIENCE)
        assert time.monotonic() - started < 15
        never_connected = patient.emit("user:3", "ai", "opt_out", id="patient")
        broker.start()
        never_connected.result(PATIENCE)
        impatient.emit("user:3", "ai", "opt_out", id="impatient").result(PATIENCE)
    assert {"patient", "impatient"} <= {envelope(record).id for record in logged(broker)}


def test_a_cluster_that_loses_a_broker_loses_and_doubles_nothing(kafka_cluster: Cluster) -> None:
    create_topic(kafka_cluster)
    leader = kafka_cluster.leader(TOGGLES.name, partition_of(b"user:1", TOGGLES.partitions))
    with emitter(kafka_cluster, timeout=30.0, block_for=PATIENCE, max_pending=500) as emitting:
        futures = [emitting.emit("user:1", "ai", "opt_out", version=number) for number in range(1000)]
        leader.kill()
        futures += [emitting.emit("user:1", "ai", "opt_out", version=number) for number in range(1000, 2000)]
        answers = [future.result(PATIENCE).id for future in futures]
    assert [envelope(record).id for record in logged(kafka_cluster)] == answers


def test_a_topic_that_is_missing_is_not_made_by_the_way(bare: Broker) -> None:
    with emitter(bare, timeout=PATIENCE) as emitting:
        future = emitting.emit("user:1", "ai", "opt_out")
        time.sleep(1)  # long enough for a broker that is asked for a topic to make it
        with bare.admin() as admin:
            assert admin.list_topics() == []
        create_topic(bare)
        answer = future.result(PATIENCE)
    assert answer.partition == partition_of(b"user:1", TOGGLES.partitions)


def test_what_the_broker_refuses_fails_and_the_next_is_taken(bare: Broker) -> None:
    create_topic(bare, **{"max.message.bytes": "700"})
    with emitter(bare) as emitting:
        with pytest.raises(NotEmitted, match="MessageSizeTooLarge"):
            emitting.emit("user:1", "ai", "opt_out", source="x" * 200, id="i" * 128).result(PATIENCE)
        emitting.emit("user:1", "ai", "opt_out", id="small").result(PATIENCE)
    assert [envelope(record).id for record in logged(bare)] == ["small"]


def test_tls_and_a_login_are_passed_through(secure_kafka: Broker) -> None:
    create_topic(secure_kafka)
    security = secure_kafka.security
    assert security is not None
    with Emitter(
        secure_kafka.addresses["SASL_SSL"],
        platform="/blogs",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=security.user,
        sasl_plain_password=security.password,
        ssl_cafile=str(security.certificates.authority),
    ) as emitting:
        emitting.emit("user:1", "ai", "opt_out", id="safe").result(PATIENCE)
    assert [envelope(record).id for record in logged(secure_kafka)] == ["safe"]


#: A web server that loads the application and then forks: the emitter was made, and even used, before.
PREFORK = """
import os, sys
from rescind.emitter import Emitter

emitter = Emitter(sys.argv[1], platform="/blogs")
emitter.emit("user:0", "ai", "opt_out", id="parent-1").result(30)
waiting = [emitter.emit(f"user:{n}", "ai", "opt_out", id=f"waiting-{n}") for n in range(200)]
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for n in range(100):
            last = emitter.emit(f"user:{n}", "ai", "opt_out", id=f"child-{child}-{n}")
        last.result(30)
        sys.exit(0)  # by the interpreter's own end, with all its hooks
    children.append(pid)
for future in waiting:
    future.result(30)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
emitter.emit("user:0", "ai", "opt_out", id="parent-2").result(30)
for n in range(100):
    emitter.emit(f"user:{n}", "ai", "opt_out", id=f"last-{n}")
"""


def test_forks_and_the_processs_end_lose_and_double_nothing(broker: Broker) -> None:
    # The last hundred are not waited for, and the emitter is not closed.
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", PREFORK, broker.address],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    expected = {"parent-1", "parent-2"}
    expected |= {f"waiting-{number}" for number in range(200)} | {f"last-{number}" for number in range(100)}
    expected |= {f"child-{child}-{number}" for child in range(3) for number in range(100)}
    ids = [envelope(record).id for record in logged(broker)]
    assert sorted(ids) == sorted(expected)
