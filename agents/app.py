"""The two Faust apps of a service: one acts, one records. Each is a consumer group of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from agents.alerting import Alerts
from agents.attempts import Attempts
from agents.connectivity import Connectivity, report
from agents.consent import add_consent
from agents.deadlines import Deadlines, add_deadlines
from agents.delivery import Courier
from agents.directory import Directory
from agents.disclosing import Follower
from agents.fanout import add_fanout
from agents.folding import FOLD_EVERY, Folder, add_folding
from agents.lanes import add_delivery
from agents.projection import Recorder, add_projection
from agents.retries import Retries, add_retries
from agents.retrying import Backoff
from agents.settling import Settlement
from agents.webhooks import Sender
from ledger import Ledger
from streams.clock import Clock
from streams.log import Log
from streams.sealing import Sealer
from streams.settings import Settings
from streams.tracing import OFF, Tracing
from streams.witness import Witness

GROUP = "rescind"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the acting agents work with."""

    log: Log
    sealer: Sealer
    sender: Sender
    clock: Clock
    backoff: Backoff
    data_dir: Path
    disclosures: Follower
    #: Does nobody else of this process follow them?
    follows: bool = True
    #: Is deletion asked only of those who were given something?
    disclosed: bool = False
    tracing: Tracing = OFF
    #: Whether partners are away or this host is; of all lanes of the process together.
    connectivity: Connectivity = field(default_factory=Connectivity)


def acting_app(parts: Parts) -> Any:
    """Consent, fan-out and delivery."""
    app = parts.log.new_app(GROUP, parts.data_dir)
    directory = Directory(parts.log)

    @app.task
    async def follow_partners() -> None:
        await directory.run(parts.log)

    @app.task
    async def report_own_trouble() -> None:
        await report(parts.connectivity)

    if parts.follows:

        @app.task
        async def follow_disclosures() -> None:
            await parts.disclosures.run(parts.log)

    attempts = Attempts(
        parts.log,
        directory,
        parts.sender,
        parts.sealer,
        parts.clock,
        parts.backoff,
        parts.tracing,
        parts.connectivity,
    )
    add_consent(app, parts.log, parts.clock, parts.tracing)
    add_fanout(
        app,
        parts.log,
        directory,
        parts.clock,
        parts.disclosures,
        disclosed=parts.disclosed,
        tracing=parts.tracing,
    )
    add_delivery(app, parts.log, Courier(attempts), parts.clock)
    return app


def recording_app(
    log: Log,
    ledger: Ledger,
    recorder: Recorder,
    clock: Clock,
    settings: Settings,
    alerts: Alerts,
    disclosures: Follower,
    witness: Witness,
) -> Any:
    """Projection and acknowledgement, for one ledger file, what it tells of deadlines, what it tries again, and the
    exports that it settles."""
    app = log.new_app(f"{GROUP}-ledger-{ledger.ledger_id}", settings.data_dir)
    add_projection(app, log, recorder, clock)
    settlement = Settlement(log, ledger, disclosures, witness, clock)

    @app.task
    async def follow_disclosures() -> None:
        await disclosures.run(log)

    @app.task
    async def settle_exports() -> None:
        await settlement.run()

    deadlines = Deadlines(log, ledger, clock, lambda: str(uuid4()), alerts)
    add_deadlines(app, deadlines, settings.escalations, settings.deadline_interval, settings.escalation_interval)
    add_retries(app, Retries(log, ledger, clock), settings.deadline_interval)
    if settings.ledger_archive_after_days is not None:
        age = timedelta(days=settings.ledger_archive_after_days)
        add_folding(app, Folder(log, ledger, recorder, clock, age), FOLD_EVERY)
    return app
