"""Small disks for tests: real ones, where they may be mounted."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(options: str) -> Iterator[Path]:
    """A small file system of our own. Skips where that is not permitted."""
    directory = Path(tempfile.mkdtemp(prefix="rescind-mount-"))
    command = shutil.which("mount")
    done = (
        subprocess.run([command, "-t", "tmpfs", "-o", options, "none", str(directory)], capture_output=True, text=True)
        if command
        else None
    )
    if done is None or done.returncode != 0:
        directory.rmdir()
        reason = "there is no mount command" if done is None else done.stderr.strip()
        pytest.skip(f"NOT TESTED on a real small disk: it cannot be mounted here ({reason})")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        directory.rmdir()


def fill(directory: Path) -> Path:
    """Take all the room there is."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast
