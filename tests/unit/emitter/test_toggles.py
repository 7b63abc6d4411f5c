"""What the emitter lets through is what the service takes, neither more nor less."""

from __future__ import annotations

import enum
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner
from pydantic import ValidationError

from gateway.bodies import strictly
from gateway.toggles import ToggleIn
from rescind.emitter import InvalidToggle
from rescind.emitter.toggles import AHEAD, TOPIC, TYPE, Toggle, checked
from streams.cloudevents import decode, rfc3339
from streams.errors import RescindError
from streams.events import ConsentToggled
from streams.kinds import Choice
from streams.partitioning import partition_of
from streams.settings import Settings
from streams.topics import TOGGLES

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "id": "evt-1",
    "subject": "blog:staff.example.com",
    "purpose": "ai-training",
    "choice": "opt_out",
    "occurred_at": NOON,
    "version": 7,
    "retroactive": False,
    "source": "settings",
}

_by_the_service = strictly(ToggleIn)


def emitted(**changes: Any) -> Toggle:
    return checked(**(GOOD | changes), now=NOON)


def emitter_takes(**changes: Any) -> bool:
    try:
        emitted(**changes)
    except InvalidToggle as refused:
        assert [refused.field] == list(changes)
        return False
    return True


def service_takes(**changes: Any) -> bool:
    fields = GOOD | changes
    if isinstance(fields["occurred_at"], datetime):
        fields["occurred_at"] = fields["occurred_at"].isoformat()
    try:
        _by_the_service(fields)
    except (ValidationError, TypeError):  # a TypeError where JSON cannot even say it
        return False
    return True


VALUES: dict[str, list[Any]] = {
    "id": ["e", "~" * 128, "x" * 129, "", "a b", "ä", "a\n", "\x7f", 7, b"e", "\ud800"],
    "subject": [
        "user:1", "u:x", "a" * 32 + ":x", "a" * 33 + ":x", "user:" + "x" * 255, "user:" + "x" * 256, "user:", ":x",
        "user", "User:1", "1user:1", "a-b_c9:x", "ä:x", "user:a:b", "user:ä🖼️", "user:a b", "user:\t", "user:a\n",
        "user:a\x0b", "user:a\x1c", "user:a\x85", "user:a\xa0", "user:a\u2003", "user:a\u200b", "user:a\u2028",
        "user:a\x00", "user:a\x7f", "user:\ud800", "user:\u3000", "user:\ufeff", " user:1", "user:1 ",
        7, None, b"user:1", ["user:1"],
    ],
    "purpose": ["ai", "a" * 64, "a" * 65, "", "A", "0.9_x-", "-a", ".a", "a b", "a\n", "ä", "ai\u0130", 7, None, b"ai"],
    "choice": ["opt_out", "opt_in", "OPT_OUT", "opt-out", "", "opt_out ", "opt_out\n", None, True, 0, ["opt_out"]],
    "occurred_at": [
        NOON, NOON.astimezone(timezone(timedelta(hours=-5))), datetime(1, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
        NOON.replace(tzinfo=None), 1767268800, None, "", NOON.date(),
    ],
    "version": [None, 0, 1, 2**63 - 1, 2**63, 2**64, -1, True, False, 1.0, 1.5, "1", [], b"1"],
    "retroactive": [True, False, None, 0, 1, "true", "no", ""],
    "source": [None, "", "x" * 200, "x" * 201, "ä" * 200, "🖼️" * 100, "a\x00b", "\n", "\ud800", 7, b"x", ["x"]],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in VALUES.items() for value in values])
def test_both_say_the_same_of(field: str, value: Any) -> None:
    assert emitter_takes(**{field: value}) == service_takes(**{field: value})


@pytest.mark.parametrize("field", GOOD)
def test_each_field_has_values_that_pass_and_values_that_do_not(field: str) -> None:
    assert {emitter_takes(**{field: value}) for value in VALUES[field]} == {True, False}


#: Nearly right, so that both sides of every border are met.
SLUGS = st.text("abz09-_.A :", max_size=70)
TEXTS = st.text() | SLUGS | st.text(max_size=3).map("user:".__add__) | st.from_regex(r"[a-z]{1,33}:.{0,3}")


@given(st.sampled_from(["id", "subject", "purpose", "choice", "source"]), TEXTS)
@example("subject", "user:\u180e")
@example("subject", "user:\x1f")
def test_both_say_the_same_of_any_text(field: str, text: str) -> None:
    assert emitter_takes(**{field: text}) == service_takes(**{field: text})


@given(st.characters())
def test_both_say_the_same_of_any_character(character: str) -> None:
    for field, value in (("subject", f"user:{character}"), ("purpose", f"a{character}"), ("id", character)):
        assert emitter_takes(**{field: value}) == service_takes(**{field: value}), field


