"""Consent states as they stand in the table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding import ConsentState
from agents.remembering import recall, remember
from streams.errors import Undecodable
from streams.kinds import Choice

choices = st.sampled_from([(Choice.OPT_IN, False), (Choice.OPT_OUT, False), (Choice.OPT_OUT, True)])


@given(
    choices,
    st.none() | st.integers(0, 2**63 - 1),
    st.datetimes(timezones=st.just(UTC)),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
)
def test_a_state_comes_back(chosen: tuple[Choice, bool], version: int | None, when: datetime, toggle_id: str) -> None:
    state = ConsentState(chosen[0], version, when, toggle_id, chosen[1])
    assert recall(remember(state)) == state


def test_a_person_can_read_it() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert remember(ConsentState(Choice.OPT_OUT, 7, noon, "evt-1", True)) == b"1 erase 7 2026-01-01T12:00:00Z evt-1"
    assert remember(ConsentState(Choice.OPT_IN, None, noon, "e", False)) == b"1 allow - 2026-01-01T12:00:00Z e"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"2 erase 7 2026-01-01T12:00:00Z evt-1",
        b"1 forget 7 2026-01-01T12:00:00Z evt-1",
        b"1 erase x 2026-01-01T12:00:00Z evt-1",
        b"1 erase 7 yesterday evt-1",
        b"1 erase 7 2026-01-01T12:00:00Z",
        b"1 erase 7 2026-01-01T12:00:00Z evt-1 and more",
        b"1 erase 7 2026-01-01T12:00:00Z \xff",
        b'{"choice": "opt_out"}',
    ],
)
def test_what_is_not_understood_is_not_guessed(raw: bytes) -> None:
    with pytest.raises(Undecodable, match="not a consent state"):
        recall(raw)
