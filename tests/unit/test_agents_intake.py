"""The intake: what is no event of ours goes aside once, and nothing raises; appends go on until durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import consuming
from agents.consuming import append_until_durable
from agents.poison import Intake
from streams.cloudevents import Envelope, encode
from streams.events import ConsentToggled, MessagePoisoned
from streams.kinds import Choice
from streams.records import Record
from streams.topics import POISONED
from tests.unit.fakes import NOON, FakeClock, MemoryLog, partner


@dataclass(frozen=True)
class Message:
    value: bytes | None
    offset: int = 0
    key: bytes | None = None
    headers: Any = None
    topic: str = "rescind.toggles"
    partition: int = 0
    timestamp: float = NOON.timestamp()


@dataclass(frozen=True)
class Event:
    message: Message


TOGGLE = encode(
    Envelope("t", NOON, ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON))
)
BAD = [
    None,
    b"",
    b"junk",
    b"[" * 100_000,
    TOGGLE.replace(b"user:1", b"nobody"),
    TOGGLE.replace(b'"data":{', b'"data":{"x":' + b"[" * 600 + b"]" * 600 + b","),
    encode(Envelope("p", NOON, partner())),
]


async def test_the_good_ones_come_in_order_and_the_others_go_aside() -> None:
    log = MemoryLog()
    intake = Intake(log, FakeClock(), ConsentToggled)
    values = [TOGGLE, *BAD, TOGGLE]
    good = await intake.read([Event(Message(value, offset)) for offset, value in enumerate(values)])
    assert [item.offset for item in good] == [0, len(values) - 1]
    assert good[0].timestamp == NOON
    poisoned = [event.data for event in log.events(POISONED.name)]
    assert [data.offset for data in poisoned if isinstance(data, MessagePoisoned)] == list(range(1, len(values) - 1))
    assert all(data.reason for data in poisoned if isinstance(data, MessagePoisoned))


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        (None, ()),
        ([("content-type", b"x"), ("empty", None), ("content-type", b"y")],
         (("content-type", "eA=="), ("empty", None), ("content-type", "eQ=="))),
        ({"a": b"x"}, (("a", "eA=="),)),
    ],
)  # fmt: skip
async def test_a_message_goes_aside_with_everything_it_came_with(headers: Any, kept: Any) -> None:
    log = MemoryLog()
    await Intake(log, FakeClock(), ConsentToggled).read([Event(Message(b"junk", 3, b"k", headers))])
    (event,) = log.events(POISONED.name)
    assert isinstance(event.data, MessagePoisoned)
    assert (event.data.key_base64, event.data.value_base64, event.data.headers) == ("aw==", "anVuaw==", kept)


async def test_what_went_aside_is_itself_readable_so_that_it_ends_there() -> None:
    log = MemoryLog()
    await Intake(log, FakeClock(), ConsentToggled).read([Event(Message(value)) for value in BAD])
    aside = list(log.records)
    reader = Intake(log, FakeClock(), MessagePoisoned)
    events = [Event(Message(item.value, at, item.key, item.headers, POISONED.name)) for at, item in enumerate(aside)]
    assert len(await reader.read(events)) == len(BAD)
    assert log.records == aside


async def test_two_readers_of_one_bad_message_set_it_aside_under_one_id() -> None:
    log = MemoryLog()
    for clock in (FakeClock(), FakeClock()):
        clock.pass_by(1)
        await Intake(log, clock, ConsentToggled).read([Event(Message(b"junk", 3))])
    assert len({event.id for event in log.events(POISONED.name)}) == 1


@given(
    st.none() | st.binary(max_size=60),
    st.none() | st.lists(st.tuples(st.text(max_size=5) | st.just("ce_specversion"), st.none() | st.binary(max_size=5))),
)
async def test_no_message_raises(value: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> None:
    log = MemoryLog()
    assert await Intake(log, FakeClock(), ConsentToggled).read([Event(Message(value, headers=headers))]) == []
    assert len(log.records) == 1


async def test_an_append_is_repeated_until_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "_FIRST_DELAY", 0.0)
    log = MemoryLog(failures=4)
    positions = await append_until_durable(log, [Record("t", None, b"1"), Record("t", None, b"2")])
    assert [position.offset for position in positions] == [0, 1]
    assert [item.value for item in log.records] == [b"1", b"2"]
