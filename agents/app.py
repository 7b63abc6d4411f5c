"""The two Faust apps of a service: one acts, one records. Each is a consumer group of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.consent import add_consent
from agents.delivery import Courier, add_delivery
from agents.directory import Directory
from agents.fanout import add_fanout
from agents.projection import Recorder, add_projection
from agents.retrying import Backoff
from agents.webhooks import Sender
from ledger import Ledger
from streams.clock import Clock
from streams.log import Log
from streams.sealing import Sealer

GROUP = "rescind"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the agents work with."""

    log: Log
    sealer: Sealer
    sender: Sender
    clock: Clock
    backoff: Backoff
    data_dir: Path


def acting_app(parts: Parts) -> Any:
    """Consent, fan-out and delivery."""
    app = parts.log.new_app(GROUP, parts.data_dir)
    directory = Directory(parts.log)
    directory.attach(app)
    courier = Courier(parts.log, directory, parts.sender, parts.sealer, parts.clock, parts.backoff)
    add_consent(app, parts.log, parts.clock)
    add_fanout(app, parts.log, directory, parts.clock)
    add_delivery(app, parts.log, courier, parts.clock)
    return app


def recording_app(parts: Parts, ledger: Ledger, recorder: Recorder) -> Any:
    """Projection and acknowledgement, for one ledger file."""
    app = parts.log.new_app(f"{GROUP}-ledger-{ledger.ledger_id}", parts.data_dir)
    add_projection(app, parts.log, recorder, parts.clock)
    return app
