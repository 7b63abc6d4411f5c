"""A real Kafka for any test under `tests`.

`kafka`, `kafka_cluster` and `secure_kafka` run and are empty when a test begins. All tests of a process share the
first; the others live as long as a module, since three idle brokers cost a tenth of a core. Where Kafka cannot run,
these tests are skipped, which the last lines of the run say loudly; in CI they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kafka.broker import Broker, Security
from tests.kafka.certificates import issued
from tests.kafka.cluster import Cluster
from tests.kafka.distribution import Distribution, Unavailable, fetched
from tests.kafka.sharing import share_classes

_unavailable = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # All other fixtures ask for this one.
        if "kafka_distribution" in getattr(item, "fixturenames", ()):
            item.add_marker("kafka")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if reason := config.stash.get(_unavailable, None):
        terminalreporter.write_sep("!", f"NOT TESTED on Apache Kafka: {reason}", red=True, bold=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Where several processes run tests, tell it to the one that prints the last lines."""
    if reason := getattr(node, "workeroutput", {}).get("kafka"):
        node.config.stash[_unavailable] = reason


@pytest.fixture(scope="session")
def kafka_distribution(pytestconfig: pytest.Config) -> Distribution:
    """Kafka's jars and Java, for tests that start brokers of their own."""
    try:
        distribution = fetched()
    except Unavailable as missing:
        pytestconfig.stash[_unavailable] = str(missing)
        if hasattr(pytestconfig, "workeroutput"):
            pytestconfig.workeroutput["kafka"] = str(missing)
        reason = f"NOT TESTED on Apache Kafka: {missing}"
    else:
        share_classes(distribution)
        return distribution
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_broker(kafka_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of `kafka` as the last test left it: for fixtures of a wider scope, which `wipe` it themselves."""
    with Broker(kafka_distribution, tmp_path_factory.mktemp("kafka")) as broker:
        broker.start()
        yield broker


@pytest.fixture
def kafka(kafka_broker: Broker) -> Broker:
    """One broker."""
    return renewed(kafka_broker)


@pytest.fixture(scope="module")
def _brokers(kafka_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(kafka_distribution, tmp_path_factory.mktemp("kafka-cluster")) as cluster:
        yield cluster


@pytest.fixture
def kafka_cluster(_brokers: Cluster) -> Cluster:
    """Three brokers, of which one may be lost."""
    _brokers.start()
    _brokers.wipe()
    return _brokers


@pytest.fixture(scope="module")
def _secure_broker(kafka_distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("kafka-secure")
    security = Security(issued(directory), user="rescind", password="correct-horse")
    with Broker(kafka_distribution, directory, security=security) as broker:
        broker.start()
        yield broker


@pytest.fixture
def secure_kafka(_secure_broker: Broker) -> Broker:
    """One broker with TLS and logins, see `Security`, beside its plain listener."""
    return renewed(_secure_broker)


def renewed(broker: Broker) -> Broker:
    """Running, and empty."""
    if not broker.running:
        broker.start()
    broker.wipe()
    return broker
