"""Clocks on the command line: what it asks of the service, and what it prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Ran, Run
from tests.unit.cli.fakes import Answer, FakeService
from tests.unit.cli.test_commands import failed

MONTH = ["--complete-within", "P1M", "--extension", "P2M", "--calendar", "IE", "--time-zone", "Europe/Dublin"]
SENT = {"within": "P1M", "extension": "P2M", "calendar": "IE", "time_zone": "Europe/Dublin"}
ACME: dict[str, Any] = {
    "id": "acme",
    "receive_within": {"within": "PT24H", "extension": None, "calendar": None, "time_zone": "UTC"},
    "complete_within": SENT,
    "watch": None,
    "clocks": {"stop": {"receive": {"within": "PT2H"}, "complete": None}, "erase": None, "resume": None},
}


@pytest.mark.parametrize(
    ("options", "sent", "said"),
    [
        (["--receive-within", "PT2H"], {"receive_within": {"within": "PT2H"}},
         "acme must receive what it is asked within PT2H, from now on\n"),
        (["--complete-within", "3600"], {"complete_within": {"within": 3600}},
         "acme must complete what it is asked within 3600, from now on\n"),
        (MONTH, {"complete_within": SENT},
         "acme must complete what it is asked within P1M (+ P2M) by the calendar of IE in Europe/Dublin, from now on\n"
         ),
        (["--complete-within", "P45D", "--inclusive", "--since", "occurred_at", "--time-zone", "America/Los_Angeles"],
         {"complete_within": {"within": "P45D", "time_zone": "America/Los_Angeles", "inclusive": True,
                              "since": "occurred_at"}},
         "acme must complete what it is asked within P45D in America/Los_Angeles (the first day included)"
         " (from the person's request on), from now on\n"),
        (["--receive-within", "10 business days", "--since", "occurred_at"],
         {"receive_within": {"within": "10 business days", "since": "occurred_at"}},
         "acme must receive what it is asked within 10 business days (Monday to Friday)"
         " (from the person's request on), from now on\n"),
        (["--complete-within", "15 business days", "--week", "mon-sat"],
         {"complete_within": {"within": "15 business days", "week": "mon-sat"}},
         "acme must complete what it is asked within 15 business days (counting mon-sat), from now on\n"),
    ],
)  # fmt: skip
def test_clocks_change(ask: Run, service: FakeService, options: list[str], sent: dict[str, Any], said: str) -> None:
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, ACME)
    assert ask("partners", "clocks", "acme", *options) == Ran(0, said, "")
    assert service.asked[0].json == sent
    assert json.loads(ask("partners", "clocks", "acme", *options, "--json").out) == ACME


def test_the_clocks_of_one_kind_change_and_those_of_others_stay(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/partners/acme"] = Answer(200, ACME)
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, ACME)
    ran = ask("partners", "clocks", "acme", "--for", "stop", "--complete-within", "15 business days")
    assert ran.out == "acme must complete stop within 15 business days (Monday to Friday), from now on\n"
    stop = {"receive": {"within": "PT2H"}, "complete": {"within": "15 business days"}}
    assert service.asked[-1].json == {"clocks": {"stop": stop, "erase": None, "resume": None}}


def test_how_a_partner_is_watched_changes_as_far_as_said(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/partners/acme"] = Answer(200, ACME | {"watch": {"at_risk": 0.7, "remind": [0.5]}})
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, ACME)
    ran = ask("partners", "clocks", "acme", "--remind", "0.25", "--remind", "0.75")
    assert ran.out == "acme is watched as you said, from now on\n"
    assert service.asked[-1].json == {"watch": {"at_risk": 0.7, "remind": [0.25, 0.75]}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "say --receive-within, --complete-within, --at-risk or --remind"),
        (["--extension", "P2M"], "belong to --complete-within"),
        (["--receive-within", "PT2H", "--calendar", "IE"], "belong to --complete-within"),
        (["--receive-within", "PT2H", "--week", "mon-sat"], "belong to --complete-within"),
        (["--receive-within", "PT2H", "--inclusive"], "belong to --complete-within"),
        (["--since", "occurred_at"], "--since belongs to"),
        (["--complete-within", "P1M", "--since", "yesterday"], "yesterday"),
        (["--for", "forget", "--complete-within", "P1M"], "forget"),
    ],
)
def test_what_says_nothing_is_a_mistake(ask: Run, service: FakeService, options: list[str], told: str) -> None:
    assert told in failed(ask("partners", "clocks", "acme", *options))
    assert service.asked == []


def test_a_partner_is_added_with_its_clocks(ask: Run, service: FakeService) -> None:
    made = ACME | {"lane": 0, "api_key": "k", "signing_secret": "s", "signing_keys": []}
    service.answers["POST", "/v1/partners"] = Answer(201, made)
    options = ["--to", "https://a.example/", "--purpose", "ai", "--receive-within", "PT2H", *MONTH]
    assert ask("partners", "add", "acme", *options).code == 0
    sent = service.asked[0].json
    assert (sent["receive_within"], sent["complete_within"]) == ({"within": "PT2H"}, SENT)


def test_clocks_are_shown_on_a_line(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/partners/acme"] = Answer(200, ACME)
    shown = ask("partners", "show", "acme").out
    for words in (
        "as usual",
        "PT24H",
        "P1M (+ P2M) by the calendar of IE in Europe/Dublin",
        "stop: receive within PT2H",
    ):
        assert words in shown
