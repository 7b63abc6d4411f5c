"""Lines of toggles: what is read, what is refused and why, and which ids follow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.reading import csv_parser, header_parser, parse_json, toggle_of
from streams.errors import InvalidInput

NOON = "2026-01-01T12:00:00Z"
GENERAL = "subject,purpose,choice,occurred_at"
FULL = GENERAL + ",id,version,retroactive,source"
CRAWLERS = "occurred_at,site,category,agent,choice"
PLAIN = {"subject": "blog:a", "purpose": "ai-training", "choice": "opt_out", "occurred_at": NOON, "retroactive": True}


def read_csv(line: str, header: str = GENERAL) -> dict[str, Any]:
    return toggle_of(line.encode(), csv_parser(header))


def read_json(value: Any) -> dict[str, Any]:
    line = value if isinstance(value, str) else json.dumps(value)
    return toggle_of(line.encode(), parse_json)


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        (GENERAL, f"blog:a,ai-training,opt_out,{NOON}", {}),
        (GENERAL, f'"blog:a","ai-training","opt_out","{NOON}"', {}),
        (GENERAL, f'"blog:a,b;c",ai-training,opt_out,{NOON}', {"subject": "blog:a,b;c"}),
        (GENERAL, f'"blog:""q""",ai-training,opt_out,{NOON}', {"subject": 'blog:"q"'}),
        (GENERAL, f"blog:ünï,ai-training,opt_out,{NOON}", {"subject": "blog:ünï"}),
        (GENERAL, f"user:1:2,ai-training,opt_in,{NOON}", {"subject": "user:1:2", "choice": "opt_in"}),
        ("choice, occurred_at ,purpose,subject", f"opt_out,{NOON},ai-training,blog:a", {}),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,,,", {}),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},e1,7,false,settings", {"version": 7, "retroactive": False}),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},e1,0,TRUE,", {"version": 0}),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},e1,{2**63 - 1},true,", {"version": 2**63 - 1}),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},e1,,False,", {"id": "e1", "retroactive": False}),
        (FULL, f'blog:a,ai-training,opt_out,{NOON},,,,"two\nlines"', {"source": "two\nlines"}),
        (GENERAL, "blog:a,ai-training,opt_out,2026-01-01T13:00:00+01:00", {"occurred_at": NOON}),
        (GENERAL, "blog:a,ai-training,opt_out,2026-01-01 12:00:00+00:00", {}),
        (GENERAL, "blog:a,ai-training,opt_out,2026-01-01t12:00z", {}),
        (CRAWLERS, f"{NOON},example.com,press,gptbot,opt_out", {"subject": "site:example.com", "purpose": "gptbot"}),
        (CRAWLERS, f'{NOON},example.com,"a, b",gptbot,opt_in', {"source": "robots.txt (a, b)", "choice": "opt_in"}),
    ],
)
def test_good_csv_lines(header: str, line: str, expected: dict[str, Any]) -> None:
    usual = {} if header == CRAWLERS else PLAIN
    assert (usual | expected).items() <= read_csv(line, header).items()


