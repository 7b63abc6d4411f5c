"""A simulated month: the ledger's numbers are those of a model that knows nothing of how they come about.

`MONTH_TOGGLES` makes it larger (`make soak`).
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ledger import KindLag, Ledger, NoticeStatus, PartnerLag, Percentiles, Span, Window
from ledger.views import OPEN
from streams.clocks import Watch
from streams.events import AckStatus, Outcome
from streams.kinds import Action, Choice
from tests.month import END, START, Month, simulated

PARTNERS, SUBJECTS = 200, 20_000
TOGGLES = int(os.environ.get("MONTH_TOGGLES", "12000"))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEPS = {None: 0, AckStatus.RECEIVED: 1, AckStatus.IN_PROGRESS: 2, AckStatus.COMPLETED: 3, AckStatus.REFUSED: 3}


class Asked:
    """A notice as a model has it: what it asks, and what its partner did."""

    def __init__(self, month: Month, identity: str) -> None:
        self.partner, self.notice = month.issued[identity]
        self.taken = month.taken.get(identity)
        self.rejected = identity in month.rejected
        self.held = self.rejected or identity in month.parked
        #: Does a later one ask its partner for the opposite?
        self.reversed = False
        self.word: AckStatus | None = None
        self.answered: datetime | None = None
        self.reason: str | None = None
        self.outcome: str | None = None

    def hear(self, by: str, at: datetime, status: AckStatus, outcome: Outcome | None, reason: str | None) -> None:
        resumes = self.notice.action is Action.RESUME
        meant = outcome in (None, Outcome.NOT_FOUND) or (outcome is Outcome.RESUMED) == resumes
        if by == self.partner and meant and STEPS[status] > STEPS[self.word]:
            self.word = status
            if STEPS[status] == 3:
                self.answered, self.outcome, self.reason = at, outcome, reason

    @property
    def status(self) -> str:
        if self.answered is not None:
            return str(self.word)
        if self.held and self.reversed:
            return "cancelled"
        if self.rejected:
            return "undeliverable"
        return str(self.word) if self.word else "delivered" if self.taken else "queued"

    @property
    def open(self) -> bool:
        return self.status in OPEN

    def near(self, now: datetime) -> tuple[bool, bool]:
        """At risk to be received late, and to be completed late, and not late by that clock."""

        def near(due: datetime) -> bool:
            at_risk = (self.notice.watch or Watch()).at_risk
            return self.open and self.notice.issued_at + (due - self.notice.issued_at) * at_risk <= now <= due

        return self.taken is None and near(self.notice.receive_by), near(self.notice.complete_by)

    def late(self, now: datetime) -> tuple[bool, bool]:
        """To be received, and to be completed."""
        return (
            self.open and self.taken is None and self.notice.receive_by < now,
            self.open and self.notice.complete_by < now,
        )


class Model:
    """What must have been asked, from what users did; and what became of it, from what partners did."""

    def __init__(self, month: Month) -> None:
        self.choices: dict[tuple[str, str], tuple[tuple[datetime, str], Choice, bool]] = {}
        self.requests = 0
        self.expected: Counter[tuple[str, str, str, str, Action, datetime]] = Counter()
        for toggled in month.toggled:
            self._toggle(month, toggled.at, toggled.id, toggled.toggle)
        self.notices = {identity: Asked(month, identity) for identity in month.issued}
        about: dict[tuple[str, str, str], list[Asked]] = defaultdict(list)
        for asked in self.notices.values():
            about[asked.partner, asked.notice.subject, asked.notice.purpose].append(asked)
        for each in self.notices.values():
            resumes = each.notice.action is Action.RESUME
            same = about[each.partner, each.notice.subject, each.notice.purpose]
            others = [other.notice for other in same if (other.notice.action is Action.RESUME) != resumes]
            each.reversed = any((other.rank or "") > (each.notice.rank or "") for other in others)
        for said in month.said:
            self.notices[said.notice].hear(said.by, said.at, said.status, said.outcome, said.reason)

    def _toggle(self, month: Month, at: datetime, identity: str, toggle: object) -> None:
        subject, purpose, choice = toggle.subject, toggle.purpose, toggle.choice  # type: ignore[attr-defined]
        rank = (toggle.occurred_at, identity)  # type: ignore[attr-defined]
        known = self.choices.get((subject, purpose))
        if known is not None and rank <= known[0]:
            return
        erase = choice is Choice.OPT_OUT and toggle.retroactive  # type: ignore[attr-defined]
        self.choices[subject, purpose] = (rank, choice, erase)
        before = None if known is None else known[1]
        actions = []
        if erase and not (known is not None and known[2]):
            self.requests += 1
            actions.append(Action.ERASE)
        elif choice is not before and not erase and choice is Choice.OPT_OUT:
            actions.append(Action.STOP)
        elif choice is Choice.OPT_IN and before is Choice.OPT_OUT:
            actions.append(Action.RESUME)
        for action in actions:
            for name, partner in month.partners.items():
                kinds = partner.subject_kinds
                if purpose in partner.purposes and (not kinds or subject.split(":")[0] in kinds):
                    self.expected[name, subject, purpose, identity, action, at] += 1

    def of(self, partner: str, kind: Action | None = None) -> list[Asked]:
        return [
            asked for asked in self.notices.values() if asked.partner == partner and kind in (None, asked.notice.action)
        ]


@pytest.fixture(scope="module")
def month() -> Month:
    return simulated(7, partners=PARTNERS, subjects=SUBJECTS, toggles=TOGGLES)


@pytest.fixture(scope="module")
def model(month: Month) -> Model:
    return Model(month)


@pytest.fixture(scope="module")
def ledger(month: Month, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Has read the month, now this partition ahead and now that, and some of it twice."""
    opened = Ledger.open(tmp_path_factory.mktemp("month") / "ledger.sqlite")
    chance = random.Random(11)
    for batch in month.read(chance):
        opened.apply(batch)
        if chance.random() < 0.1:
            opened.apply(batch)  # a crash before the offsets were committed
    yield opened
    opened.close()


