"""`rescind disclosures` and `rescind exports`: what they show, and whom an import must not lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rescind.disclosing import subjects_of
from streams.blocks import decode_block
from streams.errors import InvalidInput
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import Answer, FakeService, problem

NOON = "2026-01-01T12:00:00Z"
GIVEN: dict[str, Any] = {
    "export": "e1", "partner": "acme", "dataset": "posts", "version": "1", "purpose": "ai", "disclosed_at": NOON,
    "imported": True, "withdrawn": True, "notice": None, "asked_at": None, "became": None,
}  # fmt: skip
EXPORT: dict[str, Any] = {
    "id": "e1", "partner": "acme", "dataset": "posts", "version": "1", "purpose": "ai", "status": "settled",
    "disclosed_at": NOON, "subjects": 3, "withdrawn": 1, "rows": {"read": 4, "dropped": {"opted_out": 1}},
    "manifest": {"manifest": 1},
}  # fmt: skip
IMPORT = ["--partner", "acme", "--dataset", "posts", "--version", "1", "--exported-at", NOON, "--settle-for", "0"]


@pytest.mark.parametrize(
    ("name", "text", "prefix", "expected"),
    [
        ("a.txt", "user:1\nuser:2\r\n\nuser:1", "", ["user:1", "user:2", "user:1"]),
        ("a.txt", "1\n2\n", "user:", ["user:1", "user:2"]),
        ("a.ndjson", '"user:1"\n{"subject": "user:2", "more": 1}\n', "", ["user:1", "user:2"]),
        ("a.csv", 'n,subject\n1,user:1\n2,"user:2"\n', "", ["user:1", "user:2"]),
        ("a.csv", "subject\n", "", []),
    ],
)
def test_the_subjects_of_a_file(tmp_path: Path, name: str, text: str, prefix: str, expected: list[str]) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert list(subjects_of(path, "subject", prefix)) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "user:1\nnobody\n", "line 2: 'nobody' is not a subject"),
        ("a.txt", "user:1 \n", "line 1"),
        ("a.ndjson", '"user:1"\n{"who": "user:2"}\n', "line 2: neither"),
        ("a.ndjson", "{", "line 1: not JSON"),
        ("a.csv", "who\nuser:1\n", "no column 'subject'"),
        ("a.csv", "subject,n\nuser:1\n", "line 2: 1 columns instead of 2"),
        ("a.csv", 'subject\n"user:1\n', "line 2: not CSV"),
        ("a.txt", "user:1\n" + "x" * 70_000, "line 2: too long"),
    ],
)
def test_who_cannot_be_read_is_never_passed_over(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        list(subjects_of(path, "subject"))
    with pytest.raises(InvalidInput, match="cannot read"):
        list(subjects_of(tmp_path / "away", "subject"))


@pytest.mark.parametrize("words", [("user:1",), ("of", "user:1"), ("--json", "user:1")])
def test_who_was_given_a_subject(ask: Run, service: FakeService, words: tuple[str, ...]) -> None:
    service.answers["GET", "/v1/subjects/user:1/disclosures"] = Answer(
        200, {"subject": "user:1", "disclosures": [GIVEN]}
    )
    ran = ask("disclosures", *words)
    assert ran.code == 0
    if "--json" in words:
        assert '"withdrawn": true' in ran.out
    else:
        assert "posts    1        ai       2026-01-01 12:00:00Z (imported)  -" in ran.out
        assert ran.out.rstrip().endswith("withdrawn; not asked yet")


def test_nobody_was(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/subjects/user:1/disclosures"] = Answer(200, {"subject": "user:1", "disclosures": []})
    assert ask("disclosures", "user:1").out == "nobody was given user:1, as far as is known\n"


def test_an_import_says_each_once_in_order_and_closes(ask: Run, service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("user:2\nuser:1\nuser:2\n")
    closed = EXPORT | {"status": "closed", "subjects": 2, "withdrawn": None}
    service.answers["POST", "/v1/exports"] = Answer(201, {"id": "e1", "status": "open"})
    service.answers["PUT", "/v1/exports/e1/subjects/0"] = Answer(202, {})
    service.answers["POST", "/v1/exports/e1/close"] = Answer(202, closed)
    ran = ask("disclosures", "import", str(path), "--purpose", "ai", *IMPORT)
    assert (ran.code, ran.out.splitlines()[0]) == (0, "2 subjects of posts 1 are written down as given to acme")
    assert "rescind exports show e1" in ran.out
    opened, put, close = service.asked
    assert opened.json["imported"] is True
    assert decode_block(put.body) == ["user:1", "user:2"]
    assert close.json == {"blocks": 1, "subjects": 2}


def test_a_partner_of_several_purposes_needs_one_named(ask: Run, service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("user:1\n")
    service.answers["GET", "/v1/partners/acme"] = Answer(200, {"purposes": ["ads", "ai"]})
    assert "several purposes, ads, ai" in ask("disclosures", "import", str(path), *IMPORT).err
    service.answers["GET", "/v1/partners/acme"] = Answer(403, problem("not yours"))
    assert "--purpose" in ask("disclosures", "import", str(path), *IMPORT).err
    assert all(asked.method == "GET" for asked in service.asked)


def test_exports_are_shown(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/exports?partner=acme&limit=100"] = Answer(200, {"exports": [EXPORT], "next": None})
    assert "settled  2026-01-01 12:00:00Z         3          1" in ask("exports", "list", "--partner", "acme").out
    service.answers["GET", "/v1/exports/e1"] = Answer(200, EXPORT)
    shown = ask("exports", "show", "e1").out
    assert "read: 4, dropped: opted_out: 1" in shown
    assert "manifest" not in shown
    assert '"manifest": 1' in ask("exports", "show", "e1", "--json").out


@pytest.mark.parametrize(("word", "completes"), [("completes", True), ("stays-open", False)])
def test_what_is_suppressed_by_contract(ask: Run, service: FakeService, word: str, completes: bool) -> None:
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, {})
    said = ask("partners", "answers", "acme", "--suppression", word).out
    became = "completes it" if completes else "leaves it open"
    assert said == f"partner acme: `suppressed` to an `erase` {became}, from now on\n"
    assert service.asked[-1].json == {"suppression_completes": completes}


def test_exports_of_whoever_is_late(ask: Run, service: FakeService) -> None:
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, {})
    assert "gets no exports" in ask("partners", "exports", "acme", "--when-overdue", "suspend").out
    assert service.asked[-1].json == {"suspend_exports_when_overdue": True}
