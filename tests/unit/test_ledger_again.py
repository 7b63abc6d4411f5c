"""What the ledger makes of notices that are issued again, and of dead letters."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Amount, Entry, Ledger, NoticeStatus, Span, held, projecting, retries
from ledger import again as asking
from ledger.lag import EVER_ENDS, bucket_of
from ledger.times import micros
from ledger.views import OPEN
from streams.events import Act, ConsentChanged, MessagePoisoned, Notice, NoticesIssued, PartnerRemoved
from streams.kinds import Action, Choice
from tests.unit.test_ledger import (
    NOON,
    VEILS,
    acknowledged,
    acted,
    at,
    delivered,
    discarded,
    entry,
    issued,
    notice,
    parked,
    partner,
    poisoned,
    refused,
    reissued,
    reversing,
    status,
)

DAY = Span("p", NOON - timedelta(hours=12), NOON + timedelta(hours=12))


@pytest.fixture(params=VEILS)
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite", veils=(VEILS[request.param],))
    opened.apply([entry("partners", 0, "r1", partner())])
    yield opened
    opened.close()


def figures(ledger: Ledger) -> tuple[int, int, int]:
    """Open, backlog, undeliverable."""
    (row,) = ledger.lag(at(5))
    return row.open, row.backlog, row.undeliverable


# -- redriven, replayed


def test_a_redriven_notice_is_open_again_until_it_is_taken(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), refused(0, 1, 0)])
    assert (status(ledger, "n-p-1"), figures(ledger)) == (NoticeStatus.UNDELIVERABLE, (1, 0, 1))
    ledger.apply([reissued(1, 1, how="redrive")])
    assert (status(ledger, "n-p-1"), figures(ledger)) == (NoticeStatus.QUEUED, (1, 1, 0))
    ledger.apply([delivered(0, 1, 1, 21)])
    assert (status(ledger, "n-p-1"), figures(ledger)) == (NoticeStatus.DELIVERED, (1, 0, 0))
    told = [(item.kind, item.at, item.summary) for item in ledger.timeline("user:1")]
    assert told == [
        ("notice_issued", NOON, "p is asked to stop and delete."),
        ("undeliverable", at(1), "p refuses the notice for good: HTTP 422: 0@0"),
        ("asked_again", at(20), "p is asked again to stop and delete: redrive by on call (key k1)."),
        ("delivered", at(21), "p took delivery."),
    ]


def test_one_that_is_refused_again_is_undeliverable_again(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), refused(0, 1, 0), reissued(1, 1), refused(1, 1, 1, minutes=30)])
    assert status(ledger, "n-p-1") is NoticeStatus.UNDELIVERABLE
    (letter,) = ledger.refused(None, None, 10)
    assert (letter.offset, letter.detail, letter.refused_at) == (1, "HTTP 422: 0@1", at(30))


def test_what_was_taken_once_stays_taken_though_its_replay_is_refused(ledger: Ledger) -> None:
    """Some refuse what they know already. The duty is not over by that."""
    ledger.apply([issued(0, 1), delivered(0, 0, 0), reissued(1, 1), refused(0, 1, 1, minutes=21)])
    assert (status(ledger, "n-p-1"), figures(ledger)) == (NoticeStatus.DELIVERED, (1, 0, 0))
    assert ledger.refused(None, None, 10) == []
    assert [item.kind for item in ledger.timeline("user:1")][-2:] == ["asked_again", "undeliverable"]


def test_a_completed_notice_that_is_replayed_stays_completed(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), delivered(0, 0, 0), acknowledged(0, 1), reissued(1, 1), delivered(1, 1, 1, 21)])
    assert (status(ledger, "n-p-1"), figures(ledger)) == (NoticeStatus.COMPLETED, (0, 0, 0))
    ledger.apply([acknowledged(1, 1, told=22)])
    assert ledger.timeline("user:1")[-1].summary == "p says completed (deleted) again."


def test_dead_letters_of_a_removed_partner_are_cancelled(ledger: Ledger) -> None:
    gone = PartnerRemoved.model_validate(partner().model_dump() | {"status": "removed", "revision": 2})
    ledger.apply([issued(0, 1), refused(0, 1, 0), entry("partners", 1, "r2", gone)])
    assert status(ledger, "n-p-1") is NoticeStatus.CANCELLED
    assert ledger.refused(None, None, 10) == []


# -- a model of it, and the counters against a recount

NUMBERS, LANES, MINUTES = st.integers(11, 13), st.sampled_from([0, 2]), st.integers(0, 9)
#: The first asks for the opposite later than what it is about, the second before it.
LATER, BEFORE = 10, 20


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Whatever may happen to a few notices in two lanes, in any order."""
    ends: Counter[str] = Counter()

    def following(stream: str) -> int:
        ends[stream] += 1
        return ends[stream] - 1

    entries = []
    kinds = ["issue", "issue", "again", "opt back in", "deliver", "refuse", "park", "park", "discard", "answer"]
    for what in draw(st.lists(st.sampled_from(kinds), max_size=25)):
        lane = draw(LANES)
        numbers = draw(st.lists(NUMBERS, min_size=1, max_size=3, unique=True))
        any_of_it = numbers[0] + draw(st.sampled_from([0, 0, LATER, BEFORE]))
        place = draw(st.integers(0, 5))
        if what == "issue":
            entries.append(replace(issued(following(f"notices {lane}"), *numbers, lane=lane), partition=lane))
        elif what == "again":
            entries.append(reissued(following(f"notices {lane}"), *numbers, lane=lane, minutes=draw(MINUTES)))
        elif what == "opt back in":
            by, rank = draw(st.sampled_from([(LATER, 2), (BEFORE, 0)]))
            came = reversing(following(f"notices {lane}"), numbers[0], numbers[0] + by, rank=rank, lane=lane)
            entries.append(came)
        elif what == "deliver":
            last, undelivered = place + draw(st.integers(0, 2)), [f"n-p-{number}" for number in numbers[1:]]
            came = delivered(following("deliveries"), place, last, draw(st.integers(0, 90)), *undelivered, lane=lane)
            assert came.envelope is not None
            entries.append(replace(came, envelope=came.envelope._replace(id=f"d{len(entries)}")))
        elif what == "refuse":
            entries.append(refused(following("undeliverable"), any_of_it, place, lane=lane))
        elif what == "park":
            entries.append(parked(following("undeliverable"), any_of_it, place, lane=lane, minutes=draw(MINUTES)))
        elif what == "discard":
            entries.append(discarded(following("actions"), any_of_it, minutes=draw(MINUTES)))
        else:
            entries.append(acknowledged(following("acknowledgements"), numbers[0]))
    return entries


