"""What a rebuild must not lose: what the log has no longer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger import Entry, Ledger
from rescind.running.rebuilding import rebuild
from streams.cloudevents import Envelope
from streams.embedded.log import EmbeddedLog
from streams.errors import InvalidInput
from streams.events import ConsentToggled
from streams.kinds import Choice
from streams.records import record
from streams.settings import Settings
from streams.topics import TOGGLES

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_what_the_log_has_retired_is_forgotten_only_if_somebody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path)
    log = EmbeddedLog(settings.log_url)
    toggles = [
        Envelope(f"t{n}", NOW, ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOW))
        for n in range(3)
    ]
    positions = await log.append([record(TOGGLES.name, toggle) for toggle in toggles])
    log.close()
    ledger = Ledger.open(settings.ledger_path)
    name = ledger.ledger_id
    ledger.apply([Entry(*at, NOW, toggle) for at, toggle in zip(positions, toggles, strict=True)])
    ledger.close()
    told: dict[str, int] = {}
    monkeypatch.setattr(EmbeddedLog, "start_offset", lambda self, tp: 2)
    with pytest.raises(InvalidInput, match=r"begins at 2.*--forget-retired"):
        await rebuild(settings, lambda: NOW, told.__setitem__)
    assert told == {}
    await rebuild(settings, lambda: NOW, told.__setitem__, forget=True)
    assert told[TOGGLES.name] == 3
    ledger = Ledger.open(settings.ledger_path)
    assert ledger.ledger_id == name, "it goes on where its consumer group has committed"
    assert ledger.totals().toggles == 3
    await asyncio.to_thread(ledger.close)
