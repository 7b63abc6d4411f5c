"""What a process needs of its machine: a data directory, alone in its role there, and a port."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from streams.embedded.inspection import holder
from streams.embedded.opening import path_of
from streams.errors import LogInUse, RescindError, StorageUnusable
from streams.settings import Settings

#: What one process at a time does on a data directory: the agents with their tables, and the ledger's writer.
WORKER, LEDGER = "worker", "ledger"
ROLES = (WORKER, LEDGER)
#: Seconds to wait for a role: `rescind doctor` holds its lock for an instant while it looks.
_INSTANT = 0.3
#: Seconds to wait for another process that is making a file.
_MAKING = 30.0


def lock_path(directory: Path, role: str) -> Path:
    """Held by the process that has a role on a data directory; its id stands in it."""
    return directory / f"{role}.lock"


@contextlib.contextmanager
def data_directory(settings: Settings, *roles: str) -> Iterator[None]:
    """A data directory that can be written, with these roles on it. Raises `StorageUnusable` and `LogInUse`."""
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StorageUnusable(f"cannot write to the data directory {directory}: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        for role in roles:
            stack.enter_context(_alone(directory, role))
        yield


@contextlib.contextmanager
def _alone(directory: Path, role: str) -> Iterator[None]:
    path = lock_path(directory, role)
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire(timeout=_INSTANT)
    except Timeout:
        who = holder(path) or "another process"
        raise LogInUse(
            f"another service ({who}) is the {role} of the data directory {directory}: stop it, or give this one a "
            "data directory of its own (--data or RESCIND_DATA_DIR)"
        ) from None
    except OSError as error:
        raise StorageUnusable(f"cannot lock {path}: {error.strerror}") from None
    try:
        # For people; the lock itself is the kernel's.
        with contextlib.suppress(OSError):
            path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def making(path: Path) -> Iterator[None]:
    """One process at a time makes what is to be at a path; the next ones find it. Raises `StorageUnusable`."""
    try:
        lock = FileLock(path.with_name(path.name + ".lock"), mode=0o600).acquire(timeout=_MAKING)
    except Timeout:
        raise StorageUnusable(f"another process has been making {path} for {_MAKING:.0f} s") from None
    except OSError as error:
        raise StorageUnusable(f"cannot lock {path}: {error.strerror}") from None
    with lock:
        yield


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises `RescindError`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RescindError(f"cannot listen on {host}:{port}: {reason}") from None
    with listener:
        yield listener


def log_file(settings: Settings) -> Path | None:
    """Where the log lies, if that is on this machine; None for one that other hosts may share."""
    return path_of(settings.log_url) if urlsplit(settings.log_url).scheme == "sqlite" else None


def check_log(settings: Settings) -> None:
    """Raises `StorageUnusable` if the log is a file of this machine's, and not there. Looking must not make it: in a
    wrong directory it would be litter."""
    file = log_file(settings)
    if file is not None and not file.exists():
        raise StorageUnusable(f"there is no log {file}; is it the service's data directory?")