def modelled(entries: list[Entry]) -> dict[str, tuple[str, bool]]:
    """The status of each notice, and whether it is parked, by the rules as they are said, and no other."""
    events = [(item, item.envelope) for item in entries if item.envelope is not None]
    by_kind: dict[str, list[Any]] = {}
    for _, envelope in events:
        by_kind.setdefault(type(envelope.data).__name__, []).append(envelope.data)
    places: dict[str, dict[tuple[int, int], tuple[bool, Any, int]]] = {}
    words: dict[str, Notice] = {}
    for item, envelope in events:
        if isinstance(envelope.data, NoticesIssued):
            again = envelope.data.again is not None
            for each in envelope.data.notices:
                words[each.id] = each
                where = envelope.data.lane, item.offset
                at = envelope.time if again else each.issued_at
                places.setdefault(each.id, {})[where] = again, at, where[0]
    refusals = {(data.notice_id, data.lane, data.offset) for data in by_kind.get("NoticeUndeliverable", [])}
    parkings = {(data.notice_id, data.lane, data.offset) for data in by_kind.get("NoticeParked", [])}
    answered = {data.notice_id for data in by_kind.get("Acknowledged", [])}
    given_up = {identity for data in by_kind.get("OperatorActed", []) for identity in data.notices}
    found = {}
    for identity, word in words.items():
        ends = {max(place for place in places[identity] if place[0] == lane) for lane, _ in places[identity]}
        last = identity, *max(ends, key=places[identity].__getitem__)
        taken = any(
            data.lane == lane and data.first_offset <= offset <= data.last_offset and identity not in data.undelivered
            for data in by_kind.get("BatchDelivered", [])
            for lane, offset in places[identity]
        )
        held = last in refusals or last in parkings
        overruled = held and any(
            each.subject == word.subject
            and (each.action is Action.RESUME) != (word.action is Action.RESUME)
            and (each.rank or "") > (word.rank or "")
            for each in words.values()
        )
        if identity in answered:
            status = "completed"
        elif identity in given_up:
            status = "cancelled"
        elif taken:
            status = "delivered"
        elif overruled:
            status = "cancelled"
        else:
            status = "undeliverable" if last in refusals else "queued"
        waits = last in parkings and last not in refusals and not overruled
        found[identity] = status, waits and status in ("delivered", "queued")
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_statuses_and_counters_are_what_a_recount_finds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledger = Ledger.open(path)
    entries = data.draw(histories())
    rest = list(entries)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        ledger.apply(rest[:size])
        rest = rest[size:]
    ledger.close()
    connection = sqlite3.connect(path)
    sql = "SELECT id, status, issued_at, delivered_at, completed_at, parked, is_open FROM notices"
    rows = connection.execute(sql).fetchall()
    counts = dict(
        connection.execute("SELECT name, SUM(n) FROM counts WHERE partner = 'p' GROUP BY name HAVING SUM(n) <> 0")
    )
    sql = "SELECT clock, hours, start, bucket, SUM(n) FROM lag_rollups GROUP BY 1, 2, 3, 4"
    rolled = {row[:4]: row[4] for row in connection.execute(sql)}
    sql = "SELECT clock, upper, SUM(n) FROM lag_ever GROUP BY 1, 2"
    ever = {row[:2]: row[2] for row in connection.execute(sql)}
    attempts = {name: counts.pop(name) for name in [*counts] if name.startswith("attempt_")}
    connection.close()
    assert {row[0]: (row[1], bool(row[5])) for row in rows} == modelled(entries)
    assert all(bool(row[6]) == (row[1] in OPEN) for row in rows)
    tried = {each.envelope.id for each in entries if each.envelope and each.topic == "rescind.deliveries"}
    assert attempts == ({"attempt_2": len(tried)} if tried else {})
    recount = Counter(row[1] for row in rows)
    recount["parked"] = sum(row[5] for row in rows)
    recount["parked_queued"] = sum(row[5] and row[1] == "queued" for row in rows)
    recount["ever_delivered"] = sum(row[3] is not None for row in rows)
    assert counts == {name: n for name, n in recount.items() if n}
    measured: Counter[tuple[str, int, int, int]] = Counter()
    for _, _, began, taken, done, *_ in rows:
        for hours in (1, 24):
            measured["issue", hours, began // (hours * 3_600_000_000), 0] += 1
            for clock, ended in (("receive", taken), ("complete", done)):
                if ended is not None:
                    measured[clock, hours, ended // (hours * 3_600_000_000), bucket_of(ended - began)] += 1
    assert rolled == measured
    since_ever: Counter[tuple[str, int]] = Counter()
    for _, _, began, taken, done, *_ in rows:
        for clock, ended in (("receive", taken), ("complete", done)):
            if ended is not None:
                since_ever[clock, next(end for end in EVER_ENDS if end >= ended - began)] += 1
    assert ever == since_ever


# -- what a time holds, and what a later choice has superseded


def pack(offset: int, *notices: Notice, lane: int = 0) -> Entry:
    data = NoticesIssued(partner="p", lane=lane, notices=notices)
    return entry("notices", offset, f"pack-{lane}-{offset}", data, partition=lane)


def asked(number: int, action: Action, minutes: float, *, subject: int | None = None, purpose: str = "ai") -> Notice:
    changes = {"action": action, "issued_at": at(minutes), "purpose": purpose, "subject": f"user:{subject or number}"}
    return notice(number).model_copy(update=changes)


def numbers(notices: list[Notice]) -> list[int]:
    return [int(each.id.rpartition("-")[2]) for each in notices]


def test_a_time_is_found_in_the_order_in_which_it_was_issued(ledger: Ledger) -> None:
    stop = Action.STOP
    ledger.apply(
        [
            pack(0, asked(1, stop, -1)),
            pack(1, asked(3, stop, 0), asked(2, stop, 5)),
            pack(2, asked(5, stop, 130), asked(4, stop, 119)),
            pack(3, asked(6, stop, 120)),
            pack(0, asked(7, stop, 60), lane=2),
        ]
    )
    found = ledger.issued(Span("p", NOON, at(120)), None, 1000)
    assert (numbers(found.notices), found.superseded, found.next) == ([3, 2, 4, 7], 0, None)
    assert found.notices[0] == asked(3, stop, 0)
    amount = ledger.amount(Span("p", NOON, at(120)), batch_size=2)
    assert (amount.notices, amount.requests, amount.superseded) == (4, 3, 0)
    assert ledger.issued(Span("q", NOON, at(120)), None, 1000).notices == []


@pytest.mark.parametrize("most", [4, 5, 7, 20])
def test_pages_end_between_packs_and_leave_nothing_out(ledger: Ledger, most: int) -> None:
    packs = [[offset * 10 + number for number in range(offset % 4 + 1)] for offset in range(9)]
    for lane in (0, 2):
        for offset, numbered in enumerate(packs):
            ledger.apply([pack(offset, *(asked(lane * 1000 + each, Action.STOP, 1) for each in numbered), lane=lane)])
    found, after, pages = list[int](), None, 0
    while pages == 0 or after is not None:
        page = ledger.issued(DAY, after, most)
        assert len(page.notices) <= most
        found += numbers(page.notices)
        after, pages = page.next, pages + 1
    assert found == [lane * 1000 + each for lane in (0, 2) for numbered in packs for each in numbered]
    assert (pages == 1) == (most > len(found))


def test_what_was_issued_again_is_found_at_its_first_time_only(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1), reissued(1, 1), reissued(0, 1, lane=2), issued(2, 2)])
    assert numbers(ledger.issued(DAY, None, 1000).notices) == [1, 2]


