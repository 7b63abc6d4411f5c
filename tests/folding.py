"""Histories of a few notices for tests of folding: everything that may be said of them, in any order."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from ledger import Entry, Ledger, LedgerReader, Window
from streams.cloudevents import Envelope
from streams.deadlines import Deadline, DeadlineReached, EscalationClaimed, Step
from streams.events import (
    Acknowledged,
    AcknowledgedItem,
    AckStatus,
    Act,
    Again,
    BatchDelivered,
    Data,
    Failing,
    NoticeParked,
    NoticesIssued,
    NoticesSuperseded,
    NoticeUndeliverable,
    OperatorActed,
    Outcome,
    PartnerRemoved,
    PartnerStatus,
    RefusalReason,
    ReplyAcknowledged,
    StatementReceived,
)
from streams.kinds import Action
from tests.unit.test_ledger import BY, NOON, at, notice, partner

NUMBERS = range(5)
#: After everything that is said.
END = at(60 * 24 * 90)
_NUMBER = st.sampled_from(NUMBERS)
_STATUS = st.sampled_from([*AckStatus, AckStatus.COMPLETED, AckStatus.COMPLETED])
#: Minutes; over three months.
_MINUTES = st.integers(0, 60 * 24 * 80)


class History:
    """Entries as they come, each with its offset. Ids are drawn from few, so that some repeat."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._ends: Counter[str] = Counter()

    def say(self, topic: str, identity: str, data: Data, time: datetime = NOON) -> int:
        offset = self._ends[topic]
        self._ends[topic] += 1
        self.entries.append(Entry(f"rescind.{topic}", 0, offset, NOON, Envelope(identity, time, data)))
        return offset

    def issued(self, number: int, *, again: bool = False) -> None:
        notices = (notice(number).model_copy(update={"extended_complete_by": at(10_000)}),)
        how = Again(how="replay", by=BY) if again else None
        pack = NoticesIssued(partner="p", lane=0, notices=notices, again=how)
        self.say("notices", f"pack-{self._ends['notices']}", pack)

    def delivered(self, place: int, minutes: int) -> None:
        data = BatchDelivered(
            partner="p", lane=0, first_offset=place, last_offset=place, notices=1, webhook_id=f"m{place}", attempt=1,
            status_code=200, duration_ms=1, delivered_at=at(minutes),
        )  # fmt: skip
        self.say("deliveries", f"delivered-{place}-{minutes}", data)

    def undeliverable(self, number: int, place: int, minutes: int) -> None:
        data = NoticeUndeliverable(
            partner="p", lane=0, offset=place, notice_id=f"n-p-{number}", subject=f"user:{number}", status_code=422,
            detail="no", refused_at=at(minutes),
        )  # fmt: skip
        self.say("undeliverable", f"refused-{number}-{place}", data)

    def parked(self, number: int, place: int, minutes: int) -> None:
        data = NoticeParked(
            partner="p", lane=0, offset=place, notice_id=f"n-p-{number}", subject=f"user:{number}", status_code=500,
            detail="not now", failing=Failing(lane=0, offset=place, failures=1, refusals=0, others_taken=True),
            parked_at=at(minutes), retry_at=at(minutes + 60),
        )  # fmt: skip
        self.say("undeliverable", f"parked-{number}-{place}", data)

    def discarded(self, number: int, minutes: int) -> None:
        data = OperatorActed(
            act=Act.DISCARD, by=BY, partner="p", notices=(f"n-p-{number}",), reason="gone", acted_at=at(minutes)
        )
        self.say("actions", f"discarded-{number}", data)

    def opted_in(self, number: int) -> None:
        """A later notice that asks for the opposite."""
        back = notice(number).model_copy(update={"id": f"n-back-{number}", "action": Action.RESUME})
        self.say("notices", f"back-{number}", NoticesIssued(partner="p", lane=0, notices=(back,)))

    def superseded(self, number: int, minutes: int) -> None:
        data = NoticesSuperseded(partner="p", lane=0, superseded=(f"n-p-{number}",), superseded_at=at(minutes))
        self.say("deliveries", f"superseded-{number}-{minutes}", data)

    def answered(
        self, number: int, status: AckStatus = AckStatus.COMPLETED, minutes: int = 30, *, by: str = "p",
        outcome: Outcome = Outcome.DELETED, statement: int | None = None, extend: bool = False, identity: str = "",
        amends: bool = False,
    ) -> None:  # fmt: skip
        data = Acknowledged(
            notice_id=f"n-p-{number}", partner=by, subject=f"user:{number}", status=status,
            outcome=outcome if status is AckStatus.COMPLETED else None,
            reason=RefusalReason.EXEMPT if status is AckStatus.REFUSED else None,
            detail="so\x00it is", evidence={"of": number, "what": "\x00é"} if minutes % 2 else None,
            occurred_at=at(minutes), via="api" if statement is None else "callback",
            statement=None if statement is None else f"s-{statement}", extend=True if extend else None,
            amends=True if amends else None,
        )  # fmt: skip
        said = f"a-{number}-{status}-{outcome}-{by}-{statement}" + ("-amends" if amends else "")
        self.say("acknowledgements", identity or said, data, at(minutes))

    def replied(self, *numbers: int, minutes: int = 40) -> None:
        items = tuple(
            AcknowledgedItem(
                id=f"r-{number}", notice_id=f"n-p-{number}", subject=f"user:{number}", status=AckStatus.COMPLETED,
                outcome=Outcome.DELETED,
            )
            for number in numbers
        )  # fmt: skip
        data = ReplyAcknowledged(partner="p", occurred_at=at(minutes), items=items)
        self.say("acknowledgements", f"replied-{numbers}", data, at(minutes))

    def signed(self, statement: int, minutes: int = 20) -> None:
        data = StatementReceived(
            partner="p", webhook_id=f"w{statement}", webhook_timestamp="1", webhook_signature="v1,x",
            body_base64=base64.b64encode(b"\n\x00body" * statement).decode(), received_at=at(minutes),
        )  # fmt: skip
        self.say("acknowledgements", f"s-{statement}", data, at(minutes))

    def marked(self, numbers: tuple[int, ...], deadline: Deadline, step: Step, minutes: int) -> None:
        data = DeadlineReached(
            partner="p", deadline=deadline, step=step, notices=tuple(f"n-p-{number}" for number in numbers),
            reached_at=at(minutes),
        )  # fmt: skip
        self.say("deadlines", f"mark-{numbers}-{deadline}-{step}", data, at(minutes))

    def escalated(self, up_to: int) -> None:
        data = EscalationClaimed(
            escalation=f"e{up_to}", claim="c", partner="p", deadline=Deadline.COMPLETE, step=Step.BREACHED, after=0,
            rule="r", target="mail", window=up_to, up_to=up_to, notices=1, claimed_at=at(50),
        )  # fmt: skip
        self.say("deadlines", f"e{up_to}", data)

    def removed(self) -> None:
        gone = partner().model_dump() | {"status": PartnerStatus.REMOVED, "revision": 2, "updated_at": at(3)}
        self.say("partners", "removed", PartnerRemoved.model_validate(gone))


