"""What makes a change to a directory outlast a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync(directory: Path) -> None:
    """Make durable which files a directory has. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
