"""Fan-out: who hears of a decision, and how notices are packed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.packing import action_of, notices_for, pack
from streams import ids
from streams.cloudevents import Envelope
from streams.events import ConsentChanged, DeletionRequested, NoticesIssued, Partner, PartnerStatus
from streams.kinds import Action, Choice

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
        "secrets": [{"scheme": "v1", "sealed": "x"}],
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Partner.model_validate(fields | changes)


def deletion(toggle: str = "t", subject: str = "user:1", purpose: str = "ai") -> Envelope:
    data = DeletionRequested(subject=subject, purpose=purpose, toggle_id=toggle, occurred_at=NOON, accepted_at=NOON)
    return Envelope(ids.deletion_id(toggle), NOON, data)


@pytest.mark.parametrize(("minutes", "hears"), [(-1, False), (0, False), (1, True)])
def test_a_draining_partner_hears_of_what_was_accepted_before(minutes: int, hears: bool) -> None:
    """Though it is decided, or fanned out once more after a crash, only afterwards."""
    draining = partner(draining_since=NOON + timedelta(minutes=minutes))
    assert [notice.subject for _, notice in notices_for(deletion(), [draining])] == ["user:1"] * hears


@pytest.mark.parametrize(
    ("choice", "receive_by", "complete_by", "extended"),
    [
        (None, NOON + timedelta(hours=2), datetime(2026, 2, 2, tzinfo=UTC), datetime(2026, 4, 2, tzinfo=UTC)),
        (Choice.OPT_OUT, NOON + timedelta(minutes=1), NOON + timedelta(minutes=10), None),
        (Choice.OPT_IN, NOON + timedelta(minutes=1), NOON + timedelta(minutes=5), None),
    ],
)
def test_each_kind_of_notice_has_its_clocks(
    choice: Choice | None, receive_by: datetime, complete_by: datetime, extended: datetime | None
) -> None:
    clocks = {
        "erase": {"receive": "PT2H", "complete": {"within": "P1M", "extension": "P2M"}},
        "resume": {"complete": 300},
    }
    decision = deletion()
    if choice is not None:
        decision = Envelope("c", NOON, change(choice, Choice.OPT_OUT, retroactive=False))
    ((_, notice),) = notices_for(decision, [partner(clocks=clocks)])
    assert (notice.receive_by, notice.complete_by, notice.extended_complete_by) == (receive_by, complete_by, extended)


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


def test_or_from_the_request_by_each_clock() -> None:
    """The legal date to take it had passed when it was accepted; that to complete it had not."""
    clocks = {"erase": {"receive": {"within": "PT1M", "since": "occurred_at"},
                        "complete": {"within": "PT1H", "since": "occurred_at"}}}  # fmt: skip
    request = deletion()
    asked = NOON - timedelta(minutes=30)
    decision = request._replace(data=request.data.model_copy(update={"occurred_at": asked}))
    ((_, notice),) = notices_for(decision, [partner(clocks=clocks)])
    assert (notice.receive_by, notice.legal_receive_by) == (NOON + timedelta(minutes=1), asked + timedelta(minutes=1))
    assert (notice.complete_by, notice.legal_complete_by) == (asked + timedelta(hours=1), None)
    assert notice.issued_at == NOON


def test_what_nobody_was_asked_in_time_is_not_the_partner_s_delay() -> None:
    """It was accepted, and the service was down for half an hour before it could issue the notice."""
    now = NOON + timedelta(minutes=30)
    clocks = {"erase": {"receive": "PT1M", "complete": "PT1H"}}
    ((_, notice),) = notices_for(deletion(), [partner(clocks=clocks)], now=now)
    assert (notice.receive_by, notice.legal_receive_by) == (now + timedelta(minutes=1), NOON + timedelta(minutes=1))
    assert (notice.complete_by, notice.legal_complete_by) == (NOON + timedelta(hours=1), None)
    assert notices_for(deletion(), [partner()]).__next__() == notices_for(deletion(), [partner()], now=NOON).__next__()


@pytest.mark.parametrize("completes", [True, False])
def test_a_contract_travels_with_what_is_to_be_erased(completes: bool) -> None:
    registered = partner(suppression_completes=completes)
    ((_, erase),) = notices_for(deletion(), [registered])
    stop_it = Envelope("c", NOON, change(Choice.OPT_OUT, None, retroactive=False))
    ((_, stop),) = notices_for(stop_it, [registered])
    assert (erase.suppression_completes, stop.suppression_completes) == (True if completes else None, None)


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