@pytest.mark.parametrize("again_first", [False, True])
@pytest.mark.parametrize("minutes", [20, -5])
def test_where_it_was_issued_first_is_its_place_whichever_lane_is_read_first(
    ledger: Ledger, tmp_path: Path, again_first: bool, minutes: float
) -> None:
    """Though the partner has a lower lane now, and the clock of who asked again is behind."""
    first = replace(issued(7, 1, lane=2), partition=2)
    entries = [first, reissued(0, 1, lane=0, minutes=minutes)]
    ledger.apply(entries[::-1] if again_first else entries)
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    assert connection.execute("SELECT lane, offset FROM notices").fetchall() == [(2, 7)]
    connection.close()
    assert numbers(ledger.issued(DAY, None, 1000).notices) == [1]


OUT, OFF, BACK = Action.ERASE, Action.STOP, Action.RESUME


@pytest.mark.parametrize(
    ("packs", "left"),
    [
        ([[asked(1, OUT, 0)], [asked(2, BACK, 1, subject=1)]], [2]),
        ([[asked(1, BACK, 0)], [asked(2, OUT, 1, subject=1)]], [2]),
        ([[asked(1, OFF, 0)], [asked(2, OUT, 1, subject=1)]], [1, 2]),
        ([[asked(1, OUT, 0)], [asked(2, OFF, 1, subject=1)]], [1, 2]),
        ([[asked(1, OUT, 0), asked(2, BACK, 0, subject=1)]], [2]),  # in one millisecond
        ([[asked(1, OUT, 1)], [asked(2, BACK, 0, subject=1)]], [2]),  # by the clock of another host
        ([[asked(1, OUT, 0)], [asked(2, BACK, 1, subject=1)], [asked(3, OUT, 2, subject=1)]], [3]),
        ([[asked(1, OUT, 0)], [asked(2, BACK, 1, subject=1, purpose="ads")], [asked(3, BACK, 1)]], [1, 2, 3]),
    ],
)
def test_what_a_later_choice_reversed_is_left_out(ledger: Ledger, packs: list[list[Notice]], left: list[int]) -> None:
    ledger.apply([pack(offset, *notices) for offset, notices in enumerate(packs)])
    found = ledger.issued(DAY, None, 1000)
    count = sum(len(notices) for notices in packs)
    assert (numbers(found.notices), found.superseded) == (left, count - len(left))
    assert ledger.amount(DAY, 1) == Amount(len(left), len(left), count - len(left))


