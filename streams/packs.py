"""How notices are packed: what stands in a lane is packs, each for one partner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from streams import ids
from streams.cloudevents import Envelope
from streams.events import Again, Failing, Notice, NoticesIssued, Partner
from streams.records import Record, record
from streams.topics import NOTICES


class Reissue(NamedTuple):
    """A pack of notices that are issued once more."""

    record: Record
    notices: tuple[Notice, ...]


def packed(addressed: Iterable[tuple[Partner, Notice]]) -> Iterator[tuple[Partner, int, tuple[Notice, ...]]]:
    """Notices by partner and lane, in the order given, none above the partner's batch size."""
    waiting: dict[int, tuple[Partner, list[Notice]]] = {}
    for partner, notice in addressed:
        waiting.setdefault(partner.lane_of(notice.subject), (partner, []))[1].append(notice)
    for lane, (partner, notices) in waiting.items():
        for start in range(0, len(notices), partner.batch_size):
            yield partner, lane, tuple(notices[start : start + partner.batch_size])


def packed_again(
    partner: Partner, notices: Sequence[Notice], checked: Mapping[int, int], again: Again, cause: str, now: datetime
) -> list[Reissue]:
    """Notices that are issued once more: in order, lane by lane. `checked` is by lane the offset below which nothing
    reverses them. The same `cause` gives the same ids."""
    return [
        _again(ids.derive("again", cause, ids.pack_id(lane, *(notice.id for notice in pack))), now, data)
        for _, lane, pack in packed((partner, notice) for notice in notices)
        for data in [_issued(partner, lane, pack, checked, again)]
    ]


def packed_alone(
    partner: Partner,
    notice: Notice,
    checked: Mapping[int, int],
    again: Again,
    parked: str,
    failing: Failing,
    now: datetime,
) -> Reissue:
    """A parked notice that is tried again, in a pack of its own. `parked` is the id of the event that parked it:
    whoever repeats this repeats the id."""
    data = _issued(partner, partner.lane_of(notice.subject), (notice,), checked, again)
    return _again(ids.derive("retry", parked), now, data.model_copy(update={"failing": failing}))


def _issued(
    partner: Partner, lane: int, notices: tuple[Notice, ...], checked: Mapping[int, int], again: Again
) -> NoticesIssued:
    return NoticesIssued(partner=partner.id, lane=lane, notices=notices, again=again, checked=checked.get(lane, 0))


def _again(identity: str, now: datetime, data: NoticesIssued) -> Reissue:
    return Reissue(record(NOTICES.name, Envelope(identity, now, data), partition=data.lane), data.notices)
