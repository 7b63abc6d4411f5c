"""`rescind topics` on a real cluster, seen by Kafka's own tools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rescind.cli import main
from streams.errors import LogUnavailable, TopicsMissing
from streams.log import opened, provision
from streams.provisioning import Choices
from streams.records import Position, Record
from streams.settings import Settings
from streams.topics import ALL, KEYED, LANES, NOTICES, POISONED, TOGGLES
from tests.kafka.broker import Broker
from tests.kafka.cluster import Cluster
from tests.kafka.distribution import Distribution
from tests.kafka.fixtures import renewed

Ran = tuple[int, str, str]
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def _unused(kafka_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(kafka_distribution, tmp_path_factory.mktemp("kafka-topics")) as broker:
        broker.start()
        yield broker


@pytest.fixture
def kafka(_unused: Broker) -> Broker:
    """One that no other module has used. On a busy machine a topic that was deleted and made again has been seen to
    have configs of its former self, which nothing here looks for."""
    return renewed(_unused)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`rescind topics ...` for an address: its exit code and what it prints."""

    def run_it(address: str, *arguments: str) -> Ran:
        monkeypatch.setenv("RESCIND_LOG", f"kafka://{address}")
        with pytest.raises(SystemExit) as ended:
            main(["topics", *arguments])
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown.out, shown.err

    return run_it


def rows(ran: Ran, code: int) -> dict[str, list[str]]:
    """By topic what is said of it, `state` and more, from a table."""
    assert (ran[0], ran[2]) == (code, "")
    told: dict[str, list[str]] = {}
    for line in ran[1].splitlines():
        if line.startswith("rescind."):
            topic, _, _, what = line.split(maxsplit=3)
            told.setdefault(topic, []).append(re.sub(" +", " ", what))
    assert set(told) == {spec.name for spec in ALL}
    return told


def all_are(state: str, told: dict[str, list[str]]) -> bool:
    return all(each == [state] for each in told.values())


def fine(ran: Ran) -> bool:
    return all_are("fine", rows(ran, 0)) and ran[1].endswith("\nNothing to do.\n")


def described(kafka: Broker | Cluster) -> dict[str, tuple[int, int, dict[str, str]]]:
    """Partitions, replicas and configs of each topic, as Kafka's own tool says."""
    found = {}
    for line in kafka.tool("kafka-topics", "--describe", "--exclude-internal").splitlines():
        if line.startswith("Topic: "):
            told = dict(part.split(": ", 1) for part in line.split("\t") if ": " in part)
            configs = dict(pair.split("=", 1) for pair in told["Configs"].split(",") if pair)
            configs.pop("file.delete.delay.ms", None)  # the broker's
            found[told["Topic"]] = int(told["PartitionCount"]), int(told["ReplicationFactor"]), configs
    return found


