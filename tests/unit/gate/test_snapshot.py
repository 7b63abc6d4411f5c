"""A snapshot is read whole, or not at all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.gate.deciding import Refused, Regime
from rescind.gate.snapshot import read_snapshot
from tests.unit.gate.fakes import consents
from tests.unit.gate.serving import ndjson, snapshot

KNOWN = consents("blog:a", "blog:é", "user:1", regime=Regime.OPT_IN)
LINES = snapshot(KNOWN)


@given(cuts=st.lists(st.integers(0, len(ndjson(LINES))), max_size=5).map(sorted))
def test_it_comes_in_any_pieces(cuts: list[int]) -> None:
    whole = ndjson(LINES)
    places = [0, *cuts, len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    assert read_snapshot(pieces, "ai-training") == KNOWN


def test_one_that_breaks_off_is_refused() -> None:
    whole = ndjson(LINES)
    for length in range(len(whole)):
        with pytest.raises(Refused, match="nothing goes out"):
            read_snapshot([whole[:length]], "ai-training")


END = LINES[-1]


@pytest.mark.parametrize(
    "lines",
    [
        [*LINES[:-1], {"end": True, "count": 2}],
        [*LINES[:-1], {"end": False, "count": 3}],
        [*LINES[:-1], {"end": True}],
        [*LINES[:-2], END],
        [*LINES[:-2], LINES[1], END],
        [*LINES, "blog:b"],
        [*LINES, END],
        [LINES[0], *LINES],
        [*LINES[1:-1], LINES[0], END],
        LINES[1:],
        [LINES[0] | {"regime": "whatever"}, *LINES[1:]],
        [LINES[0] | {"purpose": "other"}, *LINES[1:]],
        [*LINES[:2], 7, LINES[3], END],
        [*LINES[:2], None, LINES[3], END],
        [{}, *LINES[1:]],
        [],
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_one_that_does_not_add_up_is_refused(lines: list[Any], apart: bool) -> None:
    pieces = [ndjson([line]) for line in lines] if apart else [ndjson(lines)]
    with pytest.raises(Refused):
        read_snapshot(pieces, "ai-training")


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(Refused):
        read_snapshot([ndjson(LINES[:1]) + b"<html>\n"], "ai-training")
