"""The gate for programs that write their own export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from rescind.client import patiently
from rescind.gate import handing
from rescind.gate.deciding import Column, Layout, Reason
from rescind.gate.handing import Closing, Handed, Patience
from rescind.gate.judging import Judge
from rescind.gate.service import GateClient, Service
from rescind.gate.subjects import Subjects
from streams.errors import InvalidInput

Row = TypeVar("Row", bound=Mapping[str, Any])
#: Rows that are judged together.
_TOGETHER = 256


class Gate:
    """Lets through the rows that may go to a partner, and records whose they were.

        with Gate(url, key, dataset="posts", version="2026-01", partner="acme", purpose="ai-training",
                  subjects=["blog"]) as gate:
            for row in gate.cleared(rows):
                out.write(row)
            handed = gate.close(sha256=..., size=..., format="ndjson")

    A row is a mapping. A subject column is a name, or `name=kind:` where it holds bare ids; its value is a subject or
    a list of them, and any who does not allow it keeps the row back. Rows of which that cannot be told are kept back
    as well: `malformed` has their numbers, from 1, and why.

    **Hand nothing over before `close` has returned.** Without it nothing is recorded, and the export stays open; what
    it returns names those who chose otherwise meanwhile. An export that was not closed may be made again, from its
    first row.

    Memory is bounded: about a hundred bytes for each who is an exception for the purpose, and some fifty megabytes.
    Raises `RescindError`, also where the service cannot tell who allows it. Not to be shared between threads.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        dataset: str,
        version: str,
        partner: str,
        purpose: str,
        subjects: Sequence[str],
        visibility: str | None = None,
        allow: Iterable[str] = (),
        service: Service | None = None,
        patience: Patience = Patience(),
    ) -> None:
        self._layout = Layout(tuple(map(Column.parse, subjects)), visibility, frozenset(allow))
        self._wanted = {"dataset": dataset, "version": version, "partner": partner, "purpose": purpose}
        self._client = GateClient(url, key) if service is None else None
        self._service: Service = service or self._client  # type: ignore[assignment]
        self._patience = patience
        self._directory: TemporaryDirectory[str] | None = None
        self.read = 0
        self.cleared_rows = 0
        self.dropped: Counter[Reason] = Counter()
        #: The first thousand.
        self.malformed: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        try:
            opened = self._ask(lambda: self._service.open_export(self._wanted))
            self.export: str = opened["id"]
            self._consents = self._ask(lambda: self._service.consents_for(self._wanted["purpose"]))
            self._directory = TemporaryDirectory(prefix="rescind-gate-")
        except BaseException:
            self.__exit__()
            raise
        self._subjects = Subjects(Path(self._directory.name))
        self._judge = Judge(self._layout, self._consents)
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            self._directory.cleanup()
        self._directory = None
        if self._client is not None:
            self._client.close()

    def cleared(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Those that may go out, in their order. They count as disclosed once they are given out, or right before."""
        if self._directory is None:
            raise InvalidInput("a gate is open only within its `with`")
        source = iter(rows)
        while some := list(islice(source, _TOGETHER)):
            judged = self._judge.judge(some)
            self._subjects.add(judged.subjects)
            room = 1000 - len(self.malformed)
            self.malformed += [(self.read + at + 1, why) for at, why in judged.malformed[:room]]
            self.read += len(some)
            self.cleared_rows += judged.cleared
            self.dropped.update(judged.dropped)
            yield from some if judged.kept is None else compress(some, judged.kept)

    def close(self, *, sha256: str, size: int, format: str) -> Handed:  # noqa: A002
        """Record whom the export discloses, and wait until it is settled. The digest (SHA-256, in hexadecimal) and the
        size in bytes are those of what is handed over; the manifest speaks of them."""
        if self._directory is None:
            raise InvalidInput("a gate is open only within its `with`")
        blocks, count = handing.tell_subjects(self._service, self.export, self._subjects.sorted(), self._patience)
        closing = Closing(
            watermark=self._consents.watermark,
            blocks=blocks,
            subjects=count,
            rows_read=self.read,
            rows_cleared=self.cleared_rows,
            dropped={str(reason): dropped for reason, dropped in self.dropped.items() if dropped},
            sha256=sha256,
            bytes=size,
            format=format,
        )
        return handing.close(self._service, self.export, closing, self._patience)

    def _ask(self, ask: Any) -> Any:
        return patiently(ask, self._patience.away, sleep=self._patience.sleep, monotonic=self._patience.monotonic)
