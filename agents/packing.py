"""Fan-out as pure functions: which partners must hear of a decision, and how notices are packed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from streams import ids
from streams.cloudevents import Envelope
from streams.events import (
    Action,
    Choice,
    ConsentChanged,
    DeletionRequested,
    Notice,
    NoticesIssued,
    Partner,
)
from streams.names import kind_of


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


def notices_for(decision: Envelope, partners: Iterable[Partner]) -> Iterator[tuple[Partner, Notice]]:
    """One notice for each partner in scope. The clocks run from when the toggle was accepted."""
    data = decision.data
    if not isinstance(data, ConsentChanged | DeletionRequested):
        return
    action = action_of(data)
    if action is None:
        return
    kind = kind_of(data.subject)
    for partner in partners:
        if partner.in_scope(data.purpose, kind):
            yield (
                partner,
                Notice(
                    id=ids.notice_id(decision.id, partner.id),
                    cause_id=decision.id,
                    toggle_id=data.toggle_id,
                    action=action,
                    subject=data.subject,
                    purpose=data.purpose,
                    occurred_at=data.occurred_at,
                    issued_at=data.accepted_at,
                    receive_by=data.accepted_at + timedelta(seconds=partner.receive_within),
                    complete_by=data.accepted_at + timedelta(seconds=partner.complete_within),
                ),
            )


def pack(decisions: Sequence[Envelope], partners: Sequence[Partner]) -> list[Envelope]:
    """The packs that a batch of decisions causes: per partner in order, none above its batch size."""
    waiting: dict[str, tuple[Partner, list[Notice]]] = {}
    for decision in decisions:
        for partner, notice in notices_for(decision, partners):
            waiting.setdefault(partner.id, (partner, []))[1].append(notice)
    return [
        _packed(partner, notices[start : start + partner.batch_size])
        for partner, notices in waiting.values()
        for start in range(0, len(notices), partner.batch_size)
    ]


def _packed(partner: Partner, notices: Sequence[Notice]) -> Envelope:
    identity = ids.pack_id(partner.lane, *(notice.id for notice in notices))
    data = NoticesIssued(partner=partner.id, lane=partner.lane, notices=tuple(notices))
    return Envelope(identity, notices[-1].issued_at, data)
