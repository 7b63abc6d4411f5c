"""`rescind notices`: what it asks of the service, and what it prints."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import Answer, FakeService, problem
from tests.unit.cli.test_commands import failed


def notice(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"n-{number}",
        "partner": "acme",
        "subject": f"user:{number}",
        "purpose": "ai",
        "action": "erase",
        "status": "refused",
        "outcome": None,
        "reason": "legal_hold",
        "issued_at": "2026-01-01T12:00:00Z",
        "complete_by": "2026-01-31T12:00:00Z",
    } | changes


def page(*numbers: int, following: str | None = None) -> Answer:
    return Answer(200, {"notices": [notice(number) for number in numbers], "next": following})


def queries(service: FakeService) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(asked.path).query, strict_parsing=True) for asked in service.asked]


def test_what_is_asked_for_is_what_was_wanted(ask: Run, service: FakeService) -> None:
    service.next.append(page(1))
    ran = ask(
        "notices", "--partner", "acme", "--status", "open", "--status", "refused", "--action", "erase", "--purpose",
        "ai", "--subject", "blog:a&b", "--overdue", "--outcome", "suppressed",
        "--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert queries(service) == [
        {
            "partner": ["acme"],
            "status": ["open", "refused"],
            "action": ["erase"],
            "purpose": ["ai"],
            "subject": ["blog:a&b"],
            "overdue": ["true"],
            "outcome": ["suppressed"],
            "issued_from": ["2026-01-01T00:00:00Z"],
            "issued_to": ["2026-02-01T00:00:00Z"],
            "limit": ["100"],
        }
    ]
    header, row = ran.out.splitlines()
    assert " ".join(header.split()) == "notice partner subject purpose action issued complete by status because"
    assert row.startswith(
        "n-1     acme     user:1   ai       erase   2026-01-01 12:00:00Z  2026-01-31 12:00:00Z  refused"
    )
    assert row.endswith("legal_hold")


def test_pages_are_read_on_past_empty_ones_until_there_are_enough(ask: Run, service: FakeService) -> None:
    service.next += [page(following="a"), page(1, 2, following="b"), page(3, following="c")]
    ran = ask("notices", "--limit", "3", "--json")
    assert [each["id"] for each in json.loads(ran.out)] == ["n-1", "n-2", "n-3"]
    assert queries(service) == [
        {"limit": ["3"]},
        {"limit": ["3"], "after": ["a"]},
        {"limit": ["1"], "after": ["b"]},
    ]
    service.next.append(page(1, following="b"))
    assert ask("notices", "--limit", "1").out.splitlines()[-1] == "and maybe more, see --limit"


def test_none_is_said(ask: Run, service: FakeService) -> None:
    service.next.append(page())
    assert ask("notices", "--overdue").out == "there is no such notice\n"


@pytest.mark.parametrize("arguments", [["--action", "destroy"], ["--limit", "0"]])
def test_what_makes_no_sense_is_not_asked(ask: Run, service: FakeService, arguments: list[str]) -> None:
    assert arguments[0] in failed(ask("notices", *arguments))
    assert service.asked == []


def test_what_the_service_refuses_is_told_in_a_line(ask: Run, service: FakeService) -> None:
    service.next.append(Answer(422, problem("the request is not valid", {"detail": "no such status"})))
    assert failed(ask("notices", "--status", "late")) == "the request is not valid (no such status)"