def test_exactly_what_had_to_be_asked_was_asked(month: Month, model: Model) -> None:
    asked = Counter(
        (name, each.subject, each.purpose, each.toggle_id, each.action, each.issued_at)
        for name, each in month.issued.values()
    )
    assert asked == model.expected
    assert set(Action) == {each.action for _, each in month.issued.values()}
    assert {asked.status for asked in model.notices.values()} == set(NoticeStatus)


def test_every_notice_has_become_what_it_has(model: Model, ledger: Ledger) -> None:
    known = ledger.notices(list(model.notices))
    assert len(known) == len(model.notices)
    for identity, asked in model.notices.items():
        row = known[identity]
        assert (row.status, row.delivered_at, row.completed_at) == (asked.status, asked.taken, asked.answered), identity
        assert (row.outcome, row.reason) == (asked.outcome, asked.reason)


def test_totals(month: Month, model: Model, ledger: Ledger) -> None:
    totals = ledger.totals()
    statuses = Counter(asked.status for asked in model.notices.values())
    assert totals.toggles == len({toggled.id for toggled in month.toggled})
    assert totals.consents == len(model.choices)
    assert totals.opted_out == sum(choice is Choice.OPT_OUT for _, choice, _ in model.choices.values())
    assert totals.requests == model.requests
    assert totals.notices == len(model.notices)
    assert totals.open == sum(statuses[status] for status in OPEN)
    assert totals.acknowledged == statuses["completed"] + statuses["refused"]
    assert totals.undeliverable == statuses["undeliverable"]


@pytest.mark.parametrize("days", [30.0, 30.7, 41.0])
def test_lag_of_every_partner_and_kind(model: Model, ledger: Ledger, days: float) -> None:
    now = START + timedelta(days=days)
    rows = ledger.lag(now, Window.MONTH, tuple(Window))
    assert len(rows) == PARTNERS
    of_partner: dict[str, list[Asked]] = defaultdict(list)
    for asked in model.notices.values():
        of_partner[asked.partner].append(asked)
    for row in rows:
        mine = of_partner[row.partner]
        check(row, mine, now)
        assert row.acknowledged == sum(asked.answered is not None for asked in mine)
        assert row.delivered == sum(asked.taken is not None for asked in mine)
        for kind in row.kinds:
            check(kind, [asked for asked in mine if asked.notice.action is kind.kind], now)


