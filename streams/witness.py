"""The key that signs manifests: Ed25519 (RFC 8032), beside the data or from the environment.

It is 32 bytes in URL-safe base64, as the sealing key is. To replace it, put a new one before it, with a comma: the
first signs, and the public keys of all are given out, so that what the old one signed can still be checked.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams import keyfiles
from streams.errors import InvalidInput


class PublicKey(NamedTuple):
    """What checks a signature. `key` is the 32 bytes of RFC 8032 section 5.1.5 in base64."""

    key: str

    @classmethod
    def of(cls, text: str) -> PublicKey:
        """From text. Raises `InvalidInput`."""
        try:
            raw = base64.b64decode(text.strip(), validate=True)
            Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise InvalidInput("a public key is 32 bytes in base64 (Ed25519)") from None
        return cls(base64.b64encode(raw).decode())

    @property
    def id(self) -> str:
        """Names the key in a manifest: the first 16 digits of its SHA-256."""
        return hashlib.sha256(self._raw).hexdigest()[:16]

    @property
    def pem(self) -> str:
        """For other tools: `openssl pkeyutl -verify -pubin -rawin`, say."""
        return self._loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def check(self, signature: bytes, content: bytes) -> None:
        """Raises `cryptography.exceptions.InvalidSignature`."""
        self._loaded.verify(signature, content)

    @property
    def _raw(self) -> bytes:
        return base64.b64decode(self.key)

    @property
    def _loaded(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self._raw)


class Witness:
    """Signs, with the first of its keys. All processes of a service need the same ones."""

    def __init__(self, keys: str) -> None:
        each = keyfiles.split(keys, "signing key")
        self._private = [Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(key)) for key in each]
        #: The one that signs, and those that did.
        self.public = tuple(
            PublicKey(base64.b64encode(key.public_key().public_bytes_raw()).decode()) for key in self._private
        )

    @classmethod
    def from_file(cls, path: Path) -> Witness:
        """Read the key, or make one (mode 0600) if there is none yet. Raises `StorageUnusable`."""
        return keyfiles.from_file(path, "signing key", cls)

    def sign(self, content: bytes) -> bytes:
        """64 bytes; the same content always gives the same ones."""
        return self._private[0].sign(content)