def test_a_choice_by_another_lane_reverses_too(ledger: Ledger) -> None:
    ledger.apply([pack(0, asked(1, OUT, 1), lane=2), pack(5, asked(2, BACK, 2, subject=1))])
    assert numbers(ledger.issued(DAY, None, 1000).notices) == [2]


def test_another_partners_notices_reverse_nothing(ledger: Ledger) -> None:
    other = NoticesIssued(partner="q", lane=1, notices=(asked(2, BACK, 1, subject=1),))
    ledger.apply([pack(0, asked(1, OUT, 0)), entry("notices", 0, "q", other, partition=1)])
    assert numbers(ledger.issued(DAY, None, 1000).notices) == [1]


def test_what_overtook_is_found(ledger: Ledger) -> None:
    ledger.apply([pack(0, asked(1, BACK, 0), asked(2, OUT, 0))])
    assert ledger.overtaking(["n-p-1", "n-p-2"]).notices == []
    ledger.apply([pack(1, asked(3, OUT, 1, subject=1))])
    assert numbers(ledger.overtaking(["n-p-1", "n-p-2"]).notices) == [3]


# -- dead letters


def test_dead_letters_come_by_partner_and_time_in_pages(ledger: Ledger) -> None:
    ledger.apply([issued(0, 1, 2, 3), *(refused(offset, 3 - offset, 0, minutes=offset) for offset in range(3))])
    found, after = list[str](), None
    while page := ledger.refused(None, after, 1):
        found += [letter.notice_id for letter in page]
        after = (page[-1].partner, micros(page[-1].refused_at), page[-1].notice_id)
    assert found == ["n-p-3", "n-p-2", "n-p-1"]
    assert [letter.notice_id for letter in ledger.refused("p", None, 2)] == found[:2]
    assert ledger.refused("q", None, 2) == []
    assert [letter.notice_id for letter in ledger.refused_ones(["n-p-2", "n-p-9"])] == ["n-p-2"]


