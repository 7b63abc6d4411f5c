"""The consent agent: any order, any repeats, any cut into batches, any crash ends in the same state."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agents.consent import take, take_again
from agents.deciding import ConsentState
from agents.remembering import table_key
from streams.cloudevents import Envelope
from streams.events import ConsentChanged, ConsentToggled, DeletionRequested
from streams.kinds import Choice
from tests.unit.fakes import NOON, received

Toggle = tuple[str, ConsentToggled]
#: Subject and purpose.
Key = tuple[str, str]

toggles = st.builds(
    ConsentToggled,
    subject=st.sampled_from(["user:1", "user:2", "blog:1"]),
    purpose=st.sampled_from(["ai", "ads"]),
    choice=st.sampled_from(Choice),
    occurred_at=st.integers(0, 3).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    version=st.none() | st.integers(0, 2),
    retroactive=st.booleans(),
)


def key_of(toggle: ConsentToggled) -> Key:
    return toggle.subject, toggle.purpose


def rank(identity: str, toggle: ConsentToggled) -> tuple[int, datetime, int, str]:
    strength = 0 if toggle.choice is Choice.OPT_IN else 2 if toggle.retroactive else 1
    return (-1 if toggle.version is None else toggle.version, toggle.occurred_at, strength, identity)


def winners(named: list[Toggle]) -> dict[Key, Toggle]:
    best: dict[Key, Toggle] = {}
    for toggle_id, toggle in named:
        held = best.get(key_of(toggle))
        if held is None or rank(toggle_id, toggle) > rank(*held):
            best[key_of(toggle)] = (toggle_id, toggle)
    return best


class Process:
    """What the agent does with a partition of toggles, with a crash wherever a test wants one."""

    def __init__(self, log: list[Toggle]) -> None:
        self.log = log
        self.table: dict[bytes, ConsentState] = {}
        self.decisions: list[Envelope] = []
        self.committed = 0

    def handle(self, size: int, crash: str | None, stored: int) -> None:
        start = self.committed
        batch = [received(*self.log[at], offset=at) for at in range(start, min(start + size, len(self.log)))]
        changes, caused = take(self.table, batch)
        if crash == "before anything":
            return
        self.decisions.extend(caused)
        if crash == "after the decisions":
            return
        for number, (key, state) in enumerate(changes.items()):
            if crash == "within the table" and number == stored:
                return
            self.table[key] = state
        if crash == "before the commit":
            return
        self.committed = start + len(batch)


crashes = st.none() | st.sampled_from(
    ["before anything", "after the decisions", "within the table", "before the commit"]
)
steps = st.lists(st.tuples(st.integers(1, 5), crashes, st.integers(0, 3)), max_size=12)


@given(st.lists(toggles, min_size=1, max_size=10), steps, st.data())
def test_any_history_converges_and_tells_each_decision_under_one_id(
    taken: list[ConsentToggled], course: list[tuple[int, str | None, int]], data: st.DataObject
) -> None:
    named = [(f"t{number}", toggle) for number, toggle in enumerate(taken)]
    repeats = data.draw(st.lists(st.sampled_from(named), max_size=6))
    process = Process(data.draw(st.permutations(named + repeats)))
    for size, crash, stored in course:
        process.handle(size, crash, stored)
    while process.committed < len(process.log):
        process.handle(500, None, 0)

    expected = winners(named)
    assert set(process.table) == {table_key(*key) for key in expected}
    changed: dict[Key, list[ConsentChanged]] = defaultdict(list)
    erased: dict[Key, list[str]] = defaultdict(list)
    told: dict[str, Envelope] = {}
    for event in process.decisions:
        # A repeat says the same, word for word.
        assert told.setdefault(event.id, event) == event
        if isinstance(event.data, ConsentChanged):
            changed[event.data.subject, event.data.purpose].append(event.data)
        else:
            assert isinstance(event.data, DeletionRequested)
            erased[event.data.subject, event.data.purpose].append(event.data.toggle_id)
    for key, (toggle_id, toggle) in expected.items():
        state = process.table[table_key(*key)]
        assert (state.toggle_id, state.choice) == (toggle_id, toggle.choice)
        assert changed[key][-1].choice is toggle.choice
        if state.retroactive:
            # Somebody who wants the past gone was told to the partners, after the last opt-in if there was one.
            assert erased[key]


@given(st.lists(toggles, min_size=1, max_size=10), st.data())
def test_the_cut_into_batches_changes_nothing(taken: list[ConsentToggled], data: st.DataObject) -> None:
    named = [(f"t{number}", toggle) for number, toggle in enumerate(taken)]
    one_by_one, in_batches = Process(named), Process(named)
    while one_by_one.committed < len(named):
        one_by_one.handle(1, None, 0)
    while in_batches.committed < len(named):
        in_batches.handle(data.draw(st.integers(1, 5)), None, 0)
    assert one_by_one.decisions == in_batches.decisions
    assert one_by_one.table == in_batches.table


@given(st.lists(toggles, min_size=1, max_size=10), st.data())
def test_taking_again_ends_where_deciding_did_from_anywhere_before(
    taken: list[ConsentToggled], data: st.DataObject
) -> None:
    log = [received(f"t{number}", toggle, offset=number) for number, toggle in enumerate(taken)]
    states, _ = take({}, log)
    # What is taken again may begin with what is known already.
    known = data.draw(st.integers(0, len(log)))
    held, _ = take({}, log[:known])
    assert {**held, **take_again(held, log[data.draw(st.integers(0, known)) :])} == states


def test_deciding_writes_nothing_by_itself() -> None:
    table: dict[bytes, ConsentState] = {}
    toggle = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
    changes, caused = take(table, [received("t", toggle, 0)])
    assert table == {}
    assert set(changes) == {b"ai user:1"}
    assert len(caused) == 2