def check(row: PartnerLag | KindLag, asked: list[Asked], now: datetime) -> None:
    late = [each.late(now) for each in asked]
    assert row.open == sum(each.open for each in asked)
    assert row.backlog == sum(each.status == "queued" for each in asked)
    assert row.oldest_open_at == min((each.notice.issued_at for each in asked if each.open), default=None)
    assert row.overdue_receive == sum(receive for receive, _ in late)
    assert row.overdue_complete == sum(complete for _, complete in late)
    assert row.overdue == sum(receive or complete for receive, complete in late)
    near = [each.near(now) for each in asked]
    assert row.at_risk_receive == sum(receive for receive, _ in near)
    assert row.at_risk_complete == sum(complete for _, complete in near)
    assert row.at_risk == sum(any(risk) and not any(past) for risk, past in zip(near, late, strict=True))
    for window in row.windows:
        block = DAY if window.window in (Window.WEEK, Window.MONTH) else HOUR
        begin = START + (now - window.window.span - START) // block * block
        assert window.arrived == sum(each.notice.issued_at >= begin for each in asked)
        assert window.answered == sum(each.answered is not None and each.answered >= begin for each in asked)
        answers = [each for each in asked if each.answered is not None and each.answered >= begin]
        late_ones = [each for each in answers if each.answered is not None and each.answered > each.notice.complete_by]
        assert (window.in_time, window.late) == (len(answers) - len(late_ones), len(late_ones))
        assert window.refused == sum(each.status == "refused" for each in answers)
        compare(window.receive_lag, asked, begin, lambda each: each.taken)
        compare(window.complete_lag, asked, begin, lambda each: each.answered)


def compare(
    found: Percentiles, asked: list[Asked], begin: datetime, happened: Callable[[Asked], datetime | None]
) -> None:
    """Exact to a fifth."""
    took = sorted(
        (when - each.notice.issued_at).total_seconds()
        for each in asked
        if (when := happened(each)) is not None and when >= begin
    )
    assert found.count == len(took)
    for value, share in ((found.p50, 0.50), (found.p95, 0.95), (found.p99, 0.99)):
        if not took:
            assert value is None
        else:
            assert value is not None
            exact = took[math.ceil(len(took) * share) - 1]
            assert exact / 1.2 - 0.001 <= value <= exact * 1.2 + 0.001


def test_reports_add_up(month: Month, model: Model, ledger: Ledger) -> None:
    for name in list(month.partners)[:20]:
        totals = ledger.report_summary(Span(name, START, END + DAY), END).totals
        mine = model.of(name)
        statuses = Counter("open" if asked.open else asked.status for asked in mine)
        assert totals.all.asked == len(mine)
        for status in ("completed", "refused", "open", "cancelled"):
            assert getattr(totals.all, status) == statuses[status]
        assert totals.all.undeliverable == sum(asked.status == "undeliverable" for asked in mine)
        assert totals.all.overdue == sum(any(asked.late(END)) for asked in mine)
        assert totals.all.answered_late == sum(
            asked.answered is not None and asked.answered > asked.notice.complete_by for asked in mine
        )
        assert totals.reasons == Counter(asked.reason for asked in mine if asked.status == "refused")
        assert totals.outcomes == Counter(asked.outcome for asked in mine if asked.status == "completed")


def test_a_ledger_that_read_topic_after_topic_exports_the_same_byte_for_byte(
    month: Month, ledger: Ledger, tmp_path: Path
) -> None:
    other = Ledger.open(tmp_path / "ledger.sqlite")
    for place in sorted(month.log):
        entries = month.log[place]
        for start in range(0, len(entries), 5_000):
            other.apply(entries[start : start + 5_000])
    for one, another in zip(ledger.export(), other.export(), strict=True):
        assert one == another
    other.close()
