"""What a gate asks of the service: to open an export, who allows it, and to close it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from rescind.client import Client
from rescind.gate.deciding import Consents
from rescind.gate.snapshot import read_snapshot

#: Seconds for an answer: a snapshot waits for the ledger, and a close for what is settled.
PATIENCE = 300.0


class Service(Protocol):
    """Each call may be repeated as often as need be. Raises `RescindError`."""

    def open_export(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """`wanted` has dataset, version, partner and purpose. The export, with its `id`."""
        ...

    def consents_for(self, purpose: str) -> Consents: ...

    def put_block(self, export: str, number: int, block: bytes) -> None: ...

    def close_export(self, export: str, closing: dict[str, Any]) -> dict[str, Any]:
        """The export, with its `manifest` once it is settled."""
        ...

    def export(self, export: str) -> dict[str, Any]: ...

    def withdrawals(self, export: str) -> list[str]: ...


class GateClient(Client):
    """The service over HTTP."""

    def __init__(self, url: str, key: str | None, *, timeout: float = PATIENCE) -> None:
        super().__init__(url, key, timeout=timeout)

    def open_export(self, wanted: dict[str, Any]) -> dict[str, Any]:
        opened = self._object("POST", "/v1/exports", wanted)
        if not isinstance(opened.get("id"), str):
            raise self._stranger("no export")
        return opened

    def consents_for(self, purpose: str) -> Consents:
        with self._lines(f"/v1/consents/snapshot?{urlencode({'purpose': purpose})}") as pieces:
            return read_snapshot(pieces, purpose)

    def put_block(self, export: str, number: int, block: bytes) -> None:
        headers = {"content-type": "application/octet-stream"}
        with self._asking():
            response = self._http.put(f"/v1/exports/{export}/subjects/{number}", content=block, headers=headers)
        if not response.is_success:
            self._understood(response)

    def close_export(self, export: str, closing: dict[str, Any]) -> dict[str, Any]:
        return self._object("POST", f"/v1/exports/{export}/close", closing)

    def withdrawals(self, export: str) -> list[str]:
        with self._lines(f"/v1/exports/{export}/withdrawals") as pieces:
            lines = b"".join(pieces).splitlines()
        return [text for line in lines if isinstance(text := orjson.loads(line), str)]

    @contextmanager
    def _lines(self, path: str) -> Iterator[Iterable[bytes]]:
        """An answer as it comes; one that breaks off raises `Unreachable`."""
        with self._asking(), self._http.stream("GET", path) as response:
            if not response.is_success:
                response.read()
                self._understood(response)
            yield response.iter_bytes()
