"""Each process of the service: which parts it has, and in which order they start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from agents.app import GROUP
from agents.connectivity import MEMORY, Connectivity
from gateway import Readiness
from ledger import Disclosures, LedgerReader
from rescind.running.apps import readiness, started
from rescind.running.credentials import api_keys, first_keys, sealer_of, veils_of, witness_of
from rescind.running.parts import acting, answering, health, recording
from rescind.running.places import LEDGER, WORKER, bound, data_directory
from rescind.running.tracing import tracing
from streams.clock import Clock, utc_now
from streams.log import Log, opened
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Started:
    """What a person needs to know of a running process. Keys are shown when they are made, once."""

    url: str | None
    operator_key: str | None = None
    platform_key: str | None = None


#: A process that does its work, and a future that fails if a part of it does.
Running = tuple[Started, asyncio.Future[None]]


@asynccontextmanager
async def everything(settings: Settings, *, clock: Clock = utc_now) -> AsyncIterator[Running]:
    """All parts in one process."""
    async with _failing() as failure, AsyncExitStack() as stack:
        stack.enter_context(data_directory(settings, WORKER, LEDGER))
        listener = stack.enter_context(bound(settings.host, settings.port))
        log = await stack.enter_async_context(opened(settings))
        log.own(GROUP)
        spans = await stack.enter_async_context(tracing())
        sealer = sealer_of(settings)
        keys = stack.enter_context(api_keys(settings))
        witness = witness_of(settings)
        recorder = await stack.enter_async_context(recording(log, settings, witness, clock))
        connectivity = _connectivity(settings)
        actor = await stack.enter_async_context(
            acting(log, sealer, settings, clock, spans, connectivity, recorder.disclosures)
        )
        await stack.enter_async_context(started([actor, recorder.app], failure))
        # Now that each group has said what it reads.
        log.begin_upkeep(settings.retention)
        # Last: keys that a failed start makes would never be shown.
        operator, platform = first_keys(settings, keys, clock)
        ready = partial(readiness, [actor, recorder.app], failure, connectivity)
        known = (recorder.ledger, recorder.disclosures.index)
        url = await stack.enter_async_context(
            answering(log, *known, keys, sealer, witness, settings, listener, ready, clock, spans)
        )
        yield Started(url, operator, platform), failure


@asynccontextmanager
async def worker(
    settings: Settings, health_port: int | None = None, *, clock: Clock = utc_now
) -> AsyncIterator[Running]:
    """The acting agents."""
    async with _failing() as failure, AsyncExitStack() as stack:
        stack.enter_context(data_directory(settings, WORKER))
        apps: list[Any] = []
        logs: list[Log] = []
        connectivity = _connectivity(settings)
        ready = partial(readiness, apps, failure, connectivity)
        url = await stack.enter_async_context(health(settings.host, health_port, ready, logs))
        log = await stack.enter_async_context(opened(settings))
        logs.append(log)
        log.own(GROUP)
        spans = await stack.enter_async_context(tracing())
        actor = acting(log, sealer_of(settings), settings, clock, spans, connectivity)
        apps.append(await stack.enter_async_context(actor))
        await stack.enter_async_context(started(apps, failure))
        log.begin_upkeep(settings.retention)
        yield Started(url), failure


@asynccontextmanager
async def ledger(
    settings: Settings, health_port: int | None = None, *, clock: Clock = utc_now
) -> AsyncIterator[Running]:
    """The writer of a ledger."""
    async with _failing() as failure, AsyncExitStack() as stack:
        stack.enter_context(data_directory(settings, LEDGER))
        apps: list[Any] = []
        logs: list[Log] = []
        ready = partial(readiness, apps, failure)
        url = await stack.enter_async_context(health(settings.host, health_port, ready, logs))
        log = await stack.enter_async_context(opened(settings))
        logs.append(log)
        recorder = await stack.enter_async_context(recording(log, settings, witness_of(settings), clock))
        apps.append(recorder.app)
        await stack.enter_async_context(started(apps, failure))
        yield Started(url), failure


@asynccontextmanager
async def gateway(settings: Settings, *, clock: Clock = utc_now) -> AsyncIterator[Running]:
    """HTTP. It reads the ledger that another process writes in the same data directory, if there is one."""
    async with _failing() as failure, AsyncExitStack() as stack:
        stack.enter_context(data_directory(settings))
        listener = stack.enter_context(bound(settings.host, settings.port))
        log = await stack.enter_async_context(opened(settings))
        spans = await stack.enter_async_context(tracing())
        sealer = sealer_of(settings)
        keys = stack.enter_context(api_keys(settings))
        reader = LedgerReader(settings.ledger_path, log_start=log.start_offset, veils=veils_of(settings))
        stack.callback(reader.close)
        operator, platform = first_keys(settings, keys, clock)
        known = (reader, Disclosures(settings.disclosures_path))
        url = await stack.enter_async_context(
            answering(
                log,
                *known,
                keys,
                sealer,
                witness_of(settings),
                settings,
                listener,
                lambda: Readiness(ready=True),
                clock,
                spans,
            )
        )
        yield Started(url, operator, platform), failure


def _connectivity(settings: Settings) -> Connectivity:
    # A partner that is down may not be tried for so long.
    return Connectivity(memory=max(MEMORY, 2 * settings.retry_cap))


@asynccontextmanager
async def _failing() -> AsyncIterator[asyncio.Future[None]]:
    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        yield failure
    finally:
        failure.cancel()
