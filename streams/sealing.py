"""Secrets at rest: encrypted with a key that lies beside the data, or comes from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from streams.errors import RescindError, StorageUnusable


class SealBroken(RescindError):
    """A sealed secret was made with another key."""


class Sealer:
    """Encrypts and decrypts short secrets (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, key: str) -> None:
        try:
            self._fernet = Fernet(key)
        except ValueError:
            raise StorageUnusable("the sealing key is not 32 bytes in URL-safe base64") from None

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the key, or make one (mode 0600) if there is none yet. Raises `StorageUnusable`."""
        try:
            if not path.exists():
                _write_key(path)
            return cls(path.read_text("ascii").strip())
        except OSError as error:
            raise StorageUnusable(f"cannot use the sealing key {path}: {error.strerror}") from None
        except (UnicodeDecodeError, StorageUnusable):
            raise StorageUnusable(f"{path} holds no sealing key: 32 bytes in URL-safe base64") from None

    def seal(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealBroken("a partner's secret was sealed with another key") from None


def _write_key(path: Path) -> None:
    """Whole or not at all, and durable before anything is sealed with it: a lost key is a lost secret."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(Fernet.generate_key() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
