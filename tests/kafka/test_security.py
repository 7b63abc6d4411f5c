"""TLS and logins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaTimeoutError

from tests.kafka.broker import Broker
from tests.kafka.traffic import create, produce, stored


def login(broker: Broker) -> dict[str, Any]:
    assert broker.security is not None
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": broker.security.user,
        "sasl_plain_password": broker.security.password,
        "ssl_cafile": str(broker.security.certificates.authority),
    }


def certificate(broker: Broker) -> dict[str, Any]:
    assert broker.security is not None
    certificates = broker.security.certificates
    return {
        "security_protocol": "SSL",
        "ssl_cafile": str(certificates.authority),
        "ssl_certfile": str(certificates.client),
        "ssl_keyfile": str(certificates.client_key),
    }


def test_a_login_over_tls_works(secure_kafka: Broker) -> None:
    create(secure_kafka)
    produce(secure_kafka.addresses["SASL_SSL"], [b"a"], **login(secure_kafka))
    assert stored(secure_kafka.addresses["SASL_SSL"], **login(secure_kafka)) == [b"a"]


def test_a_wrong_password_fails(secure_kafka: Broker) -> None:
    refused("SASL_SSL", secure_kafka, {**login(secure_kafka), "sasl_plain_password": "wrong"})
    # The client tells only its own log, and gives up when its time is over.
    assert "due to invalid credentials with SASL mechanism SCRAM-SHA-512" in secure_kafka.log.read_text()


def test_a_client_certificate_works(secure_kafka: Broker) -> None:
    create(secure_kafka)
    produce(secure_kafka.addresses["SSL"], [b"a"], **certificate(secure_kafka))
    assert stored(secure_kafka.addresses["SSL"], **certificate(secure_kafka)) == [b"a"]


def test_without_a_client_certificate_it_fails(secure_kafka: Broker) -> None:
    ours = {"ssl_certfile", "ssl_keyfile"}
    refused("SSL", secure_kafka, {name: value for name, value in certificate(secure_kafka).items() if name not in ours})
    assert "(SSL handshake failed)" in secure_kafka.log.read_text()


def refused(protocol: str, broker: Broker, settings: Mapping[str, Any]) -> None:
    with pytest.raises(KafkaTimeoutError, match="Unable to bootstrap"):
        KafkaAdminClient(bootstrap_servers=broker.addresses[protocol], bootstrap_timeout_ms=1500, **settings)
