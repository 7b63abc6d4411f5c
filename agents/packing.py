"""Fan-out as pure functions: which partners must hear of a decision, and how notices are packed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from streams import ids
from streams.cloudevents import Envelope
from streams.events import (
    MOST_DATASETS,
    ConsentChanged,
    DatasetVersion,
    DeletionRequested,
    Notice,
    NoticesIssued,
    Partner,
    PartnerStatus,
)
from streams.kinds import Action, Choice
from streams.names import kind_of
from streams.packs import packed
from streams.trusting import trusted

_notice, _pack, _dataset = trusted(Notice), trusted(NoticesIssued), trusted(DatasetVersion)
#: By subject and purpose, and then by partner: datasets with their versions, the newest first.
Given = Mapping[tuple[str, str], Mapping[str, Sequence[tuple[str, str]]]]


def action_of(decision: ConsentChanged | DeletionRequested) -> Action | None:
    """What a decision asks of partners; None if nothing.

    A retroactive opt-out asks once, by its `DeletionRequested`: to erase includes to stop. An opt-in
    that reverses no opt-out has nothing to resume.
    """
    if isinstance(decision, DeletionRequested):
        return Action.ERASE
    if decision.choice is Choice.OPT_OUT:
        return None if decision.retroactive else Action.STOP
    return Action.RESUME if decision.previous is Choice.OPT_OUT else None


def notices_for(
    decision: Envelope,
    partners: Iterable[Partner],
    given: Given = MappingProxyType({}),
    *,
    disclosed: bool = False,
    now: datetime | None = None,
) -> Iterator[tuple[Partner, Notice]]:
    """One notice for each partner that must hear. `given` says which datasets each partner was given the subject in.
    With `disclosed` who was given none is only asked to stop. What is late `now`, before it is in any lane, is the
    platform's delay, or ours, and never the partner's; None means that no time has passed since it was accepted."""
    data = decision.data
    if not isinstance(data, ConsentChanged | DeletionRequested):
        return
    asked = action_of(data)
    if asked is None:
        return
    kind = kind_of(data.subject)
    held = given.get((data.subject, data.purpose), {}) if asked is Action.ERASE else {}
    for partner in partners:
        datasets, count = _datasets(data, held.get(partner.id, ()))
        if not _hears(data, partner, kind, holds=count is not None):
            continue
        action = Action.STOP if disclosed and asked is Action.ERASE and count is None else asked
        clocks = partner.clocks_of(action)
        times = (data.occurred_at, data.accepted_at, data.accepted_at if now is None else max(now, data.accepted_at))
        receive, complete = clocks.receive.due(*times), clocks.complete.due(*times)
        completes = partner.suppression_completes and action is Action.ERASE
        yield (
            partner,
            _notice(
                id=ids.notice_id(decision.id, partner.id),
                cause_id=decision.id,
                toggle_id=data.toggle_id,
                action=action,
                subject=data.subject,
                purpose=data.purpose,
                occurred_at=data.occurred_at,
                issued_at=data.accepted_at,
                receive_by=receive.by,
                complete_by=complete.by,
                extended_complete_by=complete.extended,
                rank=data.rank,
                watch=partner.watch,
                datasets=datasets,
                datasets_count=count,
                suppression_completes=True if completes else None,
                legal_receive_by=receive.missed,
                legal_complete_by=complete.missed,
            ),
        )


def _hears(data: ConsentChanged | DeletionRequested, partner: Partner, kind: str, *, holds: bool) -> bool:
    """Who is in scope; and who was given the subject, though it may have been registered otherwise then. Of what one
    partner is asked for, that one alone hears, also while it is drained."""
    if isinstance(data, DeletionRequested) and data.partner is not None:
        return partner.id == data.partner and partner.status is not PartnerStatus.REMOVED
    return partner.in_scope(data.purpose, kind, data.accepted_at) or (holds and partner.hears(data.accepted_at))


def _datasets(
    data: ConsentChanged | DeletionRequested, held: Sequence[tuple[str, str]]
) -> tuple[tuple[DatasetVersion, ...] | None, int | None]:
    """What a notice names, and how many there are."""
    if isinstance(data, DeletionRequested) and data.datasets is not None:
        return data.datasets, len(data.datasets)
    if not held:
        return None, None
    named = (_dataset(dataset=dataset, version=version) for dataset, version in held[:MOST_DATASETS])
    return tuple(named), len(held)


def pack(
    decisions: Sequence[Envelope],
    partners: Sequence[Partner],
    given: Given = MappingProxyType({}),
    *,
    disclosed: bool = False,
    now: datetime | None = None,
) -> list[Envelope]:
    """The packs that a batch of decisions causes: per partner in order, none above its batch size."""
    addressed = (
        each for decision in decisions for each in notices_for(decision, partners, given, disclosed=disclosed, now=now)
    )
    return [_envelope(*each) for each in packed(addressed)]


def _envelope(partner: Partner, lane: int, notices: tuple[Notice, ...]) -> Envelope:
    identity = ids.pack_id(lane, *(notice.id for notice in notices))
    data = _pack(partner=partner.id, lane=lane, notices=notices)
    return Envelope(identity, notices[-1].issued_at, data)
