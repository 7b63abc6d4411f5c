"""Several brokers on loopback, each of them a controller too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka.admin import KafkaAdminClient

from tests.kafka.broker import PATIENCE, Broker, Place
from tests.kafka.distribution import Distribution
from tests.kafka.wiping import wipe
from tests.support.ports import HOST, free_ports


class Cluster:
    """Topics have a replica on every broker unless they say otherwise, and take a record with `acks=all` when
    more than half of the replicas have it. With three brokers, one may be lost."""

    def __init__(
        self, distribution: Distribution, directory: Path, size: int = 3, *, settings: Mapping[str, str] | None = None
    ) -> None:
        ports = enumerate(free_ports(size), start=1)
        controllers = {node: f"{HOST}:{port}" for node, port in ports}
        self.brokers = [
            Broker(distribution, directory / f"node-{node}", place=Place(node, controllers), settings=settings)
            for node in controllers
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            for broker in self.brokers:
                stack.push(broker)

    @property
    def address(self) -> str:
        """All brokers', with commas between."""
        return ",".join(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Start the brokers that do not run, and return when all serve and every replica is in sync."""
        for broker in self.brokers:
            if not broker.running:
                broker.launch()
        for broker in self.brokers:
            broker.wait()
        self.wait_until_in_sync()

    def wait_until_in_sync(self) -> None:
        """Return when every partition is led, and all its replicas have all of it."""
        deadline = time.monotonic() + PATIENCE
        with self.admin() as admin:
            while behind := _behind(admin):
                assert time.monotonic() < deadline, f"these do not come in sync: {behind}"
                time.sleep(0.05)

    def leader(self, topic: str, partition: int = 0) -> Broker:
        """The broker that leads a partition."""
        with self.admin() as admin:
            (described,) = admin.describe_topics([topic])
        leaders = {each["partition_index"]: each["leader_id"] for each in described["partitions"]}
        return next(broker for broker in self.brokers if broker.node == leaders[partition])

    def admin(self, **settings: Any) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.address, **settings)

    def wipe(self) -> None:
        """Delete all topics and consumer groups."""
        with self.admin() as admin:
            wipe(admin)

    def tool(self, name: str, *arguments: str, stdin: str = "") -> str:
        """What one of Kafka's own tools prints, see `Broker.tool`."""
        return next(broker for broker in self.brokers if broker.running).tool(name, *arguments, stdin=stdin)


def _behind(admin: KafkaAdminClient) -> list[str]:
    return [
        f"{topic['name']}-{partition['partition_index']}"
        for topic in admin.describe_topics()
        for partition in topic["partitions"]
        if partition["leader_id"] < 0 or set(partition["isr_nodes"]) != set(partition["replica_nodes"])
    ]
