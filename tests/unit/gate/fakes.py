"""A service in memory, as the gate sees it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from rescind.client import ApiError
from rescind.gate.deciding import Column, Consents, Layout, Regime
from rescind.gate.filtering import Task
from rescind.gate.handing import Patience
from streams import ids, manifests
from streams.blocks import decode_block
from streams.exports import Output, Rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLOG = Layout((Column("blog"),))
NO_PATIENCE = Patience(away=0, settling=0, sleep=lambda seconds: None)


class Crash(BaseException):
    """As if the process had been killed: nobody catches it."""


def consents(*exceptions: str, regime: Regime = Regime.OPT_OUT, seen: int = 7) -> Consents:
    return Consents("ai-training", regime, {"rescind.decisions": {"0": seen}}, frozenset(exceptions))


def task(layout: Layout = BLOG, form: str = "ndjson", **changes: str) -> Task:
    fields = {"dataset": "posts", "version": "1", "partner": "acme", "purpose": "ai-training"} | changes
    return Task(**fields, layout=layout, format=form)


class MemoryService:
    """Keeps what it is told. `on` is called before each request, by its name, and may raise."""

    def __init__(self, known: Consents, *, withdrawn: tuple[str, ...] = ()) -> None:
        self.known = known
        self.withdrawn = withdrawn
        self.on: Callable[[str], None] = lambda name: None
        self.blocks: dict[int, bytes] = {}
        self.closed: dict[str, Any] | None = None
        #: How often it has to be asked before it is settled.
        self.settles_after = 0
        self.asked: list[str] = []

    @property
    def subjects(self) -> list[str]:
        return [subject for number in sorted(self.blocks) for subject in decode_block(self.blocks[number])]

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        self.on(name)

    def open_export(self, wanted: dict[str, str]) -> dict[str, Any]:
        self._ask("open")
        if self.closed is not None:
            raise ApiError(409, "this version is closed")
        return {"id": ids.derive("export", *wanted.values()), "status": "open"}

    def consents_for(self, purpose: str) -> Consents:
        self._ask("consents")
        assert purpose == self.known.purpose
        return self.known

    def put_block(self, export: str, number: int, block: bytes) -> None:
        self._ask("block")
        assert self.blocks.setdefault(number, block) == block
        self._ask("block taken")

    def close_export(self, export: str, closing: dict[str, Any]) -> dict[str, Any]:
        self._ask("close")
        said: dict[str, Any] = orjson.loads(orjson.dumps(closing))
        assert self.closed in (None, said)
        self.closed = said
        self._ask("closed")
        return self.export(export)

    def export(self, export: str) -> dict[str, Any]:
        self._ask("export")
        if self.settles_after > 0:
            self.settles_after -= 1
            return {"id": export, "status": "closed", "manifest": None}
        return {"id": export, "status": "settled", "manifest": self._manifest(export)}

    def withdrawals(self, export: str) -> list[str]:
        self._ask("withdrawals")
        return list(self.withdrawn)

    def _manifest(self, export: str) -> dict[str, Any]:
        closed = self.closed
        assert closed is not None
        assert (closed["blocks"], closed["subjects"]) == (len(self.blocks), len(self.subjects))
        manifest = manifests.Manifest(
            export=export, dataset="posts", version="1", partner="acme", purpose="ai-training",
            regime=self.known.regime.value, watermark=closed["watermark"], opened_at=NOON, closed_at=NOON,
            settled_at=NOON, subjects=closed["subjects"],
            rows=Rows(read=closed["rows_read"], cleared=closed["rows_cleared"], dropped=closed["dropped"]),
            output=Output(**{name: closed[name] for name in ("sha256", "bytes", "format")}),
            withdrawn=manifests.withdrawn(self.withdrawn), key_id="k",
        )  # fmt: skip
        return {**orjson.loads(manifest.model_dump_json(exclude_none=True)), "signature": "x"}
