"""Opting back in before delivery: what is left out, and what the ledger makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.parcels import places
from agents.superseding import Words
from ledger import Entry, Ledger
from streams.events import Notice, NoticesIssued, NoticesSuperseded
from streams.kinds import Action, Choice
from streams.ranks import rank_of
from streams.written import WrittenNotice, written
from tests.unit.fakes import NOON
from tests.unit.test_ledger import acknowledged, at, delivered, entry, notice, partner, reissued, status, toggled

S, E, R = Action.STOP, Action.ERASE, Action.RESUME


def issued(number: int, action: Action, about: str = "user:1", purpose: str = "ai") -> Notice:
    """The one that was issued after so many others."""
    when, rank = at(number / 1000), rank_of(number, NOON, Choice.OPT_OUT, retroactive=True)
    changes = {"action": action, "subject": about, "purpose": purpose, "issued_at": when, "rank": rank}
    return notice(number).model_copy(update=changes)


def asked(number: int, action: Action, about: str = "user:1", purpose: str = "ai") -> WrittenNotice:
    return written(issued(number, action, about, purpose))


def superseded(notices: list[WrittenNotice], behind: Sequence[WrittenNotice] = ()) -> set[str]:
    """What is left out of the first two packs that a lane has, once it has read the third."""
    middle = len(notices) // 2
    words = Words()
    offsets = [7] * middle + [8] * (len(notices) - middle)
    words.add("p", 7, notices[:middle])
    words.add("p", 8, notices[middle:])
    words.add("p", 9, behind)
    return {each.id for place, each in zip(places(offsets), notices, strict=True) if words.reverse("p", place, each)}


@pytest.mark.parametrize(
    ("actions", "behind", "left_out"),
    [
        ([E], [], []),
        ([E, R], [], [0]),
        ([S, R], [], [0]),
        ([R, E], [], [0]),
        ([S, E], [], []),
        ([E, E], [], []),
        ([R, R], [], []),
        ([E, R, E], [], [0, 1]),
        ([E, R, S], [], [0, 1]),
        ([R, E, R], [], [0, 1]),
        ([E, S, R], [], [0, 1]),
        ([E], [R], [0]),
        ([E], [E], []),
        ([E], [R, E], [0]),
        ([R], [R, S], [0]),
        ([E, R], [E], [0, 1]),
        ([], [R], []),
    ],
)
def test_what_a_later_word_reverses_is_left_out(
    actions: list[Action], behind: list[Action], left_out: list[int]
) -> None:
    notices = [asked(number, action) for number, action in enumerate([*actions, *behind])]
    found = superseded(notices[: len(actions)], notices[len(actions) :])
    assert found == {f"n-p-{number}" for number in left_out}


def test_another_subject_and_another_purpose_are_none_of_its_business() -> None:
    assert superseded([asked(0, E), asked(1, R, about="user:2"), asked(2, R, purpose="ads")]) == set()


def test_what_is_for_another_partner_is_none_of_it_either() -> None:
    words = Words()
    words.add("former", 0, [asked(0, E)])
    words.add("p", 1, [asked(1, R)])
    assert not words.reverse("former", (0, 0), asked(0, E))


def test_what_is_done_with_is_forgotten() -> None:
    words = Words()
    packs = [[asked(0, E), asked(1, S, about="user:2")], [asked(2, R)], [asked(3, E)]]
    for offset, pack in enumerate(packs):
        words.add("p", offset, pack)
    for offset, (pack, left) in enumerate(zip(packs, (1, 1, 0), strict=True)):
        words.forget("p", offset, pack)
        assert len(words) == left


def test_an_old_word_that_is_repeated_behind_a_new_one_takes_nothing_back() -> None:
    """As after a crash of who issued them, maybe before the new word is repeated, too; or by an operator's hand."""
    old, new = asked(0, E), asked(1, R)
    assert superseded([old, new], [old]) == {old.id}
    assert superseded([old, new], [old, new]) == {old.id}
    words = Words()
    for offset, each in enumerate([old, new, old, new]):
        words.add("p", offset, [each])
    assert [words.reverse("p", (offset, 0), each) for offset, each in enumerate([old, new, old, new])] == [
        True, False, True, False,
    ]  # fmt: skip


def test_of_what_was_accepted_at_the_same_time_the_higher_rank_is_the_later_word() -> None:
    same = asked(1, R)
    same.issued_at = asked(0, E).issued_at
    assert superseded([asked(0, E), same]) == {asked(0, E).id}


def test_a_lower_rank_takes_back_nothing() -> None:
    assert superseded([asked(2, E), asked(1, R)]) == set()


def test_what_has_no_rank_is_below_all_others() -> None:
    without = asked(0, E)
    without.rank = None
    assert superseded([without, asked(1, R)]) == {without.id}
    assert superseded([asked(1, R), without]) == set()


