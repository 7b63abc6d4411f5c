"""Lag of partners, kinds and windows, against a count of every notice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Entry, LagState, Ledger, NoticeRow, NoticeStatus, Wanted, Window
from ledger.lag import Percentiles, bucket_of, percentiles
from ledger.times import micros
from ledger.views import OPEN
from streams.clocks import Watch
from streams.events import (
    Acknowledged,
    AckStatus,
    BatchDelivered,
    Notice,
    NoticesIssued,
    NoticeUndeliverable,
    Outcome,
    RefusalReason,
)
from streams.kinds import Action
from tests.unit.test_ledger import NOON, at, entry, partner

PARTNERS = ("p", "q")
HOURS = st.floats(0, 60 * 24, allow_nan=False)


def histories(draw: Callable[[Any], Any], size: int) -> list[Entry]:
    """Notices over sixty days, each of which is delivered, answered and refused at any time, or never."""
    entries = [entry("partners", number, name, partner(name, number)) for number, name in enumerate(PARTNERS)]
    ends: Counter[str] = Counter()
    chance = st.sampled_from([0.0, 0.0, 1.0])

    def following(topic: str) -> int:
        ends[topic] += 1
        return ends[topic] - 1

    for number in range(size):
        name = PARTNERS[number % 2]
        issued_at = draw(HOURS)
        within = draw(st.sampled_from([12, 240.0]))
        notice = Notice(
            id=f"n-{number}", cause_id="c", toggle_id="t", action=list(Action)[number // 2 % 3], subject="user:1",
            purpose="ai", occurred_at=NOON, issued_at=hour(issued_at), receive_by=hour(issued_at + 24),
            complete_by=hour(issued_at + within), extended_complete_by=draw(st.sampled_from([None, hour(9_999)])),
            watch=draw(st.sampled_from([None, Watch(at_risk=0.25), Watch(at_risk=0.999)])),
        )  # fmt: skip
        place = following("notices")
        entries.append(entry("notices", place, f"i-{number}", NoticesIssued(partner=name, lane=0, notices=(notice,))))
        if draw(chance):
            taken = BatchDelivered(
                partner=name, lane=0, first_offset=place, last_offset=place, notices=1, webhook_id="m", attempt=1,
                status_code=200, duration_ms=1, delivered_at=hour(issued_at + draw(HOURS)),
            )  # fmt: skip
            entries.append(entry("deliveries", following("deliveries"), f"d-{number}", taken))
        if draw(chance):
            said = AckStatus(draw(st.sampled_from(["received", "refused", "completed"])))
            answer = Acknowledged(
                notice_id=notice.id, partner=name, subject="user:1", status=said, occurred_at=NOON, via="api",
                reason=RefusalReason.EXEMPT if said is AckStatus.REFUSED else None,
            )  # fmt: skip
            if draw(chance):
                asked = Acknowledged(
                    notice_id=notice.id, partner=name, subject="user:1", status=AckStatus.IN_PROGRESS, extend=True,
                    detail="complex", occurred_at=NOON, via="api",
                )  # fmt: skip
                place = following("acknowledgements")
                when = hour(issued_at + draw(HOURS) / 10)
                entries.append(entry("acknowledgements", place, f"x-{number}", asked, time=when))
            when = hour(issued_at + draw(HOURS))
            entries.append(entry("acknowledgements", following("acknowledgements"), f"a-{number}", answer, time=when))
            if draw(chance):  # it takes that back, maybe with the data still there
                other = answer.model_copy(
                    update={
                        "status": AckStatus.COMPLETED, "reason": None, "detail": "a mistake", "amends": True,
                        "outcome": draw(st.sampled_from([Outcome.NOT_FOUND, Outcome.SUPPRESSED])),
                    }
                )  # fmt: skip
                when = hour(issued_at + draw(HOURS))
                entries.append(
                    entry("acknowledgements", following("acknowledgements"), f"b-{number}", other, time=when)
                )
        if draw(chance):
            refusal = NoticeUndeliverable(
                partner=name, lane=0, offset=place, notice_id=notice.id, subject="user:1", status_code=422, detail="no",
                refused_at=hour(issued_at),
            )  # fmt: skip
            entries.append(entry("undeliverable", following("undeliverable"), f"r-{number}", refusal))
    return entries


def _notices(each: Entry) -> tuple[Notice, ...]:
    data = None if each.envelope is None else each.envelope.data
    return data.notices if isinstance(data, NoticesIssued) else ()


def hour(number: float) -> datetime:
    return at(60 * number)


class Recount:
    """The same figures from the notices themselves, one by one."""

    def __init__(self, notices: list[NoticeRow], now: datetime, watches: Mapping[str, Watch | None]) -> None:
        self._now = now
        self._watches = watches
        self.open = [notice for notice in notices if notice.status in OPEN]
        self._all = notices

    @property
    def late_to_receive(self) -> set[str]:
        return {each.id for each in self.open if each.delivered_at is None and each.receive_by < self._now}

    @property
    def late_to_complete(self) -> set[str]:
        return {each.id for each in self.open if each.due_by < self._now}

    @property
    def near_to_receive(self) -> set[str]:
        waiting = [each for each in self.open if each.delivered_at is None]
        return {each.id for each in waiting if self._near(each, each.receive_by)}

    @property
    def near_to_complete(self) -> set[str]:
        return {each.id for each in self.open if self._near(each, each.due_by)}

    def _near(self, notice: NoticeRow, due: datetime) -> bool:
        watch = self._watches[notice.id] or Watch()
        return notice.issued_at + (due - notice.issued_at) * watch.at_risk <= self._now <= due

    @property
    def taken_late(self) -> datetime | None:
        taken = [(each.delivered_at, each.receive_by) for each in self._all]
        return max((at for at, due in taken if at is not None and at > due), default=None)

    @property
    def answered_late(self) -> datetime | None:
        standing = [each for each in self._all if each.completed_at is not None]  # what was taken back counts no more
        answered = [(each.answered_first_at or each.completed_at, each.due_by) for each in standing]
        return max((at for at, due in answered if at is not None and at > due), default=None)

    @property
    def oldest(self) -> datetime | None:
        return min((each.issued_at for each in self.open), default=None)

    @property
    def backlog(self) -> int:
        return sum(each.status is NoticeStatus.QUEUED for each in self._all)

    def within(self, window: Window, happened: Callable[[NoticeRow], datetime | None]) -> list[NoticeRow]:
        block = timedelta(days=1) if window in (Window.WEEK, Window.MONTH) else timedelta(hours=1)
        begin = micros(self._now - window.span) // (block // timedelta(microseconds=1))
        return [
            each
            for each in self._all
            if (when := happened(each)) is not None and micros(when) // (block // timedelta(microseconds=1)) >= begin
        ]

    def lag(self, window: Window, happened: Callable[[NoticeRow], datetime | None]) -> Percentiles:
        took = [(happened(each), each.issued_at) for each in self.within(window, happened)]
        return percentiles(Counter(bucket_of(micros(end) - micros(begin)) for end, begin in took if end is not None))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_lag_is_what_a_recount_finds(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    ledger = Ledger.open(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    rest = entries = histories(data.draw, data.draw(st.integers(0, 30)))
    if data.draw(st.booleans()):
        rest = sorted(entries, key=lambda each: each.topic != "rescind.acknowledgements")
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        ledger.apply(rest[:size])
        rest = rest[size:]
        ledger.lag(hour(data.draw(HOURS)))  # what is remembered of it must not show below
    now = hour(data.draw(HOURS) * 2)
    notices = [notice for each in entries for notice in _notices(each)]
    watches = {notice.id: notice.watch for notice in notices}
    main = data.draw(st.sampled_from(Window))
    rows = ledger.lag(now, main, tuple(Window))
    assert [row.partner for row in rows] == list(PARTNERS)
    for row in rows:
        assert ledger.lag(now, main, tuple(Window), row.partner) == [row]
        mine = ledger.listed(Wanted(partner=row.partner), now, None, 1000).notices
        every = Recount(mine, now, watches)
        assert (row.open, row.oldest_open_at, row.backlog) == (len(every.open), every.oldest, every.backlog)
        assert row.overdue == len(every.late_to_receive | every.late_to_complete)
        assert row.at_risk == sum(kind.at_risk for kind in row.kinds)
        assert row.receive_lag == every.lag(main, lambda each: each.delivered_at)
        assert row.complete_lag == every.lag(main, lambda each: each.completed_at)
        assert row.delivered == sum(each.delivered_at is not None for each in mine)
        assert row.acknowledged == sum(each.completed_at is not None for each in mine)
        assert row.undeliverable == sum(each.status is NoticeStatus.UNDELIVERABLE for each in mine)
        assert [kind.kind for kind in row.kinds] == list(Action)
        for kind in row.kinds:
            recount = Recount([each for each in mine if each.action is kind.kind], now, watches)
            assert (kind.open, kind.oldest_open_at) == (len(recount.open), recount.oldest)
            assert kind.backlog == recount.backlog
            assert kind.overdue_receive == len(recount.late_to_receive)
            assert kind.overdue_complete == len(recount.late_to_complete)
            late = recount.late_to_receive | recount.late_to_complete
            assert kind.overdue == len(late)
            assert kind.at_risk_receive == len(recount.near_to_receive)
            assert kind.at_risk_complete == len(recount.near_to_complete)
            assert kind.at_risk == len((recount.near_to_receive | recount.near_to_complete) - late)
            assert (kind.overdue_taken_at, kind.overdue_answered_at) == (recount.taken_late, recount.answered_late)
            if recount.oldest is not None:
                assert kind.oldest_open_seconds == max(0.0, (now - recount.oldest).total_seconds())
            for windows, counted in ((kind.windows, recount), (row.windows, every)):
                for found in windows:
                    assert found.arrived == len(counted.within(found.window, lambda each: each.issued_at))
                    answered = counted.within(found.window, lambda each: each.completed_at)
                    late_ones = {each.id for each in answered if (each.completed_at or now) > each.due_by}
                    refused = {each.id for each in answered if each.status is NoticeStatus.REFUSED}
                    assert (found.answered, found.late) == (len(answered), len(late_ones))
                    assert (found.in_time, found.refused) == (len(answered) - len(late_ones), len(refused))
                    assert found.late_or_refused == len(late_ones | refused)
                    if answered:
                        assert found.late_share == round(len(late_ones) / len(answered), 4)
                        assert found.refused_share == round(len(refused) / len(answered), 4)
                    else:
                        assert (found.in_time_share, found.late_share, found.refused_share) == (None, None, None)
                    assert found.receive_lag == counted.lag(found.window, lambda each: each.delivered_at)
                    assert found.complete_lag == counted.lag(found.window, lambda each: each.completed_at)
                    assert found.arrivals_per_hour == round(found.arrived / (found.window.span / timedelta(hours=1)), 3)
    ledger.close()


@pytest.mark.parametrize(
    ("window", "first"),
    [
        (Window.HOUR, datetime.fromisoformat("2025-12-31T11:00:00Z")),
        (Window.DAY, datetime.fromisoformat("2025-12-30T12:00:00Z")),
        (Window.WEEK, datetime.fromisoformat("2025-12-24T00:00:00Z")),
        (Window.MONTH, datetime.fromisoformat("2025-12-01T00:00:00Z")),
    ],
)
def test_a_window_covers_the_whole_hours_or_days_that_touch_it(window: Window, first: datetime) -> None:
    now = datetime.fromisoformat("2025-12-31T12:59:59Z")
    assert window.first_block(now) * window.block_hours * 3600 == first.timestamp()


def test_who_falls_behind_for_a_day_is_warned_of_though_nothing_is_late(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    entries = [entry("partners", 0, "r", partner())]
    for number in range(60):
        issued = Notice(
            id=f"n-{number}", cause_id="c", toggle_id="t", action=Action.STOP, subject="user:1", purpose="ai",
            occurred_at=NOON, issued_at=hour(number), receive_by=hour(number + 24), complete_by=hour(number + 720),
        )  # fmt: skip
        pack = NoticesIssued(partner="p", lane=0, notices=(issued,))
        entries.append(entry("notices", number, f"i-{number}", pack))
    taken = BatchDelivered(
        partner="p", lane=0, first_offset=0, last_offset=59, notices=60, webhook_id="m", attempt=1, status_code=200,
        duration_ms=1, delivered_at=hour(59),
    )  # fmt: skip
    ledger.apply([*entries, entry("deliveries", 0, "d", taken)])
    assert ledger.lag(hour(20.5))[0].state is LagState.OK, "it has not owed anything for a day yet"
    assert ledger.lag(hour(59.5))[0].state is LagState.WARN
    ledger.close()
