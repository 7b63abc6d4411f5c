"""Random histories of a partner, its users and a worker that dies: what must hold in each.

The model beside them knows what users chose, what came to the partner and what it said, and reads the log; it imports
nothing that judges a partner's state. More histories than usual are tried where `HISTORIES` says how many.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.webhooks import Answer
from ledger import NoticeStatus
from streams.events import (
    Acknowledged,
    NoticeParked,
    NoticesIssued,
    NoticeUndeliverable,
    PartnerTried,
    ReplyAcknowledged,
)
from streams.kinds import Choice
from streams.topics import ACKNOWLEDGEMENTS, NOTICES, PARTNERS, UNDELIVERABLE
from streams.written import WrittenNotice
from tests.support.endpoints import CLOSED, TAKEN, TIMED_OUT, status
from tests.support.held_time import HeldTimeLoop, run
from tests.support.one_lane import LANE, OneLane, first_issues

NOON = datetime.fromisoformat("2026-01-01T12:00:00+00:00")
#: How long the partner has to take a notice, and to complete it.
RECEIVE, COMPLETE = timedelta(hours=1), timedelta(hours=10)
USERS = ("user:1", "user:2", "user:3", "user:4")
DONE = {"erase": "deleted", "stop": "suppressed", "resume": "resumed"}

# -- what happens

FAULTS = {
    "400": status(400),
    "404": status(404),
    "500": status(500),
    "timeout": TIMED_OUT,
    "503": status(503),
    "closed": CLOSED,
}
faults = st.sampled_from(sorted(FAULTS))
users = st.sets(st.sampled_from(USERS), min_size=1)
few = st.sampled_from([{user} for user in USERS[:3]])
deaths = st.tuples(st.sampled_from(["before", "behind"]), st.integers(0, 3), st.sampled_from([0, 5, 4_000]))
deaths_at_once = st.tuples(st.sampled_from(["before", "behind"]), st.integers(0, 2), st.just(4_000))
spans = st.sampled_from([1, 5, 60, 1_200, 4_000, 40_000])
Op = tuple[str, Any]


def one(op: str, detail: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Op]]:
    return detail.map(lambda drawn: [(op, drawn)])


def away(fault: str, whose: set[str], death: tuple[str, int, int], *, dies: bool) -> list[Op]:
    """Users opt in while the partner is away, and some out again; the worker may die when it is back."""
    turned: list[Op] = [("fails", fault), ("opt_in", set(USERS[:3])), ("passes", 5), ("opt_out", whose), ("passes", 5)]
    return [*turned, ("takes", None), ("dies", death) if dies else ("passes", 4_000)]


def at_fault(fault: str, whose: set[str], span: int, *, turns: bool) -> list[Op]:
    """A notice fails alone while others are taken; its user may turn just when it is tried again."""
    begun: list[Op] = [("fails about", (fault, whose)), ("opt_out", set(USERS)), ("passes", 60)]
    return [*begun, *([("opt_in meanwhile", whose), ("takes", None)] if turns else []), ("passes", span)]


histories = st.lists(
    st.one_of(
        one("opt_out", users),
        one("opt_in", users),
        one("takes", st.none()),
        one("fails", faults),
        one("fails about", st.tuples(faults, few)),
        one("fails to", st.tuples(faults, st.sampled_from(["erase", "resume"]))),
        one("says", st.sampled_from(["completed", "refused", "suppressed", "nothing"])),
        one("answers late", st.sampled_from(["completed", "refused"])),
        one("passes", spans),
        one("dies", deaths),
        one("is tried", st.none()),
        st.builds(away, faults, few, deaths_at_once, dies=st.booleans()),
        st.builds(at_fault, faults, few, spans, turns=st.booleans()),
    ),
    min_size=1,
    max_size=9,
).map(lambda parts: [("opt_out", set(USERS[:2])), *(op for part in parts for op in part)])


@dataclass
class Receiver:
    """A partner that knows nothing of ranks: it drops an id that it knows, and otherwise does what comes."""

    fails: Answer | None = None
    about: frozenset[str] = frozenset(USERS)
    actions: frozenset[str] = frozenset(DONE)
    says: str = "nothing"
    #: Ids in the order in which they first came, and were first taken.
    came: dict[str, WrittenNotice] = field(default_factory=dict)
    taken: dict[str, WrittenNotice] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def answer(self, notices: Sequence[WrittenNotice]) -> Answer:
        for notice in notices:
            self._note(self.came, notice, "sent")
        hit = any(notice.subject in self.about and notice.action in self.actions for notice in notices)
        if self.fails is not None and hit and self.fails is not CLOSED:
            return self.fails
        for notice in notices:
            if notice.id not in self.taken:
                self._note(self.taken, notice, "taken")
                self.held[notice.subject] = notice.action
        if self.fails is CLOSED and hit:
            return CLOSED
        self.accepted |= {notice.id for notice in notices}
        items = [{"id": each.id, **said} for each in notices if (said := self._said(each))]
        return Answer(TAKEN.attempt, 1.0, TAKEN.address, orjson.dumps({"results": items}), dialled=True)

    def _note(self, known: dict[str, WrittenNotice], notice: WrittenNotice, word: str) -> None:
        """Ranks are only read to tell which came later."""
        if notice.id in known:
            return
        for other in known.values():
            turned = (other.action == "resume") is not (notice.action == "resume")
            if other.subject == notice.subject and turned and (other.rank or "") > (notice.rank or ""):
                self.wrong.append(
                    f"{notice.action} {notice.toggle_id} first {word} after {other.action} {other.toggle_id}"
                )
        known[notice.id] = notice

    def _said(self, notice: WrittenNotice) -> dict[str, str]:
        return said(self.says, notice.action)


def said(word: str, action: str) -> dict[str, str]:
    match word:
        case "completed":
            return {"status": "completed", "outcome": DONE[action]}
        case "suppressed" if action != "resume":
            return {"status": "completed", "outcome": "suppressed"}
        case "refused":
            return {"status": "refused", "reason": "exempt"}
        case _:
            return {}


class History:
    """What happened, and the model of what must be said of it."""

    def __init__(self, loop: HeldTimeLoop, directory: Path) -> None:
        self.receiver = Receiver()
        clocks = {"receive_within": "PT1H", "complete_within": "PT10H", "batch_size": 4}
        self.lane = OneLane(loop, NOON, directory / "ledger.sqlite", self.receiver.answer, **clocks)
        self._late = 0

    async def happens(self, op: str, detail: Any) -> None:
        receiver, lane = self.receiver, self.lane
        match op:
            case "opt_out" | "opt_in":
                lane.chosen([(user, Choice(op)) for user in sorted(detail)])
            case "takes":
                receiver.fails = None
            case "fails":
                receiver.fails, receiver.about, receiver.actions = FAULTS[detail], frozenset(USERS), frozenset(DONE)
            case "fails about":
                receiver.fails, receiver.about, receiver.actions = (
                    FAULTS[detail[0]],
                    frozenset(detail[1]),
                    frozenset(DONE),
                )
            case "fails to":
                receiver.fails, receiver.about, receiver.actions = (
                    FAULTS[detail[0]],
                    frozenset(USERS),
                    frozenset({detail[1]}),
                )
            case "says":
                receiver.says = detail
            case "answers late":
                self._answer(detail)
            case "passes":
                await lane.passed(detail)
            case "dies":
                await lane.dies(*detail)
            case "opt_in meanwhile":
                lane.meanwhile = lambda: lane.chosen([(user, Choice.OPT_IN) for user in sorted(detail)])
            case "is tried":
                lane.log.happened(PARTNERS.name, "tried", PartnerTried(partner="p", tried_at=lane.clock()))
        await lane.settled()

    def _answer(self, word: str) -> None:
        """To all that was taken and has no final answer, by the API."""
        finals = self.finals()
        for notice in self.receiver.taken.values():
            if notice.id not in finals:
                self._late += 1
                fields = {"notice_id": notice.id, "partner": "p", "subject": notice.subject, "via": "api"}
                data = Acknowledged.model_validate(
                    fields | said(word, notice.action) | {"occurred_at": self.lane.clock()}
                )
                self.lane.log.happened(ACKNOWLEDGEMENTS.name, f"late-{self._late}", data)

    # -- what must hold

    def finals(self) -> set[str]:
        """Notices with a final answer to what was asked, as it stands in the log."""
        asked = {notice.id: notice.action for notice in first_issues(self.lane.log)}
        return {
            each.notice_id
            for event in self.lane.log.events(ACKNOWLEDGEMENTS.name)
            for each in _answers(event.data)
            if each.status == "refused" or each.outcome == DONE[asked[each.notice_id]]
        }

    def check(self) -> None:
        assert self.receiver.wrong == []
        issued, finals, now = first_issues(self.lane.log), self.finals(), self.lane.clock()
        rows = self.lane.ledger.notices([notice.id for notice in issued])
        done = {NoticeStatus.COMPLETED, NoticeStatus.REFUSED}
        assert {each.id for each in rows.values() if each.status in done} == finals, "an answer is lost, or invented"
        (row,) = self.lane.ledger.lag(now, partner="p")
        if row.state != "OK":
            return
        held = self._not_taken()
        for notice in issued:
            if notice.id in finals or self._is_reversed(notice, issued):
                continue
            age, name = now - notice.issued_at, f"{notice.action} {notice.toggle_id}"
            assert age <= COMPLETE, f"{name} is past complete-by"
            assert age <= RECEIVE or notice.id in self.receiver.accepted, f"{name} is past receive-by"
            assert held.get(notice.id) is None, f"{name} is {held[notice.id]}"

    def _not_taken(self) -> dict[str, str | None]:
        """What is undeliverable or parked; what was issued again since waits in its lane."""
        places: dict[str, int] = {}
        for event, message in zip(
            self.lane.log.events(NOTICES.name), self.lane.log.messages.get(LANE, []), strict=True
        ):
            assert isinstance(event.data, NoticesIssued)
            places |= {notice.id: message.offset for notice in event.data.notices}
        found: dict[str, str | None] = {}
        for event in self.lane.log.events(UNDELIVERABLE.name):
            if isinstance(event.data, NoticeParked | NoticeUndeliverable):
                last = places[event.data.notice_id] == event.data.offset
                found[event.data.notice_id] = type(event.data).__name__ if last else None
        return {identity: word for identity, word in found.items() if word and identity not in self.receiver.accepted}

    def _is_reversed(self, notice: Any, issued: Sequence[Any]) -> bool:
        return any(
            other.subject == notice.subject
            and (other.action == "resume") is not (notice.action == "resume")
            and other.rank > notice.rank
            for other in issued
        )

    async def ends_well(self) -> None:
        """The partner is mended, and hours pass: then it holds what its users chose, whatever happened before."""
        self.receiver.fails, self.receiver.says = None, "completed"
        await self.happens("is tried", None)
        for _ in range(3):
            await self.lane.passed(4_000)
            self.check()
        issued, refused = first_issues(self.lane.log), self._not_taken()
        for notice in issued:
            if notice.id in refused or self._is_reversed(notice, issued):
                continue
            assert notice.id in self.receiver.taken, f"{notice.action} {notice.toggle_id} never came"
            assert self.receiver.held[notice.subject] == notice.action


def _answers(data: Any) -> list[Acknowledged]:
    return [each for _, each in data.each()] if isinstance(data, ReplyAcknowledged) else [data]


#: Two opt-outs are taken; the partner is away while both users opt in, and one of them out again. When it is back that
#: one's opt-in is left out, the rest is taken, and the worker dies before that is durable.
LEFT_OUT = [("opt_out", {"user:1", "user:2"}), *away("503", {"user:1"}, ("before", 1, 4_000), dies=True)]


@given(histories)
@example(LEFT_OUT)
@settings(max_examples=int(os.environ.get("HISTORIES", "120")), deadline=None)
def test_ok_means_that_nothing_is_amiss_and_no_history_turns_a_partner_around(history: list[tuple[str, Any]]) -> None:
    async def tell(loop: HeldTimeLoop) -> None:
        with TemporaryDirectory() as directory:
            told = History(loop, Path(directory))
            await told.lane.start()
            try:
                for op, detail in history:
                    await told.happens(op, detail)
                    told.check()
                await told.ends_well()
            finally:
                await told.lane.stop()

    run(tell)