def followed(notices: list[WrittenNotice]) -> dict[tuple[str, str], str]:
    """What a partner that obeys in order does in the end: whether it may use it, and whether it was ever to delete."""
    return {(each.subject, each.purpose): each.action for each in notices}


@given(
    st.lists(st.tuples(st.sampled_from(Action), st.sampled_from(["user:1", "user:2"])), max_size=8),
    st.integers(0, 8),
)
def test_the_last_word_always_goes_out_and_no_word_that_it_agrees_with_is_lost(
    history: list[tuple[Action, str]], cut: int
) -> None:
    notices = [asked(number, action, about) for number, (action, about) in enumerate(history)]
    left_out = superseded(notices[:cut], notices[cut:])
    sent = [each for each in notices if each.id not in left_out]
    assert followed(sent) == followed(notices)
    for number, each in enumerate(notices[:cut]):
        later = [more for more in notices[number + 1 :] if more.subject == each.subject]
        assert (each.id in left_out) == any((more.action == R) != (each.action == R) for more in later)


# -- the ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    opened.apply([entry("partners", 0, "r1", partner())])
    yield opened
    opened.close()


def pack(offset: int, *notices: Notice) -> Entry:
    return entry("notices", offset, f"pack-{offset}", NoticesIssued(partner="p", lane=0, notices=notices))


def left_out(offset: int, *numbers: int, minutes: float = 3) -> Entry:
    ids = tuple(f"n-p-{number}" for number in numbers)
    data = NoticesSuperseded(partner="p", lane=0, superseded=ids, superseded_at=at(minutes))
    return entry("deliveries", offset, f"superseded-{offset}", data)


STORY = {
    "notices": [pack(0, issued(1, E)), pack(1, issued(2, R))],
    "deliveries": [left_out(0, 1), delivered(1, 0, 1, 3, "n-p-1")],
}


@pytest.mark.parametrize("order", list(itertools.permutations(STORY)), ids=str)
def test_what_was_left_out_is_cancelled_whatever_is_read_first(ledger: Ledger, order: tuple[str, ...]) -> None:
    for topic in order:
        ledger.apply(STORY[topic])
    assert (status(ledger, "n-p-1"), status(ledger, "n-p-2")) == ("cancelled", "delivered")
    (row,) = ledger.lag(at(5))
    assert (row.open, row.backlog, row.delivered) == (1, 0, 1)
    said = [(each.kind, each.summary) for each in ledger.timeline("user:1") if each.kind != "notice_issued"]
    assert said == [
        ("delivered", "p took delivery."),
        ("cancelled", "The user chose otherwise before p took delivery; the notice is cancelled."),
    ]


def test_it_is_none_of_the_overdue(ledger: Ledger) -> None:
    ledger.apply([*STORY["notices"], *STORY["deliveries"]])
    (row,) = ledger.lag(at(100))
    assert (row.overdue_receive, row.overdue_complete) == (0, 1)


def test_what_was_delivered_all_the_same_was_not_cancelled(ledger: Ledger) -> None:
    """A worker that died had left it out; who came after it did not know the later word yet."""
    ledger.apply([*STORY["notices"], left_out(0, 1), delivered(1, 0, 0, 4), delivered(2, 1, 1, 5)])
    assert status(ledger, "n-p-1") == "delivered"
    assert "cancelled" not in [each.kind for each in ledger.timeline("user:1")]


def test_one_that_is_issued_again_and_taken_there_was_not_cancelled(ledger: Ledger) -> None:
    ledger.apply([*STORY["notices"], left_out(0, 1), reissued(2, 1)])
    assert status(ledger, "n-p-1") == "cancelled"
    ledger.apply([delivered(1, 2, 2, 30)])
    assert status(ledger, "n-p-1") == "delivered"


def test_a_partner_that_heard_of_it_after_all_has_the_last_word(ledger: Ledger) -> None:
    """Its endpoint failed to answer, and it deleted nevertheless."""
    ledger.apply([*STORY["notices"], *STORY["deliveries"], acknowledged(0, 1)])
    assert status(ledger, "n-p-1") == "completed"


def test_a_deletion_that_was_delivered_stands_and_the_timeline_says_so(ledger: Ledger) -> None:
    ledger.apply([*toggled(0, 1), pack(0, issued(1, E)), delivered(0, 0, 0), pack(1, issued(2, R)), delivered(1, 1, 1)])
    assert status(ledger, "n-p-1") == "delivered"
    words = [each.summary for each in ledger.timeline("user:1") if each.event_id == "n-p-2"]
    assert words[0] == "p is asked that it may use it again; what it was asked to delete before, and took, stands."


def test_a_resume_after_what_was_never_taken_says_nothing_of_it(ledger: Ledger) -> None:
    ledger.apply([*STORY["notices"], *STORY["deliveries"]])
    words = [each.summary for each in ledger.timeline("user:1") if each.event_id == "n-p-2"]
    assert words[0] == "p is asked that it may use it again."