def configure(kafka: Broker, topic: str, *arguments: str) -> None:
    kafka.tool("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic, *arguments)


def test_apply_makes_all_topics_once(kafka: Broker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_RETENTION_DAYS", "30")
    missing = rows(run(kafka.address, "check"), 1)
    assert all_are("missing", missing)
    planned = rows(run(kafka.address, "apply", "--dry-run"), 0)
    assert all_are("to create", planned)
    assert described(kafka) == {}

    created = rows(run(kafka.address, "apply"), 0)
    assert all_are("created", created)
    found = described(kafka)
    assert {name: (partitions, replicas) for name, (partitions, replicas, _) in found.items()} == {
        spec.name: (spec.partitions, 1) for spec in ALL
    }
    common = {
        "cleanup.policy": "delete",
        "max.message.bytes": "8388608",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "1",
        "retention.bytes": "-1",
        "unclean.leader.election.enable": "false",
    }
    assert found["rescind.toggles"][2] == common | {"retention.ms": "-1"}
    assert found["rescind.notices"][2] == common | {"retention.ms": "-1"}
    assert found["rescind.decisions"][2] == common | {"retention.ms": "2592000000"}
    compacted = {"cleanup.policy": "compact", "delete.retention.ms": "86400000", "retention.ms": "-1"}
    assert found["rescind.partners"][2] == common | compacted

    assert fine(run(kafka.address, "apply"))
    assert fine(run(kafka.address, "check"))


def test_drift_is_found_and_put_right(kafka: Broker, run: Run) -> None:
    run(kafka.address, "apply")
    configure(kafka, TOGGLES.name, "--add-config", "retention.ms=1000000,segment.bytes=50000000")
    configure(kafka, TOGGLES.name, "--delete-config", "min.insync.replicas")
    with kafka.admin() as admin:
        admin.delete_topics([POISONED.name])
    drift = ["retention.ms 1000000 -> -1", "min.insync.replicas (not set) -> 1"]

    told = rows(run(kafka.address, "check"), 1)
    assert told.pop(TOGGLES.name) == [f"differs {words}" for words in drift]
    assert told.pop(POISONED.name) == ["missing"]
    assert all_are("fine", told)
    code, out, _ = run(kafka.address, "check", "--json")
    assert code == 1
    assert json.loads(out)["topics"][0] == {
        "topic": TOGGLES.name, "partitions": 8, "replicas": 1, "state": "differs", "created": False, "changes": drift,
        "left": [],
    }  # fmt: skip

    told = rows(run(kafka.address, "apply"), 0)
    assert told[TOGGLES.name] == [f"changed {words}" for words in drift]
    assert told[POISONED.name] == ["created"]
    _, _, configs = described(kafka)[TOGGLES.name]
    assert (configs["retention.ms"], configs["min.insync.replicas"]) == ("-1", "1")
    # What the operator says besides is not ours.
    assert configs["segment.bytes"] == "50000000"
    assert fine(run(kafka.address, "check"))


def test_lanes_grow_and_keys_stay_where_they_are(kafka: Broker, run: Run) -> None:
    run(kafka.address, "apply", "--partitions", "3")
    # Nobody need repeat what was chosen in the beginning.
    assert fine(run(kafka.address, "check"))

    told = rows(run(kafka.address, "apply", "--partitions", "5", "--lanes", str(LANES + 8)), 1)
    assert told.pop(NOTICES.name) == [f"changed partitions {LANES} -> {LANES + 8}"]
    for topic in KEYED:
        (left,) = told.pop(topic)
        assert left.startswith("differs partitions 3, not 5: left alone, since keys would move")
    assert all_are("fine", told)
    counts = {name: partitions for name, (partitions, _, _) in described(kafka).items()}
    assert counts.pop(NOTICES.name) == LANES + 8
    assert {counts[name] for name in KEYED} == {3}

    assert fine(run(kafka.address, "check"))
    (left,) = rows(run(kafka.address, "check", "--lanes", str(LANES)), 1)[NOTICES.name]
    assert left.startswith(f"differs partitions {LANES + 8}, not {LANES}: left alone, since Kafka never")


def test_several_may_apply_at_once(kafka: Broker) -> None:
    settings = Settings(log=f"kafka://{kafka.address}")
    with ThreadPoolExecutor(4) as pool:
        for choices in (Choices(lanes=4), Choices(lanes=9)):
            told = list(pool.map(lambda each: provision(settings, each, change=True), [choices] * 4))
            done = [(report.topic, report.created) for reports in told for report in reports or () if not report.fine]
            assert not any(report.left for reports in told for report in reports or ())
            if choices.lanes == 4:
                assert sorted(done) == sorted((spec.name, True) for spec in ALL)
            else:
                assert done == [(NOTICES.name, False)]


def test_what_kafka_refuses_is_one_line(kafka: Broker, run: Run) -> None:
    code, out, err = run(kafka.address, "apply", "--replication", "2")
    assert (code, out) == (2, "")
    assert err == "rescind: a replication of 2 needs 2 brokers, and the cluster has 1\n"


def test_replicas_on_three_brokers(kafka_cluster: Cluster, run: Run) -> None:
    run(kafka_cluster.address, "apply", "--lanes", "4")
    assert {
        (replicas, configs["min.insync.replicas"]) for _, replicas, configs in described(kafka_cluster).values()
    } == {(3, "2")}
    # A broker that is down for a while makes no difference.
    kafka_cluster.brokers[0].stop()
    assert fine(run(kafka_cluster.address, "check", "--lanes", "4"))
    told = rows(run(kafka_cluster.address, "apply", "--lanes", "4", "--replication", "2"), 1)
    for each in told.values():
        assert each[0].startswith("differs replication factor 3, not 2: left alone")
    assert fine(run(kafka_cluster.address, "check", "--lanes", "4"))


def test_by_tls_and_with_a_login(secure_kafka: Broker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    security = secure_kafka.security
    assert security is not None
    for name, value in {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_USERNAME": security.user,
        "SASL_PASSWORD": security.password,
        "SSL_CAFILE": str(security.certificates.authority),
    }.items():
        monkeypatch.setenv(f"RESCIND_KAFKA_{name}", value)
    address = secure_kafka.addresses["SASL_SSL"]
    rows(run(address, "apply"), 0)
    assert fine(run(address, "check"))

    monkeypatch.setenv("RESCIND_KAFKA_SASL_PASSWORD", "wrong")
    code, out, err = run(address, "check")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "within 6 s by SASL_SSL: is the address right, and are RESCIND_KAFKA_...?" in err


# A log on such topics


@pytest.fixture
def eager(kafka_distribution: Distribution, tmp_path: Path) -> Iterator[Broker]:
    """A broker that makes topics for whoever asks for one, as Kafka does by default."""
    with Broker(kafka_distribution, tmp_path, settings={"auto.create.topics.enable": "true"}) as broker:
        broker.start()
        yield broker


async def test_no_topic_is_made_by_asking_for_it(eager: Broker, run: Run) -> None:
    assert run(eager.address, "check")[0] == 1
    with pytest.raises(TopicsMissing, match="rescind topics apply"):
        async with opened(Settings(log=f"kafka://{eager.address}")):
            pass
    assert described(eager) == {}


async def test_a_lane_that_is_newer_than_the_log_takes_records(kafka: Broker, run: Run) -> None:
    run(kafka.address, "apply", "--lanes", "1")
    async with opened(Settings(log=f"kafka://{kafka.address}")) as log:
        lane = Record(NOTICES.name, None, b"{}", 0)
        assert await log.append([lane]) == [Position(NOTICES.name, 0, 0)]
        assert await log.partitions(NOTICES.name) == 1
        run(kafka.address, "apply", "--lanes", "3")
        assert await log.partitions(NOTICES.name) == 3
        new = Record(NOTICES.name, None, b"{}", 2)
        assert await log.append([new, lane]) == [Position(NOTICES.name, 2, 0), Position(NOTICES.name, 0, 1)]
        with pytest.raises(LogUnavailable, match=r"rescind\.notices has no partition 3"):
            await log.append([Record(NOTICES.name, None, b"{}", 3)])
