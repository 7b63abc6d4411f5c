"""Secrets at rest: encrypted with a key that lies beside the data, or comes from the environment.

To replace that key, put a new one before it, with a comma: the first seals, and every one opens. When each partner's
secret was rotated and the overlaps are over, nothing is sealed with the old one any more.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from streams import keyfiles
from streams.errors import RescindError


class SealBroken(RescindError):
    """A sealed secret was made with another key."""


class Sealer:
    """Encrypts and decrypts short secrets (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, keys: str) -> None:
        each = keyfiles.split(keys, "sealing key")
        self._keys = [base64.urlsafe_b64decode(key) for key in each]
        self._fernet = MultiFernet([Fernet(key) for key in each])
        # Of few partners each secret is needed again and again, a thousand times a second.
        self._opened = lru_cache(maxsize=1024)(self._open)

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the key, or make one (mode 0600) if there is none yet. Raises `StorageUnusable`."""
        return keyfiles.from_file(path, "sealing key", cls)

    def seal(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises `SealBroken`."""
        return self._opened(sealed)

    def derived(self, purpose: str, length: int) -> list[bytes]:
        """Secrets for another purpose, of so many bytes: one a key, in their order (HKDF, RFC 5869)."""
        info = f"rescind {purpose}".encode()
        return [HKDF(SHA256(), length, salt=None, info=info).derive(key) for key in self._keys]

    def _open(self, sealed: str) -> str:
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealBroken(
                "a partner's secret was sealed with another key: rotate it, or bring that key back"
            ) from None
