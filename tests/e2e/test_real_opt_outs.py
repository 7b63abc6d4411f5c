"""The whole real file through the whole service, left alone and killed again and again: the ledger, the
partners and an independent model tell the same story."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rescind.client import Client
from rescind.importing import Import, Options
from rescind.simulated import Behaviour
from tests.e2e.model import FILE, Model, model_of
from tests.e2e.world import Cast, World, all_settled, query, world

CAST = {
    "prompt": Cast(("ccbot", "gptbot", "chatgpt-user", "oai-searchbot", "cohere-ai")),
    "slow": Cast(("ccbot", "google-extended", "amazonbot", "petalbot", "bytespider"), Behaviour(complete_after=0.7)),
    "flaky": Cast(("ccbot", "anthropic-ai", "claudebot", "claude-web", "youbot"), Behaviour(refuse_one_of=3)),
    "away": Cast(("ccbot", "facebookbot", "omgili", "omgilibot", "ai2bot"), Behaviour(away_for=4.0)),
    "single": Cast(("ccbot", "perplexitybot", "diffbot", "timpibot", "meta-externalagent"), batch_size=1),
}
KILLS = 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(FILE, tmp_path / FILE.name))


@pytest.fixture
def model(file: Path) -> Model:
    return model_of(file, {partner: part.purposes for partner, part in CAST.items()})


def test_the_model_is_not_trivial(model: Model) -> None:
    assert model.rows == 952
    assert len(model.choices) == 823
    assert {notice[3] for notice in model.notices} == {"erase", "resume"}
    assert set(model.by_partner()) == set(CAST)
    assert set(model.notices.values()) == {1}


async def test_every_opt_out_reaches_every_partner_in_scope(tmp_path: Path, file: Path, model: Model) -> None:
    async with world(tmp_path / "data") as here:
        await here.register(CAST)
        with here.platform() as client:
            summary = await asyncio.to_thread(Import(file, client, Options()).run)
        assert (summary.accepted, summary.bad) == (952, [])
        await here.until(all_settled(model.by_partner()))
        await check_stories(here, model)
        # Nothing went wrong, so nothing was sent twice.
        for partner in here.partners.values():
            assert sum(len(carried) for carried in partner.seen.webhooks.values()) == len(partner.seen.notices)


async def test_every_opt_out_survives_ten_kills(tmp_path: Path, file: Path, model: Model) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown by pytest if the test fails
    chance = random.Random(seed)
    async with world(tmp_path / "data") as here:
        await here.register(CAST)
        gate = _Gate(KILLS + 1)
        with here.platform() as client:
            gate.client = client
            options = Options(batch=10, retry_for=60.0)
            importing = asyncio.create_task(asyncio.to_thread(Import(file, gate, options).run))
            try:
                for _ in range(KILLS):
                    gate.open()
                    # Not a wait for something: any moment is as good as any other for a power cut.
                    await asyncio.sleep(chance.uniform(0.0, 0.8))
                    await here.service.kill()
                    if chance.random() < 0.3:
                        await here.die_while_starting(chance.uniform(0.0, 2.0))
                    await here.start()
            finally:
                gate.open(everything=True)
            summary = await importing
        assert (summary.accepted, summary.bad) == (952, [])
        await here.until(all_settled(model.by_partner()))
        await check_stories(here, model)
        assert gate.accepted <= _ledger(here, "SELECT id FROM toggles")


async def check_stories(here: World, model: Model) -> None:
    """Stop the service, and compare what the ledger's file holds with the model and the partners."""
    with here.operator() as client:
        totals = (await asyncio.to_thread(client.lag))["totals"]
    assert await here.service.stop() == 0
    assert (totals["toggles"], totals["poisoned"], totals["open"]) == (model.rows, 0, 0)
    assert totals["notices"] == model.notices.total()
    assert totals["opted_out"] == sum(choice == "opt_out" for choice in model.choices.values())

    states = query(here.data_dir / "ledger.sqlite", "SELECT subject, purpose, choice FROM consents")
    assert {(subject, purpose): choice for subject, purpose, choice in states} == model.choices

    held = query(
        here.data_dir / "ledger.sqlite",
        """SELECT n.partner, n.subject, n.purpose, n.action, t.occurred_at, n.id, n.status
        FROM notices n JOIN toggles t ON t.id = n.toggle_id""",
    )
    asked = Counter((*row[:4], _rfc3339(row[4])) for row in held)
    assert asked == model.notices
    assert {row[6] for row in held} <= {"completed", "cancelled"}
    taken = [row for row in held if row[6] == "completed"]
    # Only what the user reversed was left out, hence never the last word; and what was left out, nobody saw.
    last = {row[:3]: row[4] for row in sorted(held, key=lambda row: row[4])}
    assert last == {row[:3]: row[4] for row in sorted(taken, key=lambda row: row[4])}

    for name, partner in here.partners.items():
        assert partner.seen.faults == []
        assert set(partner.seen.notices) == {row[5] for row in taken if row[0] == name}
        told = Counter(
            (name, notice.subject, notice.purpose, notice.action, notice.occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
            for notice in partner.seen.notices.values()
        )
        assert told == Counter((*row[:4], _rfc3339(row[4])) for row in taken if row[0] == name)

    final = query(
        here.data_dir / "ledger.sqlite",
        """SELECT notice_id, COUNT(*) FROM acknowledgements
        WHERE verdict = 'applied' AND status = 'completed' GROUP BY notice_id""",
    )
    assert dict(final) == {row[5]: 1 for row in taken}


class _Gate:
    """Lets a file through in equal parts, so that every kill finds some of it under way."""

    def __init__(self, parts: int) -> None:
        self._share = 952 // parts
        self._allowed = 0
        self._changed = threading.Condition()
        self._handed_on = 0
        self.client: Client | None = None
        self.accepted: set[str] = set()

    def open(self, *, everything: bool = False) -> None:
        with self._changed:
            self._allowed += 10_000 if everything else self._share
            self._changed.notify_all()

    def post_toggles(self, toggles: Sequence[dict[str, Any]]) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._handed_on < self._allowed)
        assert self.client is not None
        ids = self.client.post_toggles(toggles)
        self._handed_on += len(ids)
        self.accepted |= set(ids)
        return ids


def _ledger(here: World, sql: str) -> set[str]:
    return {row[0] for row in query(here.data_dir / "ledger.sqlite", sql)}


def _rfc3339(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
