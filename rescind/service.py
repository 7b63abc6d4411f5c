"""The service in one process: log, agents, ledger and gateway, started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from agents.app import GROUP, Parts, acting_app, recording_app
from agents.projection import Recorder
from agents.retrying import Backoff
from agents.webhooks import HttpSender
from gateway import Context, Readiness, create_app, listening
from ledger import KeyStore, Ledger, Role
from rescind.signals import ending
from streams.clock import Clock, utc_now
from streams.errors import LogInUse, RescindError, StorageUnusable
from streams.log import Log
from streams.sealing import Sealer
from streams.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that one part may take to stop before it is abandoned. What it had not finished was not
#: acknowledged, and comes again at the next start.
_STOP_TIMEOUT = 2.0


class ServiceFailed(RescindError):
    """A part of the service stopped by itself."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a person needs to know of a running service. Keys are shown when they are made, once."""

    url: str
    dashboard_url: str
    operator_key: str | None
    platform_key: str | None


async def serve(
    settings: Settings, *, announce: Callable[[Started], None] | None = None, until_stdin_ends: bool = False
) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; for a program that started it, also until that program is gone.

    Raises a `RescindError` when it cannot start, or when a part of it fails for good.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, *ending()):
        loop.add_signal_handler(number, stopping.set)
    if until_stdin_ends:
        _at_end_of(sys.stdin.fileno(), stopping.set)
    async with running(settings) as (started, failure):
        _tune_collector()
        if announce is not None:
            announce(started)
        stopped = asyncio.ensure_future(stopping.wait())
        futures: list[asyncio.Future[Any]] = [stopped, failure]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if failure.done():
            failure.result()


def _at_end_of(pipe: int, act: Callable[[], None]) -> None:
    """Act once the other end of a pipe is closed, which the kernel does however its owner died."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(pipe, 4096):
            loop.remove_reader(pipe)
            act()

    loop.add_reader(pipe, look)


def _tune_collector() -> None:
    """What start-up made stays, so the collector need not look at it again and again; and messages leave
    few cycles behind. Measured: a tenth of the time of a busy service."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@asynccontextmanager
async def running(settings: Settings, *, clock: Clock = utc_now) -> AsyncIterator[tuple[Started, asyncio.Future[None]]]:
    """The service for as long as the context lasts, and a future that fails if a part of it does."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_data_dir_and_port(settings))
        journal = Log(settings.log_url)
        stack.callback(journal.close)
        # Before anything is made: keys that a failed start makes would never be shown.
        journal.own(GROUP)
        sealer = Sealer(settings.sealing_key) if settings.sealing_key else Sealer.from_file(settings.sealing_path)
        keys = KeyStore.open(settings.keys_path)
        stack.callback(keys.close)
        operator_key, platform_key = _first_keys(keys, clock)
        ledger = Ledger.open(settings.ledger_path, log_start=journal.start_offset)
        stack.callback(ledger.close)
        await _belong_together(journal, ledger)
        recorder = Recorder(ledger)
        stack.callback(recorder.close)
        sender = HttpSender(settings.delivery_timeout, allow_private=settings.allow_private_partners)
        stack.push_async_callback(sender.close)
        backoff = Backoff(settings.retry_base, settings.retry_cap)
        parts = Parts(journal, sealer, sender, clock, backoff, settings.data_dir)
        failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        apps = [acting_app(parts), recording_app(parts, ledger, recorder)]
        await stack.enter_async_context(_faust(apps, failure))
        # Now that each group has said what it reads.
        journal.begin_upkeep(settings.retention)
        context = Context(
            settings=settings,
            ledger=ledger,
            keys=keys,
            appender=journal,
            sealer=sealer,
            clock=clock,
            new_id=lambda: str(uuid4()),
            held_records=journal.held_records,
            ready=lambda: _readiness(apps, failure),
        )
        url = await stack.enter_async_context(listening(create_app(context), listener))
        started = Started(url, f"{url}/dashboard", operator_key, platform_key)
        try:
            yield started, failure
        finally:
            failure.cancel()


@contextlib.contextmanager
def _data_dir_and_port(settings: Settings) -> Any:
    """Own the data directory and the port, or say who has them."""
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StorageUnusable(f"cannot write to the data directory {directory}: {error.strerror}") from None
    lock = FileLock(settings.lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LogInUse(f"another service is running on the data directory {directory}") from None
    try:
        with _bind(settings.host, settings.port) as listener:
            yield listener
    finally:
        lock.release()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RescindError(f"cannot listen on {host}:{port}: {reason}") from None


async def _belong_together(journal: Log, ledger: Ledger) -> None:
    """Refuse a log that is older than the ledger, as after a restored backup: the ledger would take what comes
    next for what it knows."""
    offsets = ledger.offsets()
    ends = [await journal.end_offsets(topic) for topic in {tp.topic for tp in offsets}]
    if any(offsets.get(tp, 0) > end for each in ends for tp, end in each.items()):
        raise StorageUnusable(
            f"the ledger knows more than the log has, so the log is an older one: delete {ledger.path} and "
            "consent.sqlite beside it, each with its -wal and -shm, and they are rebuilt from the log"
        )


def _first_keys(keys: KeyStore, clock: Clock) -> tuple[str | None, str | None]:
    if keys.list():
        return None, None
    _, operator = keys.create(Role.OPERATOR, clock(), label="made at the first start")
    _, platform = keys.create(Role.PLATFORM, clock(), label="made at the first start")
    return operator, platform


@asynccontextmanager
async def _faust(apps: list[Any], failure: asyncio.Future[None]) -> AsyncIterator[None]:
    """Faust apps, started and recovered together, and stopped together in bounded time."""
    watchers = []
    try:
        for app in apps:
            app.finalize()
            watchers.append(asyncio.ensure_future(_watch(app, failure)))
            await app.start()
        await _recovered(apps, failure)
        yield
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*(_stop(app) for app in apps))


async def _recovered(apps: list[Any], failure: asyncio.Future[None]) -> None:
    ready = asyncio.ensure_future(asyncio.gather(*(app.tables.recovery.completed.wait() for app in apps)))
    await asyncio.wait([ready, failure], return_when=asyncio.FIRST_COMPLETED)
    if failure.done():
        ready.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ready
        failure.result()


async def _stop(app: Any) -> None:
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await app.stop()
    except TimeoutError:
        log.warning("%s did not stop in %.0f s; what it left unfinished comes again", app.conf.id, _STOP_TIMEOUT)


async def _watch(app: Any, failure: asyncio.Future[None]) -> None:
    await app.wait_until_stopped()
    if not failure.done():
        reason = app.crash_reason
        said = str(reason) if isinstance(reason, RescindError) else repr(reason)
        failure.set_exception(ServiceFailed(f"the agents of {app.conf.id} stopped: {said}"))


def _readiness(apps: list[Any], failure: asyncio.Future[None]) -> Readiness:
    reasons = [f"{app.conf.id} is recovering" for app in apps if app.rebalancing or not app.tables.actives_ready]
    if failure.done() and not failure.cancelled() and failure.exception() is not None:
        reasons.append(str(failure.exception()))
    return Readiness(ready=not reasons, reasons=tuple(reasons))
