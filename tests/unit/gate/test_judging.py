"""Many rows at once are judged as each would be alone, whatever stands in them."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescind.gate.deciding import Column, Consents, Layout, Reason, Regime, judge, spelt
from rescind.gate.judging import Forms, Judge
from rescind.gate.lines import Place
from rescind.gate.ndjson import Ndjson
from rescind.gate.subjects import Subjects
from streams.errors import InvalidInput
from tests.unit.gate.fakes import consents

LAYOUT = Layout((Column("blog"), Column("by", "user:")), "who", frozenset({"public", "true"}))
_words = st.sampled_from(
    [
        "blog:a",
        "blog:b",
        "site:c",
        "blog:é",
        "a",
        "",
        "blog:",
        "blog: a",
        "B:a",
        "blog:a:",
        "blog:\u2028",
        "user:a",
        "7",
    ]
)
_odd: st.SearchStrategy[Any] = st.sampled_from([None, 7, True, 1.5, {}])
_values: st.SearchStrategy[Any] = st.one_of(_words, st.lists(_words, max_size=2), _odd)
_seen = st.sampled_from(["public", "friends", True, False, None, 1, ["public"]])
_plain = st.fixed_dictionaries({"blog": st.sampled_from(["blog:a", "blog:b", "site:c"]), "by": st.just("a")})
_rows = st.one_of(
    _plain.map(lambda row: row | {"who": "public"}),
    st.fixed_dictionaries({}, optional={"blog": _values, "by": _values, "who": _seen, "text": st.text(max_size=3)}),
    st.sampled_from([None, "blog:a", 7, []]),
)
_consents = st.builds(
    lambda some, regime: consents(*some, regime=regime),
    st.sets(st.sampled_from(["blog:a", "blog:b", "site:c", "user:a", "user:7"])),
    st.sampled_from(list(Regime)),
)


def one_by_one(rows: list[Any], known: Consents) -> tuple[list[bool], set[str], Counter[Reason]]:
    verdicts = [judge(row, LAYOUT, known) for row in rows]
    subjects = {subject for verdict in verdicts if verdict.reason is None for subject in verdict.subjects}
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason is not None)
    return [verdict.reason is None for verdict in verdicts], subjects, reasons


@settings(deadline=None)
@given(rows=st.lists(_rows, max_size=8), known=_consents)
def test_rows_together_are_judged_as_each_alone(rows: list[Any], known: Consents) -> None:
    kept, subjects, reasons = one_by_one(rows, known)
    judged = Judge(LAYOUT, known).judge(rows)
    assert (judged.kept or [True] * len(rows)) == kept
    assert set(judged.subjects) == subjects
    assert +judged.dropped == reasons
    assert judged.cleared == sum(kept)
    assert [at for at, _ in judged.malformed] == [
        at for at, row in enumerate(rows) if judge(row, LAYOUT, known).reason is Reason.MALFORMED
    ]


_broken = st.sampled_from([b"{", b"}", b"]", b"nonsense", b"{}{}", b'"', b"7,7", b"\xff", b'{"blog":"blog:a",', b"  "])


@settings(deadline=None)
@given(given=st.lists(st.one_of(_rows, _broken), max_size=8), known=_consents, escaped=st.booleans())
def test_lines_together_are_judged_as_each_alone(given: list[Any], known: Consents, escaped: bool) -> None:
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=escaped).encode() for row in given]
    expected = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if judge(row, LAYOUT, known).reason is None:
            expected.append(line)
    file = io.BytesIO(b"\n".join(lines))
    steps = list(Ndjson(LAYOUT).steps(file, Judge(LAYOUT, known), Place()))
    assert b"".join(step.out for step in steps) == b"".join(line + b"\n" for line in expected)
    assert sum(step.read for step in steps) == sum(1 for line in lines if line.strip())
    assert sum(step.judged.dropped.total() + step.judged.cleared for step in steps) == sum(step.read for step in steps)


@settings(deadline=None)
@given(texts=st.lists(st.one_of(_words, st.text(max_size=5)), max_size=6))
def test_forms_are_told_together_as_alone(texts: list[str]) -> None:
    forms = Forms()
    forms.are_subjects(["blog:x"])
    alone = all(judge({"s": text}, Layout((Column("s"),)), consents()).reason is None for text in texts)
    for _ in range(2):  # the second time it knows the kinds
        assert forms.are_subjects(texts) == alone


@given(subjects=st.lists(st.sets(st.from_regex(r"[a-c]{1,3}:[a-cé]{1,3}", fullmatch=True), max_size=6), max_size=40))
@settings(deadline=None, max_examples=20)
def test_subjects_come_out_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, subjects: list[set[str]]
) -> None:
    directory = tmp_path_factory.mktemp("runs")
    gathered = Subjects(directory, most=2)
    for some in subjects:
        gathered.add(some)
    gathered.flush()
    again = Subjects(directory, gathered.runs, gathered.number)
    again.tidy()
    assert list(again.sorted()) == sorted(set().union(*subjects))
    assert len(list(directory.iterdir())) < 40


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("blog", Column("blog")),
        ("blog=blog:", Column("blog", "blog:")),
        ("a=b=user:x-", Column("a=b", "user:x-")),
        ("blog=Blog:", Column("blog=Blog:")),
        ("blog=", Column("blog=")),
    ],
)
def test_a_column_may_have_a_prefix(text: str, column: Column) -> None:
    assert Column.parse(text) == column


@pytest.mark.parametrize(
    "make",
    [
        lambda: Layout(()),
        lambda: Layout((Column(""),)),
        lambda: Layout((Column("a"), Column("a"))),
        lambda: Layout((Column("a"),), "a", frozenset({"x"})),
        lambda: Layout((Column("a"),), "b"),
        lambda: Layout((Column("a"),), None, frozenset({"x"})),
        lambda: Layout((Column("\udcff"),)),
        lambda: Consents("No", Regime.OPT_OUT, {}, frozenset()),
    ],
)
def test_a_layout_that_decides_nothing_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInput):
        make()


def test_visibilities_are_spelt_as_on_the_command_line() -> None:
    assert [spelt(value) for value in ("public", True, False, 1, None, 1.5, ["public"])] == [
        "public", "true", "false", "1", None, None, None,
    ]  # fmt: skip


def test_names_of_columns_may_be_anything(tmp_path: Path) -> None:
    for name in ('we"ird', "back\\slash", "sla/sh", "é", "\U0001f600", "tab\t", "[x]"):
        layout = Layout((Column(name),))
        twice = b'{%s:"a:1",%s:"a:2"}' % (json.dumps(name).encode(), json.dumps(name, ensure_ascii=False).encode())
        lines = [json.dumps({name: "a:3"}).encode(), json.dumps({name: "a:4"}, ensure_ascii=False).encode(), twice]
        (step,) = Ndjson(layout).steps(io.BytesIO(b"\n".join([*lines, b""])), Judge(layout, consents("a:4")), Place())
        assert step.out == lines[0] + b"\n"
        assert [reject.why for reject in step.rejects] == [f"it has two of {name}"]


def test_a_line_that_is_too_long_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescind.gate.lines._TOGETHER", 64)
    monkeypatch.setattr("rescind.gate.lines.LONGEST", 200)
    layout = Layout((Column("s"),))
    fine = b'{"s":"a:1"}'
    for length in (150, 182, 183, 250, 1000):
        long = json.dumps({"s": "a:2", "t": "x" * length}, separators=(",", ":")).encode()
        assert (len(long) > 200) == (length > 182)
        steps = list(
            Ndjson(layout).steps(io.BytesIO(b"\n".join([fine, long, fine])), Judge(layout, consents()), Place())
        )
        kept = [fine, long, fine] if length <= 182 else [fine, fine]
        assert b"".join(step.out for step in steps) == b"".join(line + b"\n" for line in kept)
        assert [reject.number for step in steps for reject in step.rejects] == ([] if length <= 182 else [2])
