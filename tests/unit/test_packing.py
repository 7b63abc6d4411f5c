"""Fan-out: who hears of a decision, and how notices are packed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.packing import action_of, notices_for, pack
from streams import ids
from streams.cloudevents import Envelope
from streams.events import (
    Action,
    Choice,
    ConsentChanged,
    DeletionRequested,
    NoticesIssued,
    Partner,
    PartnerStatus,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def partner(name: str = "p", lane: int = 0, **changes: object) -> Partner:
    fields: dict[str, object] = {
        "id": name,
        "name": name,
        "url": "https://p.example/hook",
        "purposes": ("ai",),
        "lane": lane,
        "batch_size": 2,
        "receive_within": 60,
        "complete_within": 600,
        "sealed_secret": "x",
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Partner.model_validate(fields | changes)


def deletion(toggle: str = "t", subject: str = "user:1", purpose: str = "ai") -> Envelope:
    data = DeletionRequested(subject=subject, purpose=purpose, toggle_id=toggle, occurred_at=NOON, accepted_at=NOON)
    return Envelope(ids.deletion_id(toggle), NOON, data)


def change(choice: Choice, previous: Choice | None, *, retroactive: bool) -> ConsentChanged:
    return ConsentChanged(
        subject="user:1",
        purpose="ai",
        choice=choice,
        previous=previous,
        retroactive=retroactive,
        toggle_id="t",
        occurred_at=NOON,
        accepted_at=NOON,
    )


@pytest.mark.parametrize(
    ("decision", "action"),
    [
        (deletion().data, Action.ERASE),
        (change(Choice.OPT_OUT, None, retroactive=True), None),
        (change(Choice.OPT_OUT, Choice.OPT_IN, retroactive=False), Action.STOP),
        (change(Choice.OPT_IN, Choice.OPT_OUT, retroactive=False), Action.RESUME),
        (change(Choice.OPT_IN, None, retroactive=False), None),
    ],
)
def test_what_a_decision_asks(decision: ConsentChanged | DeletionRequested, action: Action | None) -> None:
    assert action_of(decision) is action


@pytest.mark.parametrize(
    ("registered", "hears"),
    [
        (partner(), True),
        (partner(purposes=("ads",)), False),
        (partner(subject_kinds=("user",)), True),
        (partner(subject_kinds=("blog",)), False),
        (partner(status=PartnerStatus.PAUSED), True),  # its lane waits; the duty stands
        (partner(status=PartnerStatus.SUSPENDED), True),
        (partner(status=PartnerStatus.REMOVED), False),
    ],
)
def test_who_hears(registered: Partner, hears: bool) -> None:
    assert bool(list(notices_for(deletion(), [registered]))) is hears


def test_clocks_run_from_acceptance() -> None:
    ((_, notice),) = notices_for(deletion(), [partner()])
    assert notice.issued_at == NOON
    assert notice.receive_by == NOON + timedelta(seconds=60)
    assert notice.complete_by == NOON + timedelta(seconds=600)


def test_packs_keep_order_and_size_and_never_mix_partners() -> None:
    decisions = [deletion(f"t{number}") for number in range(5)]
    packs = pack(decisions, [partner("a", 3), partner("b", 7)])
    issued = [item.data for item in packs]
    assert all(isinstance(item, NoticesIssued) for item in issued)
    shape = [(item.partner, item.lane, len(item.notices)) for item in issued if isinstance(item, NoticesIssued)]
    assert shape == [("a", 3, 2), ("a", 3, 2), ("a", 3, 1), ("b", 7, 2), ("b", 7, 2), ("b", 7, 1)]
    of_a = [n.toggle_id for item in issued[:3] if isinstance(item, NoticesIssued) for n in item.notices]
    assert of_a == ["t0", "t1", "t2", "t3", "t4"]


def test_equal_causes_make_equal_ids() -> None:
    assert pack([deletion()], [partner()]) == pack([deletion()], [partner()])
    ((_, mine),) = notices_for(deletion(), [partner("a")])
    ((_, other),) = notices_for(deletion(), [partner("b")])
    assert mine.id != other.id
