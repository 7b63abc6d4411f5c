"""Toggles to Kafka. The only module of the emitter that needs kafka-python, hence imported late."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from rescind.emitter.errors import NotEmitted, Trouble
from rescind.emitter.line import Emitted, Pending
from rescind.emitter.toggles import TOPIC
from streams.errors import InvalidInput

HEADERS = [("content-type", b"application/cloudevents+json")]
#: Seconds that a first connection, and then the topic's metadata, may take; both are tried again.
CONNECTING = 5.0
#: Milliseconds that one request may take. A longer one would outlast a broker's restart.
REQUEST = 10_000

#: What the promises of this module rest on, so that nobody sets it by the way.
OURS = frozenset(
    {
        "acks",
        "allow_auto_create_topics",
        "bootstrap_servers",
        "bootstrap_timeout_ms",
        "delivery_timeout_ms",
        "enable_idempotence",
        "kafka_client",
        "key_serializer",
        "max_block_ms",
        "partitioner",
        "retries",
        "transactional_id",
        "value_serializer",
    }
)


class Producing:
    """A `Carrier` to Kafka: idempotent, `acks=all`, by the subject as key.

    One batch is under way at a time, so order holds whatever fails. Within a batch kafka-python tries again
    until the deadline without ever writing twice; after a failure its producer is done with, since
    kafka-python 3.0 may keep one in a state that fails for ever (an error that is no transient one), or that
    answers nothing until the brokers are back.
    """

    most = 1000

    def __init__(
        self, settings: Mapping[str, Any], timeout: float, platform: str, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._timeout = timeout
        self._platform = platform
        self._clock = clock
        self._producer: _Producer | None = None

    def carry(self, batch: Sequence[Pending]) -> None:
        producer = self._producer = self._producer or self._connected()
        records: list[Any] = []
        trouble: Trouble | None = None
        for pending in batch:
            try:
                records.append(self._sent(producer, pending))
            except KafkaError as error:
                trouble = Trouble(f"Kafka takes no {TOPIC}: {_words(error)}")
                break
        # Those that were not sent stay unsettled, behind those that were.
        settled = [_settled(pending, record) for pending, record in zip(batch, records, strict=False)]
        if trouble is not None or not all(settled):
            self.close()
        if trouble is not None:
            raise trouble

    def stop(self) -> None:
        if self._producer is not None:
            self._producer.abandon()

    def close(self) -> None:
        if self._producer is not None:
            self._producer.end()
            self._producer = None

    def _connected(self) -> _Producer:
        chosen = {"reconnect_backoff_max_ms": 1000, "request_timeout_ms": REQUEST, "linger_ms": 0, **self._settings}
        # kafka-python allows no less. Deadlines are ours to keep.
        least = chosen["request_timeout_ms"] + chosen["linger_ms"]
        try:
            return _Producer.connected(
                **chosen,
                acks="all",
                enable_idempotence=True,
                bootstrap_timeout_ms=1000 * CONNECTING,
                max_block_ms=1000 * CONNECTING,
                delivery_timeout_ms=max(1000 * self._timeout, least),
            )
        except KafkaError as error:
            raise Trouble(f"Kafka is not reached: {_words(error)}") from None

    def _sent(self, producer: _Producer, pending: Pending) -> Any:
        toggle = pending.toggle
        event = toggle.event(self._platform, self._clock())
        value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        return producer.send(TOPIC, value, toggle.key, HEADERS)


class _Producer(KafkaProducer):
    """A producer that ends when we say so: by itself it would at the interpreter's exit, before our last flush."""

    @classmethod
    def connected(cls, **settings: Any) -> _Producer:
        clients = []

        def client(**configs: Any) -> KafkaNetClient:
            made = KafkaNetClient(**configs)
            # 3.0.12 does not pass the setting on. A topic made by the way would have the wrong partitions.
            made.cluster.config["allow_auto_create_topics"] = False
            clients.append(made)
            return made

        try:
            made = cls(kafka_client=client, **settings)
        except BaseException:
            for left in clients:
                left.close()
            raise
        made._unregister_cleanup()
        return made

    def abandon(self) -> None:
        """Fail soon what has no answer. From any thread."""
        self._sender.force_close()

    def end(self) -> None:
        """Nothing of it is left then. `close` alone gives up where records wait, and leaves its thread running."""
        self.abandon()
        self._sender.join()
        self.close(timeout=0)

    def __del__(self) -> None:
        """Nothing. kafka-python's would take the logger of its module from every other producer."""


def _settled(pending: Pending, record: Any) -> bool:
    try:
        metadata = record.get(pending.left)
    except KafkaError as error:
        pending.failed(NotEmitted(f"Kafka did not confirm it: {_words(error)}"))
        return False
    offset = metadata.offset if metadata.offset >= 0 else None
    pending.taken(Emitted(pending.toggle.id, metadata.topic, metadata.partition, offset))
    return True


def _words(error: KafkaError) -> str:
    return str(error) or type(error).__name__


def checked_settings(servers: str | Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `KafkaProducer` takes. Raises `InvalidInput`."""
    for name in settings:
        if name in OURS or name not in KafkaProducer.DEFAULT_CONFIG:
            why = "is not for you to choose" if name in OURS else "is no setting of KafkaProducer"
            raise InvalidInput(f"{name} {why}")
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"):
        file = settings.get(name)
        if file is not None and not Path(file).is_file():
            raise InvalidInput(f"{name}: there is no file {file}")
    return {**settings, "bootstrap_servers": servers_of(servers)}


def servers_of(given: str | Sequence[str]) -> list[str]:
    """The `host:port`s of `kafka://host[:port],host[:port]`, of the same without a scheme, or of a list of
    them. The port is 9092 by default. Raises `InvalidInput`."""
    hosts = given.removeprefix("kafka://").rstrip("/").split(",") if isinstance(given, str) else list(given)
    try:
        found = [urlsplit(f"//{host.strip()}") for host in hosts]
        valid = bool(found) and all(part.hostname and part.geturl() == f"//{part.netloc}" for part in found)
        servers = [f"{_bracketed(part.hostname or '')}:{part.port or 9092}" for part in found]
    except ValueError:
        valid = False
    if not valid or any("@" in host for host in hosts):
        raise InvalidInput(f"the brokers must be kafka://host:port, or several with commas between them, not {given!r}")
    return servers


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