def test_a_dead_letter_says_everything(ledger: Ledger) -> None:
    ledger.apply([pack(0, asked(1, BACK, 0)), refused(0, 1, 0), issued(1, 2), parked(1, 2, 1, failures=3)])
    letter, other = ledger.refused("p", None, 10)
    assert (letter.partner, letter.subject, letter.purpose, letter.action) == ("p", "user:1", "ai", Action.RESUME)
    assert (letter.lane, letter.offset, letter.status_code, letter.detail) == (0, 0, 422, "HTTP 422: 0@0")
    assert (letter.issued_at, letter.complete_by, letter.refused_at) == (NOON, at(60), at(1))
    assert (letter.parked, letter.retry_at, letter.attempts) == (False, None, None)
    assert (other.notice_id, other.offset, other.status_code, other.detail) == ("n-p-2", 1, 500, "HTTP 500: 0@1")
    assert (other.parked, other.refused_at, other.retry_at, other.attempts) == (True, at(1), at(6), 3)


def test_poisoned_messages_leave_the_open_ones_when_they_are_done_with(ledger: Ledger) -> None:
    ledger.apply([poisoned(0, 1), poisoned(1, 2), acted(0, 2, 3)])
    ledger.apply([poisoned(2, 3)])  # read behind what was done about it
    assert [letter.id for letter in ledger.poisoned(None, 10)] == ["poisoned-1"]
    totals = ledger.totals()
    assert (totals.poisoned, totals.poisoned_open) == (3, 1)
    assert ledger.poisoned_ones(["poisoned-1", "poisoned-2"]) == ledger.poisoned(None, 10)


