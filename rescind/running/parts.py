"""The parts that processes are made of: the acting agents, the ledger with its agents, the gateway."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agents.alerting import HttpAndMail
from agents.app import GROUP, Parts, acting_app, recording_app
from agents.connectivity import Connectivity
from agents.disclosing import Follower, following
from agents.projection import Recorder
from agents.retrying import Backoff
from agents.webhooks import HttpSender
from gateway import Bounded, Context, Readiness, Turns, create_app, create_health_app, listening
from ledger import Disclosures, KeyStore, Ledger, LedgerReader
from rescind.running.credentials import veils_of
from rescind.running.places import bound
from rescind.trying import Trials
from streams.clock import Clock
from streams.errors import StorageUnusable
from streams.log import Log
from streams.sealing import Sealer
from streams.settings import Settings
from streams.topics import TOGGLES
from streams.tracing import Tracing
from streams.witness import Witness

#: Seconds that a request waits for the log. Clients, and what stands between, often give up after 30.
_APPEND_WITHIN = 10.0


@asynccontextmanager
async def _sending(settings: Settings) -> AsyncIterator[HttpSender]:
    private, networks = settings.allow_private_partners, settings.allowed_networks
    sender = HttpSender(settings.delivery_timeout, allow_private=private, networks=networks)
    try:
        yield sender
    finally:
        await sender.close()


@asynccontextmanager
async def acting(
    log: Log,
    sealer: Sealer,
    settings: Settings,
    clock: Clock,
    tracing: Tracing,
    connectivity: Connectivity,
    disclosures: Follower | None = None,
) -> AsyncIterator[Any]:
    """The app of consent, fan-out and delivery, not started. Without somebody who follows the disclosures it does so
    itself."""
    backoff = Backoff(settings.retry_base, settings.retry_cap)
    with ExitStack() as stack:
        known = disclosures or stack.enter_context(following(log, settings.worker_disclosures_path, clock))
        async with _sending(settings) as sender:
            yield acting_app(
                Parts(
                    log=log,
                    sealer=sealer,
                    sender=sender,
                    clock=clock,
                    backoff=backoff,
                    data_dir=settings.data_dir,
                    disclosures=known,
                    follows=disclosures is None,
                    disclosed=settings.deletion_targets == "disclosed",
                    tracing=tracing,
                    connectivity=connectivity,
                )
            )


@dataclass(frozen=True, slots=True)
class Recording:
    """The app that writes a ledger, not started, and what it writes."""

    app: Any
    ledger: Ledger
    disclosures: Follower


@asynccontextmanager
async def recording(log: Log, settings: Settings, witness: Witness, clock: Clock) -> AsyncIterator[Recording]:
    """The ledger of a data directory, and the index of disclosures beside it."""
    async with AsyncExitStack() as stack:
        ledger = Ledger.open(settings.ledger_path, log_start=log.start_offset, veils=veils_of(settings))
        stack.callback(ledger.close)
        await _belong_together(log, ledger)
        recorder = Recorder(ledger)
        stack.callback(recorder.close)
        alerts = HttpAndMail(settings.smtp, settings.delivery_timeout)
        stack.push_async_callback(alerts.close)
        followed = stack.enter_context(following(log, settings.disclosures_path, clock, setting_aside=True))
        app = recording_app(log, ledger, recorder, clock, settings, alerts, followed, witness)
        yield Recording(app, ledger, followed)


@asynccontextmanager
async def answering(
    log: Log,
    ledger: LedgerReader,
    disclosures: Disclosures,
    keys: KeyStore,
    sealer: Sealer,
    witness: Witness,
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[], Readiness],
    clock: Clock,
    tracing: Tracing,
) -> AsyncIterator[str]:
    """The gateway. Its URL."""
    async with _sending(settings) as sender:
        context = Context(
            settings=settings,
            ledger=ledger,
            disclosures=disclosures,
            keys=keys,
            appender=Bounded(log, _APPEND_WITHIN),
            sealer=sealer,
            clock=clock,
            new_id=lambda: str(uuid4()),
            ready=ready,
            registering=Turns(settings.data_dir / "registering.lock"),
            try_partner=Trials(sender, sealer, clock, settings.delivery_timeout).test,
            public_keys=witness.public,
            held_records=log.held_records,
            tracing=tracing,
            undecided=lambda: log.backlog(GROUP, TOGGLES.name),
            check_log=log.check_writable,
        )
        async with listening(create_app(context), listener) as url:
            yield url


@asynccontextmanager
async def health(
    host: str, port: int | None, ready: Callable[[], Readiness], logs: Sequence[Log]
) -> AsyncIterator[str | None]:
    """Answers of a process without a gateway to whoever asks for its health, also while it starts and has no log yet;
    none without a port. Its URL."""

    async def check_log() -> None:
        for log in logs:
            await log.check_writable()

    if port is None:
        yield None
        return
    with bound(host, port) as listener:
        async with listening(create_health_app(ready, check_log), listener) as url:
            yield url


async def _belong_together(log: Log, ledger: Ledger) -> None:
    """Refuse a log that is older than the ledger, as after a restored backup: the ledger would take what comes
    next for what it knows."""
    offsets = ledger.offsets()
    ends = [await log.end_offsets(topic) for topic in {tp.topic for tp in offsets}]
    if any(offsets.get(tp, 0) > end for each in ends for tp, end in each.items()):
        raise StorageUnusable(
            f"the ledger knows more than the log has, so the log is an older one: delete {ledger.path} and "
            "consent.sqlite beside it, each with its -wal and -shm, and they are rebuilt from the log"
        )
