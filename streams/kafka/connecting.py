"""How to reach a cluster, for each of the client libraries that do."""

from __future__ import annotations

import ssl
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import faust

from streams.errors import InvalidInput, StorageUnusable
from streams.settings import KafkaSettings


class Cluster:
    """Where the brokers are, and what they want to see. Raises `InvalidInput`."""

    def __init__(self, url: str, settings: KafkaSettings) -> None:
        self.servers = servers_of(url)
        self._settings = settings
        if self._sasl and not (settings.sasl_username and settings.sasl_password):
            raise InvalidInput(
                f"{settings.security_protocol} needs RESCIND_KAFKA_SASL_USERNAME and RESCIND_KAFKA_SASL_PASSWORD"
            )

    @property
    def named(self) -> str:
        """For people."""
        return ",".join(self.servers)

    @property
    def _sasl(self) -> bool:
        return self._settings.security_protocol.startswith("SASL")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """Verifies the brokers' names. None without TLS. Raises `StorageUnusable`."""
        chosen = self._settings
        if not chosen.security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=chosen.ssl_cafile)
            if chosen.ssl_certfile is not None:
                context.load_cert_chain(chosen.ssl_certfile, chosen.ssl_keyfile)
        except OSError as error:  # also what `ssl` raises
            raise StorageUnusable(f"cannot use the certificates for Kafka: {error.strerror or error}") from None
        return context

    def faust(self) -> dict[str, Any]:
        """What a Faust app takes."""
        settings: dict[str, Any] = {"broker": [f"kafka://{server}" for server in self.servers]}
        chosen = self._settings
        if self._sasl:
            settings["broker_credentials"] = faust.SASLCredentials(
                username=chosen.sasl_username,
                password=chosen.sasl_password,
                mechanism=chosen.sasl_mechanism,
                ssl_context=self.ssl_context,
            )
        elif self.ssl_context is not None:
            settings["broker_credentials"] = faust.SSLCredentials(self.ssl_context)
        return settings

    def clients(self) -> dict[str, Any]:
        """What every client of aiokafka takes, and of kafka-python: they name it alike."""
        chosen = self._settings
        found: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": chosen.security_protocol,
        }
        if self.ssl_context is not None:
            found["ssl_context"] = self.ssl_context
        if self._sasl:
            found |= {
                "sasl_mechanism": chosen.sasl_mechanism,
                "sasl_plain_username": chosen.sasl_username,
                "sasl_plain_password": chosen.sasl_password,
            }
        return found


def servers_of(url: str) -> tuple[str, ...]:
    """The `host:port`s of `kafka://host[:port],host[:port]`; the port is 9092 by default. Raises
    `InvalidInput`."""
    scheme, _, rest = url.partition("://")
    hosts = rest.rstrip("/").split(",")
    try:
        found = [urlsplit(f"//{host.strip()}") for host in hosts]
        valid = all(part.hostname and not part.path and not part.query and "@" not in part.netloc for part in found)
        servers = tuple(f"{_bracketed(part.hostname or '')}:{part.port or 9092}" for part in found)
    except ValueError:
        valid = False
    if scheme != "kafka" or not valid:
        raise InvalidInput(
            f"RESCIND_LOG must be kafka://host:port, or several with commas between them, not {url!r}; what else the "
            "brokers want stands in RESCIND_KAFKA_..."
        )
    return servers


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
