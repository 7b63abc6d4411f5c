"""Every step of a notice, as one table; and what its status comes to, whatever is read first."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from ledger import Entry, Ledger
from ledger.transitions import Progress, Verdict, after, fits, judge
from streams.events import AckStatus, Outcome, PartnerRemoved, PartnerStatus, RefusalReason
from streams.kinds import Action
from tests.unit.test_ledger import acknowledged as said_of
from tests.unit.test_ledger import at, delivered, entry, issued, partner, refused, reissued, toggled

P, S = Progress, AckStatus
SAID: dict[str, tuple[Progress, bool]] = {
    "received": (P(S.RECEIVED), False),
    "working": (P(S.IN_PROGRESS), False),
    "by 1": (P(S.IN_PROGRESS, expected_by=1), False),
    "by 2": (P(S.IN_PROGRESS, expected_by=2), False),
    "by 2, why": (P(S.IN_PROGRESS, expected_by=2), True),
    **{outcome.value: (P(S.COMPLETED, outcome), False) for outcome in Outcome},
    **{reason.value: (P(S.REFUSED, None, reason), False) for reason in RefusalReason},
}
LETTERS = {
    "A": Verdict.APPLIED,
    "R": Verdict.REPEATED,
    "L": Verdict.LATE,
    "C": Verdict.CONTRADICTION,
    "U": Verdict.UNEXPLAINED,
    "S": Verdict.SUPPRESSED,
    "x": Verdict.UNFIT,
    "?": Verdict.NOT_UNDERSTOOD,
}
# A row is how far a notice has come; its letters stand for SAID, in order: received and in progress; the outcomes; the
# reasons. What cannot come of the action is left out.
# Deleted or already deleted is the same, and what was suppressed may be deleted later.
STOP = """
-               AAAAA AAAAx? AAAAA
received        RAAAA AAAAx? AAAAA
working         LRAAA AAAAx? AAAAA
by 1            LRRUA AAAAx? AAAAA
deleted         LLLLL RCCRx? CCCCC
suppressed      LLLLL ARCAx? CCCCC
not_found       LLLLL CCRCx? CCCCC
already_deleted LLLLL RCCRx? CCCCC
exempt          LLLLL CCCCx? RCCCC
legal_hold      LLLLL CCCCx? CRCCC
identity_not_verified LLLLL CCCCx? CCRCC
outside_jurisdiction  LLLLL CCCCx? CCCRC
other           LLLLL CCCCx? CCCCR
"""
# To suppress is not to delete: the notice stays under way.
ERASE = """
-               AAAAA ASAAx? AAAAA
received        RAAAA ASAAx? AAAAA
working         LRAAA ASAAx? AAAAA
by 1            LRRUA ASAAx? AAAAA
suppressed      LRAAA ARAAx? AAAAA
deleted         LLLLL RCCRx? CCCCC
not_found       LLLLL CCRCx? CCCCC
already_deleted LLLLL RCCRx? CCCCC
exempt          LLLLL CCCCx? RCCCC
legal_hold      LLLLL CCCCx? CRCCC
identity_not_verified LLLLL CCCCx? CCRCC
outside_jurisdiction  LLLLL CCCCx? CCCRC
other           LLLLL CCCCx? CCCCR
"""
RESUME = """
-               AAAAA xxAAA? AAAAA
received        RAAAA xxAAA? AAAAA
working         LRAAA xxAAA? AAAAA
by 1            LRRUA xxAAA? AAAAA
not_found       LLLLL xxRCC? CCCCC
already_deleted LLLLL xxCRC? CCCCC
resumed         LLLLL xxCCR? CCCCC
exempt          LLLLL xxCCC? RCCCC
legal_hold      LLLLL xxCCC? CRCCC
identity_not_verified LLLLL xxCCC? CCRCC
outside_jurisdiction  LLLLL xxCCC? CCCRC
other           LLLLL xxCCC? CCCCR
"""


@pytest.mark.parametrize(
    ("action", "table", "suppression_completes"),
    [
        (Action.ERASE, ERASE, False),
        (Action.ERASE, STOP, True),  # by contract, to suppress is enough, as it is where stopping is all that was asked
        (Action.STOP, STOP, False),
        (Action.RESUME, RESUME, False),
    ],
)
def test_the_whole_table(action: Action, table: str, suppression_completes: bool) -> None:
    rows: dict[str, str] = {}
    for line in table.strip().splitlines():
        *name, working, outcomes, reasons = line.split()
        rows[" ".join(name)] = working + outcomes + reasons
    possible = {name for name, (said, _) in SAID.items() if said.outcome is None or fits(said.outcome, action)}
    assert rows.keys() == {"-", *possible} - {"by 2", "by 2, why"}
    for state, letters in rows.items():
        current = standing(state, open_when_suppressed=table is ERASE)
        for (words, (said, explained)), letter in zip(SAID.items(), letters, strict=True):
            given: dict[str, Any] = {"action": action, "suppression_completes": suppression_completes}
            verdict = judge(current, said, owner=True, explained=explained, **given)
            assert verdict is LETTERS[letter], f"{words} after {state}"
            assert judge(current, said, owner=False, **given) is Verdict.NOT_OWNER
            # An amended answer takes the place of what it contradicts, if the partner says why, and of nothing else.
            assert judge(current, said, owner=True, explained=explained, amends=explained, **given) is verdict
            if said.status in (S.COMPLETED, S.REFUSED):
                assert judge(current, said, owner=True, amends=True, **given) is verdict, "without a word why"
                amended = judge(current, said, owner=True, explained=True, amends=True, **given)
                back = said.outcome is Outcome.SUPPRESSED and table is ERASE
                instead = Verdict.REOPENED if back else Verdict.AMENDED
                assert amended is (instead if verdict is Verdict.CONTRADICTION else verdict), f"{words} amends {state}"


def standing(state: str, *, open_when_suppressed: bool) -> Progress:
    if state == "-":
        return P()
    if state == "suppressed" and open_when_suppressed:
        return P(S.IN_PROGRESS, Outcome.SUPPRESSED)
    return SAID[state][0]


@pytest.mark.parametrize(
    ("current", "said", "verdict", "reached"),
    [
        (P(), P(S.COMPLETED, Outcome.SUPPRESSED), Verdict.SUPPRESSED, P(S.IN_PROGRESS, Outcome.SUPPRESSED)),
        (P(S.IN_PROGRESS, Outcome.SUPPRESSED), P(S.IN_PROGRESS, expected_by=3), Verdict.APPLIED,
         P(S.IN_PROGRESS, Outcome.SUPPRESSED, None, 3)),
        (P(S.IN_PROGRESS, Outcome.SUPPRESSED, None, 3), P(S.COMPLETED, Outcome.DELETED), Verdict.APPLIED,
         P(S.COMPLETED, Outcome.DELETED, None, 3)),
        (P(S.IN_PROGRESS, Outcome.SUPPRESSED), P(S.REFUSED, None, RefusalReason.EXEMPT), Verdict.APPLIED,
         P(S.REFUSED, None, RefusalReason.EXEMPT)),
        (P(S.COMPLETED, Outcome.DELETED), P(S.REFUSED, None, RefusalReason.EXEMPT), Verdict.AMENDED,
         P(S.REFUSED, None, RefusalReason.EXEMPT)),
        (P(S.COMPLETED, Outcome.DELETED), P(S.COMPLETED, Outcome.SUPPRESSED), Verdict.REOPENED,
         P(S.IN_PROGRESS, Outcome.SUPPRESSED)),
    ],
)  # fmt: skip
def test_how_far_an_answer_that_counts_brings_a_notice(
    current: Progress, said: Progress, verdict: Verdict, reached: Progress
) -> None:
    assert judge(current, said, owner=True, action=Action.ERASE, explained=True, amends=True) is verdict
    assert after(current, said, verdict) == reached


@pytest.mark.parametrize("name", SAID)
def test_what_is_applied_stands_and_keeps_when_it_was_expected_last(name: str) -> None:
    said, _ = SAID[name]
    reached = after(P(S.RECEIVED), said)
    assert reached == said
    reached = after(P(S.IN_PROGRESS, expected_by=9), said)
    assert (reached.status, reached.outcome, reached.reason) == (said.status, said.outcome, said.reason)
    assert reached.expected_by == (said.expected_by or 9)


#: What we did with a notice, and its status after each word of its partner, from none at all on.
STATUSES = {
    "queued": ("queued", "received", "in_progress", "completed", "refused"),
    "delivered": ("delivered", "received", "in_progress", "completed", "refused"),
    "undeliverable": ("undeliverable", "undeliverable", "undeliverable", "completed", "refused"),
    "taken at last": ("delivered", "received", "in_progress", "completed", "refused"),
    "cancelled": ("cancelled", "cancelled", "cancelled", "completed", "refused"),
    "delivered, then cancelled": ("cancelled", "cancelled", "cancelled", "completed", "refused"),
}
WORDS = (None, *AckStatus)


def history() -> dict[str, list[Entry]]:
    """By topic, every combination of what happens to a notice and what its partner says; each notice at an offset of
    its own number."""
    gone = PartnerRemoved.model_validate(
        partner("q", 1).model_dump() | {"status": PartnerStatus.REMOVED, "revision": 2, "updated_at": at(30)}
    )
    topics: dict[str, list[Entry]] = {
        "partners": [entry("partners", 0, "r1", partner()), entry("partners", 1, "r2", partner("q", 1))],
        "notices": [],
        "deliveries": [],
        "undeliverable": [],
        "acknowledgements": [],
    }
    for number, (what, word) in enumerate(itertools.product(STATUSES, WORDS)):
        name = "q" if "cancelled" in what else "p"
        topics["notices"].append(issued(number, number, name=name))
        if "delivered" in what:
            topics["deliveries"].append(delivered(len(topics["deliveries"]), number, number))
        if what in ("undeliverable", "taken at last"):
            topics["undeliverable"].append(refused(len(topics["undeliverable"]), number, number))
        if what == "taken at last":
            place = number - 15
            topics["notices"].append(reissued(place, number, lane=5))
            topics["deliveries"].append(delivered(len(topics["deliveries"]), place, place, 21, lane=5))
        if word is not None:
            outcome = Outcome.DELETED if word is AckStatus.COMPLETED else None
            said = said_of(len(topics["acknowledgements"]), number, word, outcome, name=name, by=name)
            topics["acknowledgements"].append(said)
    topics["partners"].append(entry("partners", 2, "r3", gone))
    return topics


@pytest.mark.parametrize("first", ["notices", "acknowledgements", "deliveries", "undeliverable", "partners"])
def test_a_status_follows_from_what_happened_and_not_from_what_is_read_first(tmp_path: Path, first: str) -> None:
    topics = history()
    orders = [order for order in itertools.permutations(topics) if order[0] == first][::6]
    for number, order in enumerate(orders):
        ledger = Ledger.open(tmp_path / f"{number}.sqlite")
        try:
            for topic in order:
                ledger.apply(topics[topic])
            cases = list(itertools.product(STATUSES, range(len(WORDS))))
            ids = [f"n-{'q' if 'cancelled' in what else 'p'}-{case}" for case, (what, _) in enumerate(cases)]
            found = ledger.notices(ids)
            for identity, (what, word) in zip(ids, cases, strict=True):
                assert found[identity].status == STATUSES[what][word], (order, what, WORDS[word])
        finally:
            ledger.close()


def promise(offset: int, by: float | None, why: str | None = None) -> Entry:
    said = said_of(offset, 1, AckStatus.IN_PROGRESS, None)
    assert said.envelope is not None
    data = said.envelope.data.model_copy(update={"expected_by": None if by is None else at(by), "detail": why})
    return Entry(said.topic, 0, offset, said.timestamp, said.envelope._replace(data=data))


def test_a_partner_may_move_what_it_promised_if_it_says_why(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    try:
        ledger.apply([*toggled(0, 1), issued(0, 1), delivered(0, 0, 0)])
        wanted = [
            (promise(0, None), None, "p says in_progress."),
            (promise(1, 30), 30, "p says in_progress, to be done by 2026-01-01 12:30 UTC."),
            (promise(2, 30, "as said"), 30, "p says in_progress again, to be done by 2026-01-01 12:30 UTC."),
            (promise(3, 40), 30, "p says in_progress, to be done by 2026-01-01 12:40 UTC; recorded as unexplained."),
            (promise(4, 50, "a backup"), 50, "p says in_progress, to be done by 2026-01-01 12:50 UTC: a backup."),
            (promise(5, None), 50, "p says in_progress again."),
            (said_of(6, 1), 50, "p says completed (deleted)."),
            (promise(7, 70, "late"), 50, "p says in_progress, to be done by 2026-01-01 13:10 UTC; recorded as late."),
        ]
        for what, by, words in wanted:
            ledger.apply([what])
            assert ledger.notices(["n-p-1"])["n-p-1"].expected_by == (None if by is None else at(by))
            assert ledger.timeline("user:1")[-1].summary == words
    finally:
        ledger.close()


def test_promises_that_wait_for_their_notice_count_as_others_do(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    try:
        ledger.apply([promise(0, 30), promise(1, 40), promise(2, 50, "a backup"), issued(0, 1)])
        assert ledger.notices(["n-p-1"])["n-p-1"].expected_by == at(50)
        verdicts = [each.detail["verdict"] for each in ledger.timeline("user:1") if each.kind == "acknowledged"]
        assert verdicts == ["applied", "unexplained", "applied"]
    finally:
        ledger.close()


def test_a_contradiction_that_waits_for_its_notice_is_flagged_as_others_are(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    try:
        ledger.apply([entry("partners", 0, "r1", partner())])
        ledger.apply([said_of(0, 1), said_of(1, 1, AckStatus.REFUSED, None)])
        assert ledger.contradictions(None, None, 10) == []
        ledger.apply([issued(0, 1)])
        (found,) = ledger.contradictions("p", None, 10)
        assert (found.stands, found.status, found.reason) == ("completed", "refused", "exempt")
        assert ledger.lag(at(5))[0].contradictions == 1
    finally:
        ledger.close()
