"""Keys of the service: 32 bytes in URL-safe base64 each, several with commas between; in a file, or from the
environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.fernet import Fernet

from streams.durable import sync
from streams.errors import StorageUnusable

_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
T = TypeVar("T")


def split(keys: str, what: str) -> list[str]:
    """Each of them, in their order. Raises `StorageUnusable`."""
    each = [key.strip() for key in keys.split(",")]
    # Not left to those who decode them: some read no further than to what is not base64, and lose what comes behind it.
    if not all(map(_KEY.fullmatch, each)):
        raise StorageUnusable(f"the {what} is not 32 bytes in URL-safe base64 (several stand with commas between)")
    return each


def from_file(path: Path, what: str, made_of: Callable[[str], T]) -> T:
    """What is made of the keys in a file; one (mode 0600) is made if there is none yet. Raises `StorageUnusable`."""
    try:
        if not path.exists():
            write(path)
        return made_of(path.read_text("ascii").strip())
    except OSError as error:
        raise StorageUnusable(f"cannot use the {what} {path}: {error.strerror}") from None
    except (UnicodeDecodeError, StorageUnusable):
        raise StorageUnusable(f"{path} holds no {what}: 32 bytes in URL-safe base64") from None


def write(path: Path) -> None:
    """Make a key. Whole or not at all, and durable before anything is sealed or signed with it: a lost key is a lost
    secret."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(Fernet.generate_key() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)
