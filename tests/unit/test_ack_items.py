"""An item as a partner wrote it, and what we keep of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.ack_items import kept
from streams.events import EVIDENCE_CAP, AckStatus, Outcome, RefusalReason, Vocabulary
from streams.json_text import read

ID = "6f1c0a34-7d2c-5b7e-9d0a-7d2c6c1f4e11"
FULL = {"log": "x" * (EVIDENCE_CAP - len('{"log":""}'))}


def nested(levels: int) -> Any:
    return read(b'{"a":' * levels + b"1" + b"}" * levels)


@pytest.mark.parametrize(
    ("raw", "item"),
    [
        (
            {"id": ID.upper(), "status": "COMPLETED", "outcome": "Not-Found"},
            {"notice_id": ID, "status": AckStatus.COMPLETED, "outcome": Outcome.NOT_FOUND},
        ),
        ({"reason": "backup"}, {"reason": RefusalReason.OTHER, "code": "backup"}),
        ({"vocabulary": "OpenDSR", "code": "completed"}, {"vocabulary": Vocabulary.OPENDSR, "code": "completed"}),
        ({"vocabulary": "klingon", "code": 3}, {"vocabulary": "klingon", "code": "3"}),
        ({"detail": 17, "code": 2.5}, {"detail": "17", "code": "2.5"}),
        ({"detail": "", "code": "", "evidence": None}, {}),
        ({"detail": "x" * 1000, "evidence": FULL}, {"detail": "x" * 1000, "evidence": FULL}),
        ({"status": 5, "expectd_by": True, "notice_id": []}, {"status": 5, "expectd_by": True, "notice_id": []}),
        ({"evidence": nested(63)}, {"evidence": nested(63)}),
    ],
)
def test_what_is_meant_is_written_as_we_write_it(raw: dict[str, Any], item: dict[str, Any]) -> None:
    assert kept(raw) == (item, ())


@pytest.mark.parametrize(
    ("raw", "item", "notes"),
    [
        ({"detail": "x" * 1001}, {"detail": "x" * 999 + "…"}, ["its detail was cut at 1,000 characters"]),
        ({"code": "x" * 201}, {"code": "x" * 199 + "…"}, ["its code was cut at 200 characters"]),
        (
            {"detail": ["a"], "code": True},
            {},
            [f"its {name} is no text and was left out" for name in ("detail", "code")],
        ),
        ({"evidence": "yes"}, {}, ["its evidence is no JSON object and was left out"]),
        ({"evidence": [1]}, {}, ["its evidence is no JSON object and was left out"]),
        ({"evidence": {"log": "ä" * 8192}}, {}, ["its evidence is larger than 16 KiB and was left out"]),
        (
            {"detail": "\ud83d", "evidence": {"rows": float("nan")}},
            {"detail": "\ufffd", "evidence": {"rows": None}},
            ["characters that are no Unicode were replaced", "NaN and infinite numbers were read as null"],
        ),
        (
            {"evidence": {"rows": read(b"18446744073709551616")}},
            {"evidence": {"rows": "18446744073709551616"}},
            ["numbers beyond 64 bits were kept as text"],
        ),
    ],
)
def test_what_is_cut_or_left_out_is_told(raw: dict[str, Any], item: dict[str, Any], notes: list[str]) -> None:
    assert kept(raw) == (item, tuple(notes))


def test_what_is_nested_too_deep_is_left_out_where_it_begins() -> None:
    item, notes = kept({"evidence": nested(200)})
    assert notes == ("what is nested more than 64 levels deep was left out",)
    assert orjson.dumps(item["evidence"]) == b'{"a":' * 63 + b"null" + b"}" * 63


NAMES = st.sampled_from(
    ["id", "notice_id", "status", "outcome", "reason", "vocabulary", "code", "detail", "evidence", "expected_by", "x"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_whatever_comes_is_kept_in_a_form_that_can_be_written(raw: dict[str, Any]) -> None:
    item, _ = kept(raw)
    assert orjson.loads(orjson.dumps(item)) == item
    assert kept(item) == (item, ())