def test_a_page_of_poisoned_messages_is_bounded_by_bytes_but_never_empty(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAGE_BYTES", 100)
    sizes = [60, 300, 30, 30, 30, 30]
    for offset, size in enumerate(sizes):
        data = MessagePoisoned(
            topic="rescind.toggles", partition=0, offset=offset, reason="r", value_base64="x" * size,
            headers=(("a", None), ("b", "eA==")), poisoned_at=NOON,
        )  # fmt: skip
        ledger.apply([entry("poisoned", offset, f"m{offset}", data)])
    pages, after = list[list[str]](), None
    while page := ledger.poisoned(after, 100):
        pages.append([letter.id for letter in page])
        after = (micros(page[-1].poisoned_at), page[-1].id)
        assert page[0].headers == (("a", None), ("b", "eA=="))
    assert pages == [["m0"], ["m1"], ["m2"], ["m3"], ["m4"], ["m5"]]
    monkeypatch.setattr(asking, "PAGE_BYTES", 230)
    assert [letter.id for letter in ledger.poisoned((micros(NOON), "m1"), 100)] == ["m2", "m3", "m4", "m5"]


@pytest.mark.parametrize(
    ("out", "minutes", "reversed_"), [(True, 0, True), (True, 2, False), (False, 0, False), (False, -1, True)]
)
def test_whether_a_choice_was_reversed_since(ledger: Ledger, out: bool, minutes: float, reversed_: bool) -> None:
    for offset, (choice, when) in enumerate([(Choice.OPT_OUT, 0), (Choice.OPT_IN, 1)]):
        data = ConsentChanged(
            subject="user:1", purpose="ai", choice=choice, retroactive=False, toggle_id=f"t{offset}",
            occurred_at=at(when), accepted_at=at(when),
        )  # fmt: skip
        ledger.apply([entry("decisions", offset, f"c{offset}", data)])
    assert ledger.reversed_since([("user:2", "ai", out, at(minutes)), ("user:1", "ai", out, at(minutes))]) is reversed_


def test_what_was_done_by_hand_is_remembered_newest_first(ledger: Ledger) -> None:
    ledger.apply([acted(0, 1), acted(1, act=Act.PAUSE, partner="p"), acted(2, act=Act.RESUME, partner="p")])
    found = ledger.actions(None, None, 10)
    assert [(done.act, done.partner, done.at) for done in found] == [
        (Act.RESUME, "p", at(2)),
        (Act.PAUSE, "p", at(1)),
        (Act.REDRIVE, None, at(0)),
    ]
    assert (found[0].key, found[0].role, found[0].label, found[0].details) == ("k1", "operator", "on call", {"at": 2})
    assert [done.act for done in ledger.actions("p", (micros(at(2)), "acted-2"), 10)] == [Act.PAUSE]


def test_no_question_looks_at_all_notices(ledger: Ledger, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    ids = orjson.dumps(["n"]).decode()
    where: dict[str, Any] = {"lane": 0, "first": 0, "last": 9, "partner": "p", "start": 0, "end": 9, "most": 9}
    questions: list[tuple[str, Any]] = [
        (asking._PAGE, where),
        (asking._AMOUNT, where),
        (asking._OVERTAKING, [ids]),
        (f"{asking._ALL_LETTERS} ORDER BY n.partner, n.letter_at, n.id LIMIT 9", []),
        (f"{asking._ALL_LETTERS} AND n.partner = 'p' ORDER BY n.partner, n.letter_at, n.id LIMIT 9", []),
        (retries._FIRST, [""]),
        (f"{asking._POISONED} ORDER BY at, id LIMIT 9", []),
    ]
    for sql, parameters in questions:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        scans = [step for step in plan if step.startswith("SCAN") and "USING INDEX" not in step]
        assert [step for step in scans if "json_each" not in step] == [], plan
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan or sql == asking._OVERTAKING, plan
    connection.close()


def test_what_is_asked_of_a_few_notices_looks_at_those_alone(ledger: Ledger, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")

    def some(*values: Any) -> list[str]:
        return [orjson.dumps(values).decode()]

    questions: list[tuple[str, Any]] = [
        (f"{asking._SOME_LETTERS} AND n.id IN (SELECT value FROM json_each(?))", some("n")),
        (asking._WHOLE, some("n")),
        (asking._OUTCOMES, some(("n", 0, 0))),
        (retries._DUE, {"partner": "p", "now": 0, "tried": 0, "most": 9}),
        (held.HELD, some("n")),
        (held.HOLD, some(["n", *[None] * 7])),
        (held.HOLDING, []),
        (held.HELD_ABOUT, some(("p", "s", "u"))),
        (held.NOT_TAKEN, some("n")),
        (projecting.RAISE_RANKS, some(("s", "p", "r"))),
    ]
    made = ("json_each", "VIRTUAL TABLE", "(subquery", "SCAN due", "SCAN said", "SCAN wanted", "SCAN ends", "SCAN each")
    for sql, parameters in questions:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        scans = [step for step in plan if step.startswith("SCAN") and not any(name in step for name in made)]
        assert scans == [], plan
    connection.close()
