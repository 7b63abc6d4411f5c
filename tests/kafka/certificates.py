"""Certificates for a broker on loopback and for its clients, made anew by an authority of their own."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_VALID = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. `broker` holds key and certificate, as Kafka wants them."""

    authority: Path
    broker: Path
    client: Path
    client_key: Path


def issued(directory: Path) -> Certificates:
    """New ones in a directory, valid for a day, the broker's for `localhost` and `127.0.0.1`."""
    made = Certificates(*(directory / f"{name}.pem" for name in ("authority", "broker", "client", "client-key")))
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, "authority", authority_key)
    made.authority.write_bytes(authority)

    broker_key = ec.generate_private_key(ec.SECP256R1())
    made.broker.write_bytes(_pem(broker_key) + _certificate("localhost", broker_key, "authority", authority_key))

    client_key = ec.generate_private_key(ec.SECP256R1())
    made.client.write_bytes(_certificate("client", client_key, "authority", authority_key))
    made.client_key.write_bytes(_pem(client_key))
    return made


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    loopback = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuers = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(loopback), critical=False)
        .add_extension(own, critical=False)
        .add_extension(issuers, critical=False)
        .sign(issuer_key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
