"""The settlement agent: who had chosen otherwise by the time an export was handed over is asked back of its partner.

It runs where a ledger is, which knows everybody's choices. An export that is closed is settled as of a moment after
that: all that was decided before is in the ledger by then. Of what is decided later the fan-out asks, which knows of
the export by then, since it waits for all that is in `rescind.disclosures`. So between the two nobody is missed.

Ledgers are replicas, and each runs this; and each may die at any point:

- until somebody's `ExportSettled` is durable, nothing follows from what was looked up, and it is looked up again;
- the first one in the log counts for everybody, with its list, and with its manifest as it was signed;
- the requests for deletion follow from that list, so whoever repeats them repeats their ids, until
  `WithdrawalsRequested` says that all of them are durable; only the rank is what stands when each is written, and the
  first one in the log counts.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import chain
from typing import Any

from agents.consuming import append_until_durable
from agents.disclosing import Follower
from agents.looking import caught_up
from agents.withdrawing import gathered, opposed, request
from ledger import Export, ExportStatus, LedgerReader
from streams import ids
from streams.clock import Clock
from streams.cloudevents import Envelope, rfc3339
from streams.errors import LedgerBehind, RescindError
from streams.events import Data
from streams.exports import ExportSettled, SubjectsWithdrawn, WithdrawalsRequested, Withdrawn
from streams.kinds import Choice
from streams.manifests import Manifest, signed
from streams.records import Appender, Position, record
from streams.topics import DECISIONS, DISCLOSURES, NOTICES
from streams.witness import Witness

log = logging.getLogger(__name__)

#: Seconds between two looks, unless there is news before.
_EVERY = 30.0
#: Seconds until what failed is tried again.
_RETRY = 5.0
#: Requests that are written at once; and blocks, each of which may be a megabyte.
_TOGETHER, _BLOCKS_TOGETHER = 1_000, 4


class Settlement:
    """Settles the exports that one index shows, by the choices that one ledger knows."""

    def __init__(
        self, appender: Appender, ledger: LedgerReader, follower: Follower, witness: Witness, clock: Clock
    ) -> None:
        self._appender = appender
        self._ledger = ledger
        self._follower = follower
        self._index = follower.index
        self._witness = witness
        self._clock = clock

    async def run(self) -> None:
        """For ever."""
        while True:
            news = self._follower.news
            try:
                await self.look()
            except RescindError as error:
                log.warning("exports could not be settled: %s; trying again in %g s", error, _RETRY)
                await asyncio.sleep(_RETRY)
                continue
            try:
                async with asyncio.timeout(_EVERY):
                    await news.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Bring every export that was handed over to its end. One that cannot be holds back no other. Raises
        `RescindError`, of one of those."""
        failed: RescindError | None = None
        for export in await asyncio.to_thread(self._index.unfinished):
            try:
                await self._bring_to_its_end(export)
            except LedgerBehind:
                raise  # for all others, too
            except RescindError as error:
                log.error("export %s cannot be settled: %s", export.id, error)  # noqa: TRY400 - no traceback needed
                failed = error
        if failed is not None:
            raise failed

    async def _bring_to_its_end(self, export: Export) -> None:
        standing: Export | None = export
        if export.status is ExportStatus.CLOSED:
            await self._settle(export)
            standing = await asyncio.to_thread(self._index.export, export.id)
        if standing is not None and standing.status is ExportStatus.SETTLED:
            await self._request(standing)

    async def _settle(self, export: Export) -> None:
        # As of now, at least: the export is known to be handed over already. For an import also whom it was asked of.
        await caught_up(self._appender, self._ledger, (DECISIONS, NOTICES))
        # Before the look: who chooses once more after this moment has the last word.
        now = self._clock()
        said, blocks = await asyncio.to_thread(self._look_up, export)
        events = [self._withdrawn(export, said, number, *block) for number, block in enumerate(blocks)]
        for start in range(0, len(events), _BLOCKS_TOGETHER):
            await self._say(now, *events[start : start + _BLOCKS_TOGETHER])
        manifest = signed(_manifest(export, said, now, self._witness.public[0].id), self._witness).decode()
        data = ExportSettled(
            export=export.id, dataset=export.dataset, withdrawn=said, blocks=len(blocks), manifest=manifest,
            settled_at=now,
        )  # fmt: skip
        await self._follower.reached(
            await self._say(now, (ids.derive("export-settled", export.id, said.sha256, rfc3339(now)), data))
        )

    def _look_up(self, export: Export) -> tuple[Withdrawn, list[tuple[int, bytes]]]:
        choice = Choice.OPT_IN if export.regime == "opt-in" and not export.imported else Choice.OPT_OUT
        # A generator that holds a connection is closed where it was opened.
        with (
            closing(self._index.leaves(export.id)) as leaves,  # type: ignore[type-var]
            self._ledger.all_who_chose(export.purpose, choice) as (_, pages),
        ):
            found = opposed(leaves, chain.from_iterable(pages), out=choice is Choice.OPT_OUT)
            return gathered(self._unasked(export, found) if export.imported else found)

    def _unasked(self, export: Export, subjects: Iterator[str]) -> Iterator[str]:
        """What left before Rescind was there may have been asked back already; and an opt-out for the future alone
        does not reach it."""
        while some := [subject for _, subject in zip(range(_TOGETHER), subjects, strict=False)]:
            owed = self._ledger.owed(export.partner, export.purpose, some)
            yield from (subject for subject in some if subject in owed)

    async def _request(self, export: Export) -> None:
        # Whose opt-out stands: whoever has opted in since is asked back all the same, but by no choice that stands.
        await caught_up(self._appender, self._ledger, (DECISIONS,))
        lists = self._index.withdrawals(export.id)
        while (some := await asyncio.to_thread(next, lists, None)) is not None:
            for start in range(0, len(some), _TOGETHER):
                subjects = some[start : start + _TOGETHER]
                ranks = await asyncio.to_thread(self._ledger.opt_out_ranks, export.purpose, subjects)
                asked = [request(export, subject, ranks.get(subject)) for subject in subjects]
                await append_until_durable(self._appender, [record(DECISIONS.name, each) for each in asked])
        now = self._clock()
        data = WithdrawalsRequested(export=export.id, dataset=export.dataset, requested_at=now)
        await self._follower.reached(await self._say(now, (ids.derive("withdrawals-requested", export.id), data)))

    def _withdrawn(self, export: Export, said: Withdrawn, number: int, count: int, block: bytes) -> tuple[str, Data]:
        data = SubjectsWithdrawn(
            export=export.id, dataset=export.dataset, withdrawal=said.sha256, number=number, subjects=count,
            block=base64.b64encode(block).decode(),
        )  # fmt: skip
        return ids.derive("subjects-withdrawn", export.id, said.sha256, str(number)), data

    async def _say(self, now: datetime, *events: tuple[str, Data]) -> Sequence[Position]:
        records = [record(DISCLOSURES.name, Envelope(identity, now, data)) for identity, data in events]
        return await append_until_durable(self._appender, records)


def _manifest(export: Export, said: Withdrawn, now: datetime, key_id: str) -> Manifest:
    imported: dict[str, Any] = {"imported": True} if export.imported else {}
    return Manifest(
        export=export.id,
        dataset=export.dataset,
        version=export.version,
        partner=export.partner,
        purpose=export.purpose,
        regime=export.regime,
        watermark=export.watermark or {},
        opened_at=export.opened_at,
        closed_at=export.closed_at,
        settled_at=now,
        subjects=export.subjects,
        rows=export.rows,
        output=export.output,
        withdrawn=said,
        key_id=key_id,
        **imported,
    )
