"""The service in memory, over real HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from rescind.client import ApiError
from rescind.gate.deciding import Consents
from tests.unit.cli.fakes import Answer, Asked, FakeService, problem
from tests.unit.gate.fakes import MemoryService, consents

NDJSON = {"content-type": "application/x-ndjson"}


def snapshot(known: Consents) -> list[Any]:
    """Its lines."""
    head = {"purpose": known.purpose, "regime": known.regime, "watermark": known.watermark}
    subjects = sorted(known.exceptions)
    return [head | {"taken_at": "2026-01-01T12:00:00Z"}, *subjects, {"end": True, "count": len(subjects)}]


def ndjson(items: list[Any]) -> bytes:
    return b"".join(orjson.dumps(item) + b"\n" for item in items)


@dataclass
class HttpGate(FakeService):
    memory: MemoryService = field(default_factory=lambda: MemoryService(consents()))

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        self.on_request(asked)
        if self.next:
            return self.next.popleft()
        try:
            return self._route(asked)
        except ApiError as error:
            return Answer(error.status, problem(str(error)))

    def _route(self, asked: Asked) -> Answer:
        memory = self.memory
        match [asked.method, *asked.path.removeprefix("/v1/").split("/")]:
            case ["POST", "exports"]:
                return Answer(201, memory.open_export(asked.json))
            case ["GET", "consents", _]:
                return Answer(200, ndjson(snapshot(memory.consents_for("ai-training"))), NDJSON)
            case ["PUT", "exports", export, "subjects", number]:
                assert asked.headers["content-type"] == "application/octet-stream"
                memory.put_block(export, int(number), asked.body)
                return Answer(202, {})
            case ["POST", "exports", export, "close"]:
                return Answer(200, memory.close_export(export, asked.json))
            case ["GET", "exports", export, "withdrawals"]:
                return Answer(200, ndjson(memory.withdrawals(export)), NDJSON)
            case ["GET", "exports", export]:
                return Answer(200, memory.export(export))
        return Answer(404, problem("there is nothing here"))
