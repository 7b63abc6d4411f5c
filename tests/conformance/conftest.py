"""The engines that must pass the suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.embedded import Embedded
from tests.conformance.harness import Engine
from tests.conformance.kafka import Kafka
from tests.kafka.broker import Broker

ENGINES = {"embedded": pytest.param("embedded"), "kafka": pytest.param("kafka", marks=pytest.mark.kafka)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case runs on every engine, see `harness.only_on`."""
    if "engine" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only_on")
        wanted = ENGINES if only is None else [only.args[0]]
        metafunc.parametrize("engine", [ENGINES[name] for name in wanted], indirect=True)


@pytest.fixture
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "embedded":
        embedded = Embedded(tmp_path)
        yield embedded
        embedded.close()
    else:
        broker: Broker = request.getfixturevalue("kafka")
        async with Kafka(broker, tmp_path) as kafka:
            yield kafka


@pytest.fixture
async def kafka_engine(kafka: Broker, tmp_path: Path) -> AsyncIterator[Kafka]:
    """For what can only be asked of Kafka."""
    async with Kafka(kafka, tmp_path) as engine:
        yield engine
