"""How notices are packed: what stands in a lane is packs, each for one partner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from streams import ids
from streams.cloudevents import Envelope
from streams.events import Again, Notice, NoticesIssued, Partner
from streams.records import Record, record
from streams.topics import NOTICES


def packed(addressed: Iterable[tuple[Partner, Notice]]) -> Iterator[tuple[Partner, int, tuple[Notice, ...]]]:
    """Notices by partner and lane, in the order given, none above the partner's batch size."""
    waiting: dict[int, tuple[Partner, list[Notice]]] = {}
    for partner, notice in addressed:
        waiting.setdefault(partner.lane_of(notice.subject), (partner, []))[1].append(notice)
    for lane, (partner, notices) in waiting.items():
        for start in range(0, len(notices), partner.batch_size):
            yield partner, lane, tuple(notices[start : start + partner.batch_size])


def packed_again(partner: Partner, notices: Sequence[Notice], again: Again, cause: str, now: datetime) -> list[Record]:
    """Notices that are issued once more: in order, lane by lane. The same `cause` gives the same ids."""
    return [
        _again(partner.id, lane, pack, again, cause, now)
        for _, lane, pack in packed((partner, notice) for notice in notices)
    ]


def _again(partner: str, lane: int, notices: tuple[Notice, ...], again: Again, cause: str, now: datetime) -> Record:
    identity = ids.derive("again", cause, ids.pack_id(lane, *(notice.id for notice in notices)))
    data = NoticesIssued(partner=partner, lane=lane, notices=notices, again=again)
    return record(NOTICES.name, Envelope(identity, now, data), partition=lane)