ZONES = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def times(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Within these years, in any zone."""
    return st.datetimes(datetime(first, 1, 1), datetime(last, 12, 30), timezones=ZONES)  # noqa: DTZ001


@given(times(1, 1) | times(1, 2025))
@example(datetime(1, 1, 1, tzinfo=timezone(timedelta(minutes=1))))
def test_both_say_the_same_of_any_time(time: datetime) -> None:
    assert emitter_takes(occurred_at=time) == service_takes(occurred_at=time)


#: JSON has neither an infinity nor what is no number.
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.none() | st.integers() | FLOATS | st.booleans() | st.integers(2**63 - 2, 2**63 + 2))
def test_both_say_the_same_of_any_version(version: Any) -> None:
    assert emitter_takes(version=version) == service_takes(version=version)


toggles = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[!-~]{1,128}", fullmatch=True),
        "subject": st.from_regex(r"[a-z][a-z0-9_-]{0,31}:[^\s\x00-\x1f\x7f\ud800-\udfff]{1,255}", fullmatch=True),
        "purpose": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
        "choice": st.sampled_from(["opt_out", "opt_in"]),
        "occurred_at": times(2, 2025),
        "version": st.none() | st.integers(0, 2**63 - 1),
        "retroactive": st.booleans(),
        "source": st.none() | st.text(max_size=200),
    }
)


@given(toggles)
def test_the_service_reads_what_was_meant(fields: dict[str, Any]) -> None:
    event = emitted(**fields).event("/blogs", NOON)
    found = decode(json.dumps(event, ensure_ascii=False).encode())
    assert (found.id, found.source, found.time) == (fields["id"], "/blogs", NOON)
    assert found.data == ConsentToggled.model_validate({name: value for name, value in fields.items() if name != "id"})


def test_it_is_the_services_event_in_the_services_topic() -> None:
    assert TYPE == ConsentToggled.TYPE
    assert TOGGLES.name == TOPIC
    assert set(emitted().data()) == set(ConsentToggled.model_fields)


def test_what_was_left_out_stays_out() -> None:
    assert {"version", "source"}.isdisjoint(emitted(version=None, source=None).data())


class Partitions:
    """What a partitioner asks of a cluster."""

    def __init__(self, count: int) -> None:
        self._count = count

    def topics(self) -> set[str]:
        return {TOPIC}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._count))

    available_partitions_for_topic = partitions_for_topic


@given(st.binary(max_size=300), st.integers(1, 64))
def test_kafka_pythons_partition_is_ours(key: bytes, count: int) -> None:
    assert DefaultPartitioner().partition(TOPIC, key, key, None, None, Partitions(count)) == partition_of(key, count)


@pytest.mark.parametrize(
    ("ahead", "taken"), [(timedelta(0), True), (AHEAD, True), (AHEAD + timedelta(microseconds=1), False)]
)
def test_a_toggle_from_the_future_is_refused(ahead: timedelta, taken: bool) -> None:
    assert emitter_takes(occurred_at=NOON + ahead) is taken
    assert timedelta(seconds=Settings().max_clock_skew) == AHEAD, "the service's own rule"


class PlatformsChoice(enum.StrEnum):
    """Django's `TextChoices` are made like this, and so is the service's `Choice`."""

    OUT = "opt_out"


class OlderChoice(str, enum.Enum):  # noqa: UP042 - `str` of one is not its value
    OUT = "opt_out"


@pytest.mark.parametrize("choice", [PlatformsChoice.OUT, OlderChoice.OUT, Choice.OPT_OUT])
def test_an_enumeration_of_texts_is_taken_by_its_value(choice: str) -> None:
    assert type(emitted(choice=choice).choice) is str
    assert emitted(choice=choice).data()["choice"] == "opt_out"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("subject", "no", "subject: must be kind:id without white space, such as blog:staff.example.com, not 'no'"),
        ("purpose", None, "purpose: not a text, but None"),
        ("choice", "no", "choice: must be opt_out or opt_in, not 'no'"),
        ("occurred_at", NOON.replace(tzinfo=None), "occurred_at: must be a datetime with its zone, not datetime"),
        ("version", -1, "version: must be a whole number from 0 to 2**63 - 1, not -1"),
        ("retroactive", "no", "retroactive: must be True or False, not 'no'"),
        ("source", "x" * 201, "source: longer than 200 characters"),
        ("id", "x" * 10_000, "id: must be 1 to 128 printable ASCII characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line_that_names_the_field(field: str, value: Any, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        emitted(**{field: value})
    assert isinstance(refused.value, RescindError)
    said = str(refused.value)
    assert said.startswith(told)
    assert "\n" not in said
    assert len(said) < 250


def test_times_leave_as_the_service_writes_them() -> None:
    time = NOON.astimezone(timezone(timedelta(hours=2))) - timedelta(microseconds=1)
    assert emitted(occurred_at=time).data()["occurred_at"] == rfc3339(time) == "2026-01-01T11:59:59.999999Z"