@st.composite
def histories(draw: Any) -> list[Entry]:
    history = History()
    history.say("partners", "registered", partner())
    for _ in range(draw(st.integers(1, 40))):
        number, minutes = draw(_NUMBER), draw(_MINUTES)
        match draw(st.integers(0, 18)):
            case 0 | 1 | 2:
                history.issued(number)
            case 3:
                history.issued(number, again=True)
            case 4:
                history.delivered(number, minutes)
            case 5:
                history.superseded(number, minutes)
            case 6:
                history.undeliverable(number, draw(st.integers(0, 9)), minutes)
            case 7:
                history.signed(draw(st.integers(0, 1)), minutes)
            case 8:
                history.marked(
                    tuple(draw(st.sets(_NUMBER, min_size=1))), draw(st.sampled_from(Deadline)),
                    draw(st.sampled_from([Step.AT_RISK, Step.BREACHED])), minutes,
                )  # fmt: skip
            case 9:
                history.escalated(number)
            case 10:
                history.replied(*sorted(draw(st.sets(_NUMBER, min_size=1))), minutes=minutes)
            case 12:
                history.parked(number, draw(st.integers(0, 9)), minutes)
            case 13:
                history.opted_in(number)
            case 14:
                history.discarded(number, minutes)
            case 11 if draw(st.integers(0, 4)) == 0:
                history.removed()
            case _:
                history.answered(
                    number, draw(_STATUS), minutes, by=draw(st.sampled_from(["p", "p", "p", "q"])),
                    outcome=draw(st.sampled_from([Outcome.DELETED, Outcome.NOT_FOUND, Outcome.SUPPRESSED])),
                    statement=draw(st.sampled_from([None, None, 0, 1])), extend=draw(st.booleans()),
                    amends=draw(st.booleans()),
                )  # fmt: skip
    return history.entries


def known(reader: LedgerReader) -> Iterator[Any]:
    """Whatever a ledger tells that folding might touch."""
    yield list(reader.export())
    for number in NUMBERS:
        yield reader.timeline(f"user:{number}")
    yield [reader.statement(f"s-{number}") for number in (0, 1, 2)]
    yield reader.contradictions(None, None, 100)
    yield reader.lag(END, Window.MONTH, tuple(Window))
    yield reader.totals()
    yield reader.notices([f"n-p-{number}" for number in NUMBERS])


def rows(ledger: Ledger, sql: str) -> list[Any]:
    """Straight from the file."""
    return ledger._connection.execute(sql).fetchall()


def changes(ledger: Ledger) -> list[Any]:
    """What is counted though no export tells it."""
    return rows(ledger, "SELECT * FROM lag_changes ORDER BY partner, kind")


def counted(ledger: Ledger) -> bool:
    """Do the archives' counts agree with what points to them?"""
    notices = rows(ledger, "SELECT archived, COUNT(*) FROM notices WHERE archived > 0 GROUP BY 1 ORDER BY 1")
    gone = "id NOT IN (SELECT id FROM statements)"
    statements = rows(ledger, f"SELECT month, COUNT(*) FROM archived_statements WHERE {gone} GROUP BY 1 ORDER BY 1")
    return notices == rows(ledger, "SELECT month, notices FROM archives WHERE notices > 0 ORDER BY 1") and (
        statements == rows(ledger, "SELECT month, statements FROM archives WHERE statements > 0 ORDER BY 1")
    )


def fold_all(ledger: Ledger, before: datetime = END, most: int = 100) -> int:
    """How many notices were folded, in steps of at most so many."""
    folded = 0
    while (step := ledger.fold(before, most)).looked_at:
        folded += step.folded
    return folded


def unfolded(directory: Path, entries: list[Entry]) -> list[Any]:
    """What a ledger tells that never folded anything."""
    with closing(Ledger.open(directory / "unfolded.sqlite")) as ledger:
        ledger.apply(entries)
        return list(known(ledger))
