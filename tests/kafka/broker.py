"""One broker of a real Apache Kafka, which is its own controller too.

with Broker(distribution, directory) as broker:
    broker.start()
    producer = KafkaProducer(bootstrap_servers=broker.address)
    broker.kill()
    broker.start()  # the same data, the same ports
    print(broker.tool("kafka-consumer-groups", "--describe", "--all-groups"))
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from tests.kafka.certificates import Certificates
from tests.kafka.distribution import QUICK, TOOL, TOOLS, Distribution
from tests.kafka.processes import KafkaFailed, listens, said, spawned
from tests.kafka.wiping import wipe
from tests.support.ports import HOST, free_ports

#: Seconds that a start, or a clean stop, may take before it counts as failed.
PATIENCE = 60.0
#: What Java exits with when SIGTERM ends it.
TERMINATED = 128 + signal.SIGTERM

_CLUSTER_ID = "cmVzY2luZCdzIHRlc3RzIQ"

_LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    # A thousand lines of every setting there is.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)

_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    # A group forms as soon as its first member is there: no test waits three seconds for more.
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "2",
    "log.segment.delete.delay.ms": "1000",
    # What is due for compaction or retention is seen to at once: by default within 15 s and 5 min.
    "log.cleaner.backoff.ms": "100",
    "log.retention.check.interval.ms": "200",
    "log.initial.task.delay.ms": "1000",
    # A killed broker is missed, and may come back, when its session is over: by default after 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "300",
}


@dataclass(frozen=True, slots=True)
class Security:
    """Two more listeners: SASL_SSL, for a user known by SCRAM-SHA-512, and SSL, for whoever has a certificate."""

    certificates: Certificates
    user: str
    password: str

    def settings(self) -> dict[str, str]:
        return {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
        }

    def scram(self) -> str:
        return f"SCRAM-SHA-512=[name={self.user},password={self.password}]"


@dataclass(frozen=True, slots=True)
class Place:
    """A node's place in its cluster: its id, and the address of every node's controller by node id."""

    node: int
    controllers: Mapping[int, str]

    def settings(self) -> dict[str, str]:
        size = len(self.controllers)
        replicas, enough = str(size), str(size // 2 + 1)
        return {
            "node.id": str(self.node),
            "controller.quorum.voters": ",".join(f"{node}@{address}" for node, address in self.controllers.items()),
            "default.replication.factor": replicas,
            "min.insync.replicas": enough,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": enough,
        }


class Broker:
    """A broker with its data, settings and log (`broker.log`) in a directory of its own.

    `settings` go over those of this module; `addresses` are by protocol. Leaving the context ends it and deletes
    its data; the log stays.
    """

    def __init__(
        self,
        distribution: Distribution,
        directory: Path,
        *,
        place: Place | None = None,
        security: Security | None = None,
        settings: Mapping[str, str] | None = None,
        jvm: Iterable[str] = QUICK,
    ) -> None:
        place = place or Place(1, {1: f"{HOST}:{free_ports(1)[0]}"})
        protocols = ["PLAINTEXT", "SASL_SSL", "SSL"] if security else ["PLAINTEXT"]
        ports = free_ports(len(protocols))
        self.addresses = {name: f"{HOST}:{port}" for name, port in zip(protocols, ports, strict=True)}
        self.node = place.node
        self.security = security
        self.log = directory / "broker.log"
        self._distribution = distribution
        self._ports = ports
        self._data = directory / "data"
        self._properties = directory / "server.properties"
        self._jvm = (*jvm, *_LOGGING)
        self._process: subprocess.Popen[bytes] | None = None
        listeners = {**self.addresses, "CONTROLLER": place.controllers[place.node]}
        written = {
            **_SETTINGS,
            **place.settings(),
            **(security.settings() if security else {}),
            "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
            "log.dirs": str(self._data),
            **(settings or {}),
        }
        directory.mkdir(parents=True, exist_ok=True)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in written.items()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()
        shutil.rmtree(self._data, ignore_errors=True)

    @property
    def address(self) -> str:
        """Where it speaks in plain text."""
        return self.addresses["PLAINTEXT"]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._started.pid

    def start(self) -> None:
        """Return when it serves. After `stop` or `kill` it has the same data and ports. Raises `KafkaFailed`."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the process, and do not wait until it serves."""
        assert not self.running, "it runs already"
        if not self._data.exists():
            self._format()
        command = self._distribution.command("kafka.Kafka", str(self._properties), jvm=self._jvm)
        self._process = spawned(command, self.log)

    def wait(self) -> None:
        """Return when it answers and counts itself among the cluster's live brokers. Raises `KafkaFailed`."""
        deadline = time.monotonic() + PATIENCE
        while not self._serves():
            if not self.running:
                raise KafkaFailed(f"the broker ended:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise KafkaFailed(f"the broker does not serve after {PATIENCE:.0f} s:\n{self._last_words()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as an operator would (SIGTERM): it hands over what it leads. Raises `KafkaFailed`."""
        try:
            code = self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            raise KafkaFailed(f"the broker does not stop after {PATIENCE:.0f} s:\n{self._last_words()}") from None
        if code != TERMINATED:
            raise KafkaFailed(f"the broker exited with {code}:\n{self._last_words()}")

    def kill(self) -> None:
        """End it at once (SIGKILL). What it wrote is in the kernel's hands, and stays."""
        self._end(signal.SIGKILL)

    def admin(self, **settings: Any) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.address, **settings)

    def wipe(self) -> None:
        """Delete all topics and consumer groups."""
        with self.admin() as admin:
            wipe(admin)

    def tool(self, name: str, *arguments: str, stdin: str = "") -> str:
        """What one of Kafka's own tools (`TOOLS`) prints about this broker. Raises `KafkaFailed`."""
        return self._say(TOOLS[name], "--bootstrap-server", self.address, *arguments, stdin=stdin)

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process

    def _format(self) -> None:
        users = ("--add-scram", self.security.scram()) if self.security else ()
        described = ("--cluster-id", _CLUSTER_ID, "--config", str(self._properties))
        self._say("kafka.tools.StorageTool", "format", *described, *users)

    def _say(self, main: str, *arguments: str, stdin: str = "") -> str:
        return said(self._distribution.command(main, *arguments, jvm=TOOL), stdin)

    def _serves(self) -> bool:
        if not all(listens(port) for port in self._ports):
            return False
        try:
            with self.admin(bootstrap_timeout_ms=1000) as admin:
                brokers = admin.describe_cluster()["brokers"]
        except KafkaError:
            return False
        return any(broker["broker_id"] == self.node and not broker["is_fenced"] for broker in brokers)

    def _end(self, number: signal.Signals) -> int:
        self._started.send_signal(number)
        return self._started.wait(PATIENCE)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