@pytest.mark.parametrize(
    ("header", "line", "reason"),
    [
        (GENERAL, f"blog:a,ai-training,opt_out,{NOON},more", "5 columns instead of 4"),
        (GENERAL, "blog:a,ai-training,opt_out", "3 columns instead of 4"),
        (GENERAL, f'"blog:a,ai-training,opt_out,{NOON}', "not CSV: a quoted field does not end"),
        (GENERAL, f'"blog:a"x,ai-training,opt_out,{NOON}', "not CSV"),
        (GENERAL, f"blog:a,ai-training,opt_out,{NOON}\rblog:b", "not CSV"),
        (GENERAL, f",ai-training,opt_out,{NOON}", "subject"),
        (GENERAL, f"blog,ai-training,opt_out,{NOON}", "subject"),
        (GENERAL, f"Blog:a,ai-training,opt_out,{NOON}", "subject"),
        (GENERAL, f"blog:a b,ai-training,opt_out,{NOON}", "subject"),
        (GENERAL, f'"blog:a\nb",ai-training,opt_out,{NOON}', "subject"),
        (GENERAL, f"blog:a,,opt_out,{NOON}", "purpose"),
        (GENERAL, f"blog:a,AI,opt_out,{NOON}", "purpose"),
        (GENERAL, f"blog:a,ai-training,,{NOON}", "choice"),
        (GENERAL, f"blog:a,ai-training,OPT_OUT,{NOON}", "choice"),
        (GENERAL, f"blog:a,ai-training, opt_out,{NOON}", "choice"),
        (GENERAL, "blog:a,ai-training,opt_out,", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,2026-01-01", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,2026-01-01T12:00:00", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,2026-02-30T12:00:00Z", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,2026-01-01T12:00:60Z", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,٢٠٢٦-01-01T12:00:00Z", "occurred_at"),
        # Times that a lax reader takes for seconds since 1970.
        (GENERAL, "blog:a,ai-training,opt_out,20260101", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,1767268800", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,1767268800.5", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,0001-01-01T00:00:00+14:00", "occurred_at"),
        (GENERAL, "blog:a,ai-training,opt_out,9999-12-31T23:59:59-14:00", "occurred_at"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,-1,,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,1.0,,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,1_0,,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,٣,,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,²,,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,{2**63},,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,{'9' * 5000},,", "version"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,,yes,", "retroactive"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,,1,", "retroactive"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},two words,,,", "id"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},{'e' * 129},,,", "id"),
        (FULL, f"blog:a,ai-training,opt_out,{NOON},,,,{'s' * 201}", "source"),
        (CRAWLERS, f"{NOON},,press,gptbot,opt_out", "subject"),
        (CRAWLERS, f"{NOON},example.com,press,GPT Bot,opt_out", "purpose"),
    ],
)
def test_bad_csv_lines_are_refused_with_the_field_that_is_wrong(header: str, line: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match="^" + reason):
        read_csv(line, header)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"subject",
        b"subject;purpose;choice;occurred_at",
        b"subject,purpose,choice",
        b"Subject,purpose,choice,occurred_at",
        b"subject,purpose,choice,occurred_at,retroactiv",
        b"subject,purpose,choice,occurred_at,subject",
        b"subject,purpose,choice,occurred_at,",
        b"occurred_at,site,agent,category,choice",
        b'"subject,purpose,choice,occurred_at',
        "subject,purpose,choice,occurred_at,ä".encode("latin-1"),
        GENERAL.encode("utf-16"),
        b"x" * 60_000,
    ],
)
def test_a_wrong_header_is_refused_in_few_words(header: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"the header is|not CSV") as refused:
        header_parser(header)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (PLAIN, {}),
        (PLAIN | {"id": None}, {}),
        (PLAIN | {"retroactive": False}, {"retroactive": False}),
        (PLAIN | {"version": 3, "source": "app"}, {"version": 3, "source": "app"}),
        (PLAIN | {"subject": "blog:\U0001f600"}, {"subject": "blog:\U0001f600"}),
        (f"  {json.dumps(PLAIN)}  ", {}),
    ],
)
def test_good_json_lines(fields: Any, expected: dict[str, Any]) -> None:
    toggle = read_json(fields)
    assert {name: toggle[name] for name in toggle if name != "id"} == PLAIN | expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{} {}", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ('{"version": ' + "9" * 5000 + "}", "not JSON"),
        ('{"choice":"opt_out","choice":"opt_in"}', "not JSON: a name appears twice"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('"subject"', "not a JSON object"),
        ({}, "subject"),
        (PLAIN | {"retroactiv": False}, "retroactiv"),
        (PLAIN | {"occurred_at": 1767268800}, "occurred_at"),
        (PLAIN | {"occurred_at": "1767268800"}, "occurred_at"),
        (PLAIN | {"occurred_at": None}, "occurred_at"),
        (PLAIN | {"version": -1}, "version"),
        (PLAIN | {"version": 2**63}, "version"),
        (PLAIN | {"version": 1.5}, "version"),
        (PLAIN | {"retroactive": "perhaps"}, "retroactive"),
        (PLAIN | {"subject": "blog:\ud800"}, ""),
        (PLAIN | {"subject": ["blog:a"]}, "subject"),
        (PLAIN | {"id": 7}, "id"),
        (json.dumps(PLAIN).replace('"opt_out"', "NaN"), ""),
    ],
)
def test_bad_json_lines_are_refused_with_a_reason(value: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match="^" + reason):
        read_json(value)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not UTF-8"):
        toggle_of(b"blog:\xff", csv_parser(GENERAL))


@given(st.binary(max_size=100), st.sampled_from([parse_json, csv_parser(GENERAL), csv_parser(FULL)]))
def test_whatever_a_line_holds_it_is_a_toggle_or_refused(line: bytes, parse: Any) -> None:
    try:
        toggle_of(line, parse)
    except InvalidInput:
        return


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from([*PLAIN, "id", "version", "source", "x"]), x),
    )
)
def test_whatever_json_a_line_holds_it_is_a_toggle_or_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        read_json(json.dumps(value))


def test_an_id_that_is_given_is_kept() -> None:
    assert read_csv(f"blog:a,ai-training,opt_out,{NOON},mine-1,,,", FULL)["id"] == "mine-1"


def test_the_same_toggle_has_the_same_id_however_it_is_written() -> None:
    written = [
        read_csv(f"blog:a,ai-training,opt_out,{NOON}"),
        read_csv(f'"blog:a",ai-training,"opt_out",{NOON}'),
        read_csv(f"blog:a,ai-training,opt_out,{NOON},,,true,", FULL),
        read_json({"occurred_at": NOON, "choice": "opt_out", "purpose": "ai-training", "subject": "blog:a"}),
    ]
    assert len({toggle["id"] for toggle in written}) == 1
    # Fixed for ever: another id would repeat every toggle that was ever imported.
    assert written[0]["id"] == "707858b8-a47e-552b-91ea-5aa7b909a83d"


TOGGLES = st.fixed_dictionaries(
    {
        "subject": st.sampled_from(["blog:a", "blog:b", "blog:a,ai"]),
        "purpose": st.sampled_from(["ai", "ai-training"]),
        "choice": st.sampled_from(["opt_out", "opt_in"]),
        "occurred_at": st.sampled_from([NOON, "2026-01-01T12:00:00.000001Z"]),
    },
    optional={
        "version": st.integers(0, 2),
        "retroactive": st.booleans(),
        "source": st.sampled_from(["", "a", "ai"]),
    },
)


@given(TOGGLES, TOGGLES)
def test_two_toggles_share_an_id_only_if_they_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = {"retroactive": True} | one == {"retroactive": True} | other
    assert (read_json(one)["id"] == read_json(other)["id"]) == same
