"""The life of Faust apps: started and recovered together, watched, and stopped together in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agents.connectivity import Connectivity
from gateway import Readiness
from streams.errors import RescindError

log = logging.getLogger(__name__)

#: Seconds that one app may take to stop before it is abandoned. What it had not finished was not acknowledged, and
#: comes again.
_STOP_TIMEOUT = 2.0


class ServiceFailed(RescindError):
    """A part of the service stopped by itself."""


@asynccontextmanager
async def started(apps: Sequence[Any], failure: asyncio.Future[None]) -> AsyncIterator[None]:
    """Apps that do their work, for as long as the context lasts; `failure` fails when one of them stops."""
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


def readiness(
    apps: Sequence[Any], failure: asyncio.Future[None], connectivity: Connectivity | None = None
) -> Readiness:
    """`connectivity` is that of a process that delivers. Its troubles make it no less ready: toggles are taken, and
    notices wait."""
    reasons = [] if apps else ["it is starting"]
    reasons += [f"{app.conf.id} is recovering" for app in apps if app.rebalancing or not app.tables.actives_ready]
    reasons += [f"what {tp} says is taken again, for the table" for app in apps for tp in app.tables.behind]
    if failure.done() and not failure.cancelled() and failure.exception() is not None:
        reasons.append(str(failure.exception()))
    notes = () if connectivity is None else connectivity.troubles(asyncio.get_running_loop().time())
    return Readiness(ready=not reasons, reasons=tuple(reasons), notes=notes)


async def _recovered(apps: Sequence[Any], failure: asyncio.Future[None]) -> None:
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
