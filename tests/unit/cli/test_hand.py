"""The operator's hand on the command line: what it asks of the service, what it prints, and its exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Ran, Run
from tests.unit.cli.fakes import Answer, FakeService, problem
from tests.unit.cli.test_commands import REPLIES, failed, lag_of

ACME: dict[str, Any] = {"id": "acme", "status": "active", "draining_since": None}


def asked(service: FakeService) -> list[Any]:
    return [each.json for each in service.asked]


# -- held, and let go


@pytest.mark.parametrize(
    ("command", "sent", "said"),
    [
        (["pause", "acme"], {"status": "paused"}, "acme is paused: "),
        (["pause", "acme", "--reason", "r"], {"status": "paused", "status_reason": "r"}, "acme is paused: "),
        (["resume", "acme"], {"status": "active"}, "acme is active: what waits for it is tried now\n"),
        (["suspend", "acme", "--reason", "r"], {"status": "suspended", "status_reason": "r"}, "acme is suspended: "),
        (["drain", "acme"], {"draining": True}, "acme is draining: "),
        (["drain", "acme", "--undo"], {"draining": False}, "acme hears of choices again; "),
    ],
)
def test_a_partner_is_held_and_let_go(
    ask: Run, service: FakeService, command: list[str], sent: dict[str, Any], said: str
) -> None:
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, ACME)
    ran = ask("partners", *command)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(said)
    assert asked(service) == [sent]
    assert json.loads(ask("partners", *command, "--json").out) == ACME


def test_who_resumes_a_draining_partner_is_told_that_it_still_is(ask: Run, service: FakeService) -> None:
    draining = ACME | {"draining_since": "2026-01-01T12:00:00Z"}
    service.answers["PATCH", "/v1/partners/acme"] = Answer(200, draining)
    lines = ask("partners", "resume", "acme").out.splitlines()
    assert lines == [
        "acme is active: what waits for it is tried now",
        "It is draining since 2026-01-01 12:00:00Z, and hears of no choice made since.",
    ]
    assert len(ask("partners", "drain", "acme").out.splitlines()) == 1


def test_nobody_is_suspended_without_a_reason(ask: Run, service: FakeService) -> None:
    assert "--reason" in failed(ask("partners", "suspend", "acme"))
    assert service.asked == []


# -- tried now


@pytest.mark.parametrize(
    ("waiting", "again", "said"),
    [
        (0, None, "nothing waits for acme\n"),
        (1, None, "acme is tried now: 1 notice waits\n"),
        (
            1204,
            "2026-01-01T13:30:00Z",
            "acme is tried now: 1,204 notices wait; the next attempt would have been at 2026-01-01 13:30:00Z\n",
        ),
    ],
)
def test_a_partner_is_tried_now(ask: Run, service: FakeService, waiting: int, again: str | None, said: str) -> None:
    tried = {"partner": "acme", "waiting": waiting, "next_attempt_at": again}
    service.answers["POST", "/v1/partners/acme/try"] = Answer(200, tried)
    assert ask("partners", "try", "acme") == Ran(0, said, "")
    assert json.loads(ask("partners", "try", "acme", "--json").out) == tried


def test_one_that_is_paused_is_not_tried(ask: Run, service: FakeService) -> None:
    service.next.append(Answer(409, problem("acme is paused, so nothing is sent to it")))
    assert failed(ask("partners", "try", "acme")) == "acme is paused, so nothing is sent to it"


# -- replay


def page(notices: int, following: str | None = None, superseded: int = 0) -> Answer:
    body = {"id": "x", "notices": notices, "requests": notices // 2, "superseded": superseded, "next": following}
    return Answer(202, body)


FROM = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z"]


def test_a_replay_goes_on_until_nothing_is_left(ask: Run, service: FakeService) -> None:
    service.next.extend([page(1000, "c1"), page(1000, "c2", superseded=3), page(4)])
    ran = ask("partners", "replay", "acme", *FROM)
    assert ran == Ran(
        0,
        "issued again to acme: 2,004 notices, in about 1,002 requests\n"
        "3 more are left out, since the opposite was chosen after them\n",
        "",
    )
    assert {each.path for each in service.asked} == {"/v1/partners/acme/replay"}
    first, second, third = asked(service)
    assert (first["from"], first["to"], first["dry_run"]) == ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", False)
    assert "after" not in first
    assert (second["after"], third["after"]) == ("c1", "c2")
    assert len({each["id"] for each in (first, second, third)}) == 1


def test_a_dry_run_only_says_how_much_it_would_be(ask: Run, service: FakeService) -> None:
    service.next.append(page(10))
    assert ask("partners", "replay", "acme", *FROM, "--dry-run").out == (
        "it would be 10 notices, in about 5 requests\n"
    )
    service.next.append(page(10, superseded=2))
    found = json.loads(ask("partners", "replay", "acme", *FROM, "--dry-run", "--json").out)
    assert found.pop("id")
    assert found == {"notices": 10, "requests": 5, "superseded": 2, "dry_run": True}
    assert all(each["dry_run"] for each in asked(service))


def test_a_replay_ends_now_unless_somebody_says_otherwise(ask: Run, service: FakeService) -> None:
    service.next.append(page(0))
    assert ask("partners", "replay", "acme", *FROM[:2]).code == 0
    assert asked(service)[0]["to"].endswith("+00:00")


def test_a_replay_that_fails_half_way_is_one_line(ask: Run, service: FakeService) -> None:
    service.next.extend([page(1000, "c1"), Answer(503, problem("the ledger has not caught up with the log yet"))])
    assert failed(ask("partners", "replay", "acme", *FROM)) == "the ledger has not caught up with the log yet"


# -- test

TRIAL: dict[str, Any] = {
    "ok": True,
    "outcome": "accepted",
    "explanation": ["The partner takes it: HTTP 200, after 3 ms.", "[red]Its reply\x1b[2J is empty."],
    "webhook_id": "msg_1",
    "status": 200,
    "duration_ms": 3.0,
    "address": "192.0.2.1:443",
    "acknowledgements": 0,
    "reply": "",
}


def test_a_test_is_explained(ask: Run, service: FakeService) -> None:
    service.answers["POST", "/v1/partners/acme/test"] = Answer(200, TRIAL)
    ran = ask("partners", "test", "acme")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "The partner takes it: HTTP 200, after 3 ms.",
        "[red]Its reply\\x1b[2J is empty.",
        "It went to 192.0.2.1:443, as msg_1.",
    ]
    assert json.loads(ask("partners", "test", "acme", "--json").out) == TRIAL


def test_one_that_is_not_taken_is_exit_code_1(ask: Run, service: FakeService) -> None:
    trial = TRIAL | {"ok": False, "address": None, "explanation": ["There was no answer: x.", "Check it."]}
    service.answers["POST", "/v1/partners/acme/test"] = Answer(200, trial)
    assert ask("partners", "test", "acme") == Ran(1, "There was no answer: x.\nCheck it.\n", "")
    assert ask("partners", "test", "acme", "--json").code == 1


def test_one_under_way_already_is_one_line(ask: Run, service: FakeService) -> None:
    service.next.append(Answer(429, problem("acme is being tested right now")))
    assert failed(ask("partners", "test", "acme")) == "acme is being tested right now"


# -- dead letters

THEIRS = {
    "notice_id": "n1",
    "partner": "acme",
    "subject": "user:1",
    "action": "erase",
    "refused_at": "2026-01-01T12:00:00Z",
    "detail": "HTTP 422: [red]who\nis that?",
    "parked": False,
    "retry_at": None,
}
OURS = {
    "id": "m1",
    "topic": "rescind.toggles",
    "partition": 3,
    "offset": 7,
    "poisoned_at": "2026-01-01T12:00:00Z",
    "reason": "not JSON",
}


def letters(*found: dict[str, Any], following: str | None = None) -> Answer:
    return Answer(200, {"dead_letters": list(found), "next": following})


def test_both_lists_are_shown_and_exit_code_1_says_that_there_is_something(ask: Run, service: FakeService) -> None:
    waits = THEIRS | {"notice_id": "n2", "parked": True, "retry_at": "2026-01-01T12:30:00Z"}
    service.next.extend([letters(THEIRS, waits), letters(OURS)])
    ran = ask("dead-letters", "list")
    assert (ran.code, ran.err) == (1, "")
    first, one, two, second, ours = ran.out.splitlines()
    assert first.split() == ["notice", "partner", "subject", "action", "since", "tried", "again", "its", "words"]
    assert one.split(maxsplit=6)[-1] == "never                 HTTP 422: [red]who is that?"
    assert two.split(maxsplit=6)[-1] == "2026-01-01 12:30:00Z  HTTP 422: [red]who is that?"
    assert second.split() == ["message", "where", "poisoned", "reason"]
    assert ours.split()[:2] == ["m1", "rescind.toggles[3]@7"]
    assert [each.path for each in service.asked] == [
        "/v1/dead-letters/undeliverable?limit=100",
        "/v1/dead-letters/poisoned?limit=100",
    ]


def test_one_list_of_one_partner_in_pages(ask: Run, service: FakeService) -> None:
    service.next.extend([letters(*[THEIRS] * 1000, following="c1"), letters(*[THEIRS] * 200, following="c2")])
    ran = ask("dead-letters", "list", "--theirs", "--partner", "acme", "--limit", "1200", "--json")
    assert ran.code == 1
    assert {name: len(found) for name, found in json.loads(ran.out).items()} == {"undeliverable": 1200}
    assert [each.path for each in service.asked] == [
        "/v1/dead-letters/undeliverable?partner=acme&limit=1000",
        "/v1/dead-letters/undeliverable?partner=acme&after=c1&limit=200",
    ]
    service.next.append(letters(OURS, following="c"))
    assert ask("dead-letters", "list", "--ours", "--limit", "1").out.splitlines()[-1] == "and more, see --limit"


def test_no_dead_letter_is_exit_code_0(ask: Run, service: FakeService) -> None:
    service.next.extend([letters(), letters()])
    out = "no notice is parked or undeliverable\nno message could not be processed\n"
    assert ask("dead-letters", "list") == Ran(0, out, "")


def settled(done: int, *skipped: str, following: str | None = None) -> Answer:
    return Answer(
        202,
        {"done": done, "skipped": [{"id": each, "reason": "no dead letter"} for each in skipped], "next": following},
    )


def test_all_of_a_partner_are_redriven(ask: Run, service: FakeService) -> None:
    service.next.extend([settled(1000, following="c1"), settled(7)])
    ran = ask("dead-letters", "redrive", "--theirs", "--partner", "acme", "--all")
    assert ran == Ran(0, "1,007 redriven, 0 left\n", "")
    assert asked(service) == [
        {"all": True, "partner": "acme"},
        {"all": True, "partner": "acme", "after": "c1"},
    ]
    assert {each.path for each in service.asked} == {"/v1/dead-letters/undeliverable/redrive"}


def test_some_are_redriven_and_what_is_left_is_named(ask: Run, service: FakeService) -> None:
    service.next.append(settled(1, "n2"))
    ran = ask("dead-letters", "redrive", "--theirs", "n1", "n2")
    assert ran == Ran(1, "1 redriven, 1 left\n", "n2: no dead letter\n")
    assert asked(service) == [{"notice_ids": ["n1", "n2"]}]
    service.next.append(settled(1, "n2"))
    found = json.loads(ask("dead-letters", "redrive", "--theirs", "n1", "n2", "--json").out)
    assert found == {"done": 1, "skipped": [{"id": "n2", "reason": "no dead letter"}], "issued": [], "outcomes": []}


def issued(*notices: str, following: str | None = None) -> Answer:
    places = [{"notice_id": each, "lane": 0, "offset": 7} for each in notices]
    return Answer(202, {"done": len(notices), "skipped": [], "issued": places, "next": following})


def became(**outcomes: str) -> Answer:
    words = {"refused": "HTTP 422: who?", "parked": "HTTP 500"}
    told = [
        {"notice_id": notice, "outcome": outcome, "words": words.get(outcome), "retry_at": None}
        for notice, outcome in outcomes.items()
    ]
    return Answer(200, {"outcomes": told})


REDRIVE = ["dead-letters", "redrive", "--theirs", "n1", "n2"]


def test_a_redrive_tells_what_became_of_it(ask: Run, service: FakeService) -> None:
    service.next.extend([issued("n1", "n2"), became(n1="taken", n2="waiting"), became(n2="taken")])
    assert ask(*REDRIVE) == Ran(0, "2 redriven, 0 left: 2 taken\n", "")
    first, second = (each.json["issued"] for each in service.asked[1:])
    assert [place["notice_id"] for place in first] == ["n1", "n2"]
    assert second == [{"notice_id": "n2", "lane": 0, "offset": 7}], "what is known is not asked for again"
    assert {each.path for each in service.asked[1:]} == {"/v1/dead-letters/undeliverable/outcomes"}


@pytest.mark.parametrize(
    ("outcome", "err", "in_short"),
    [
        ("refused", "n2: refused again: HTTP 422: who?\n", "1 taken, 1 refused again"),
        ("parked", "n2: not taken, and tried again later: HTTP 500\n", "1 taken, 1 not taken, and tried again later"),
    ],
)
def test_one_that_fails_again_is_exit_code_1(
    ask: Run, service: FakeService, outcome: str, err: str, in_short: str
) -> None:
    service.next.extend([issued("n1", "n2"), became(n1="taken", n2=outcome)])
    assert ask(*REDRIVE) == Ran(1, f"2 redriven, 0 left: {in_short}\n", err)
    service.next.extend([issued("n1", "n2"), became(n1="taken", n2=outcome)])
    found = json.loads(ask(*REDRIVE, "--json").out)
    assert [each["outcome"] for each in found["outcomes"]] == ["taken", outcome]
    assert [each["notice_id"] for each in found["issued"]] == ["n1", "n2"]


def test_one_that_is_cancelled_meanwhile_did_not_fail(ask: Run, service: FakeService) -> None:
    service.next.extend([issued("n1", "n2"), became(n1="taken", n2="cancelled")])
    assert ask(*REDRIVE) == Ran(0, "2 redriven, 0 left: 1 taken, 1 cancelled meanwhile\n", "")


def test_nobody_waits_for_ever_and_what_is_not_known_is_no_success(ask: Run, service: FakeService) -> None:
    service.next.extend([issued("n1", "n2"), became(n1="taken", n2="waiting")])
    assert ask(*REDRIVE, "--wait", "0") == Ran(1, "2 redriven, 0 left: 1 taken, 1 still waiting\n", "")
    assert len(service.asked) == 2
    failing = {"notice_id": "n1", "outcome": "waiting", "words": "HTTP 400: no signature", "retry_at": None}
    service.next.extend([issued("n1"), Answer(200, {"outcomes": [failing]})])
    words = "n1: still waiting: HTTP 400: no signature\n"
    assert ask(*REDRIVE[:-1], "--wait", "0") == Ran(1, "1 redriven, 0 left: 1 still waiting\n", words)


def test_who_does_not_want_to_wait_does_not(ask: Run, service: FakeService) -> None:
    service.next.append(issued("n1", "n2"))
    assert ask(*REDRIVE, "--no-wait") == Ran(0, "2 redriven, 0 left\n", "")
    assert len(service.asked) == 1


def test_theirs_are_discarded_with_a_reason(ask: Run, service: FakeService) -> None:
    service.next.extend([settled(2), settled(1000, following="c1"), settled(7)])
    named = ["dead-letters", "discard", "--theirs", "n1", "n2", "--reason", "gone"]
    assert ask(*named) == Ran(0, "2 discarded, 0 left\n", "")
    every = ["dead-letters", "discard", "--theirs", "--all", "--partner", "acme", "--reason", "gone"]
    assert ask(*every) == Ran(0, "1,007 discarded, 0 left\n", "")
    assert asked(service) == [
        {"notice_ids": ["n1", "n2"], "reason": "gone"},
        {"all": True, "partner": "acme", "reason": "gone"},
        {"all": True, "partner": "acme", "reason": "gone", "after": "c1"},
    ]
    assert {each.path for each in service.asked} == {"/v1/dead-letters/undeliverable/discard"}


def test_ours_are_redriven_and_discarded(ask: Run, service: FakeService) -> None:
    service.next.extend([settled(1000), settled(1), settled(5), settled(1)])
    assert ask("dead-letters", "redrive", "--ours", *(f"m{number}" for number in range(1001))).code == 0
    assert ask("dead-letters", "redrive", "--ours", "--all").out == "5 redriven, 0 left\n"
    assert ask("dead-letters", "discard", "m1").out == "1 discarded, 0 left\n"
    assert [each.path.rpartition("/dead-letters/")[2] for each in service.asked] == [
        "poisoned/redrive",
        "poisoned/redrive",
        "poisoned/redrive",
        "poisoned/discard",
    ]
    assert [len(each.get("ids", ())) for each in asked(service)] == [1000, 1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["redrive", "n1"], "either --theirs or --ours"),
        (["redrive", "n1", "--theirs", "--ours"], "either --theirs or --ours"),
        (["redrive", "--theirs"], "or say --all"),
        (["redrive", "--ours", "m1", "--all"], "or say --all"),
        (["redrive", "--theirs", "--all"], "which needs it"),
        (["redrive", "--ours", "--all", "--partner", "acme"], "which needs it"),
        (["redrive", "--theirs", "n1", "--partner", "acme"], "which needs it"),
        (["discard"], "or say --all"),
        (["discard", "--theirs", "n1"], "which needs one"),
        (["discard", "m1", "--reason", "r"], "which needs one"),
        (["discard", "--theirs", "--all", "--reason", "r"], "which needs it"),
        (["discard", "--theirs", "--ours", "n1", "--reason", "r"], "either --theirs or --ours"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_who_does_not_say_which_is_told(ask: Run, service: FakeService, arguments: list[str], reason: str) -> None:
    assert reason in failed(ask("dead-letters", *arguments))
    assert service.asked == []


# -- actions


def test_what_was_done_by_hand_is_shown(ask: Run, service: FakeService) -> None:
    done: dict[str, Any] = {
        "id": "a",
        "act": "pause",
        "at": "2026-01-01T12:00:00Z",
        "key": "k1",
        "role": "operator",
        "label": "[red]on call",
        "partner": "acme",
        "details": {"status": "paused"},
    }
    bare = done | {"label": None, "partner": None, "details": {}}
    service.answers["GET", "/v1/actions?limit=50&partner=acme"] = Answer(200, {"actions": [done, bare], "next": None})
    header, first, second = ask("actions", "--partner", "acme").out.splitlines()
    assert header.split() == ["time", "act", "partner", "by", "key", "details"]
    assert first.endswith('pause  acme     [red]on call  k1   {"status": "paused"}')
    assert second.split()[2:] == ["pause", "-", "-", "k1", "-"]
    assert json.loads(ask("actions", "--partner", "acme", "--json").out) == [done, bare]
    service.answers["GET", "/v1/actions?limit=50"] = Answer(200, {"actions": [], "next": None})
    assert ask("actions") == Ran(0, "nothing was done by hand\n", "")


@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(200, {}), Answer(200, []), Answer(0)])
@pytest.mark.parametrize(
    "arguments",
    [
        ["partners", "replay", "acme", *FROM],
        ["partners", "test", "acme"],
        ["dead-letters", "list"],
        ["dead-letters", "redrive", "--ours", "--all"],
        ["actions"],
    ],
)
def test_an_answer_that_is_not_ours_is_one_line(
    ask: Run, service: FakeService, arguments: list[str], answer: Answer
) -> None:
    service.next.append(answer)
    failed(ask(*arguments))


# -- replies

LAST: dict[str, Any] = {
    "at": "2026-01-01T12:00:00Z", "reason": "not JSON", "excerpt": "{'results'\x1b[2J: []}", "webhook_id": "msg_7",
    "open": True,
}  # fmt: skip
STANDS = (
    "acme is WARN until a later reply is understood, or an operator marks this one as seen:"
    " rescind partners replies acme --seen"
)


@pytest.mark.parametrize(
    ("replies", "lines"),
    [
        ({}, []),
        ({"not_understood": 1, "last_not_understood": LAST}, ["it begins: {'results'\\x1b[2J: []}", STANDS]),
        ({"not_understood": 1, "last_not_understood": LAST | {"excerpt": ""}}, [STANDS]),
        (
            {
                "not_understood": 1,
                "last_not_understood": LAST | {"excerpt": "", "open": False},
                "seen_at": "2026-01-01T12:00:00Z",
            },
            ["it was marked as seen 2026-01-01 12:00:00Z"],
        ),
        (
            {
                "not_understood": 1,
                "last_not_understood": LAST | {"excerpt": "", "open": False},
                "seen_at": "2026-01-01T11:00:00Z",
                "understood_at": "2026-01-01T13:00:00Z",
            },
            ["a later one was understood, the last 2026-01-01 13:00:00Z"],
        ),
    ],
)
def test_what_replies_said(ask: Run, service: FakeService, replies: dict[str, Any], lines: list[str]) -> None:
    row = lag_of("acme", "WARN") | {"kinds": [], "replies": REPLIES | replies}
    service.answers["GET", "/v1/lag/acme"] = Answer(200, row)
    first, *rest = ask("partners", "replies", "acme").out.splitlines()
    assert first.startswith("notices by reply: 5 acknowledged, 0 not understood, 1,204 without an answer; ")
    came = "the last came 2026-01-01 12:00:00Z, as the answer to msg_7: not JSON"
    assert rest == ([came, *lines] if replies else [])
    assert json.loads(ask("partners", "replies", "acme", "--json").out) == REPLIES | replies


def test_what_was_not_understood_is_marked_as_seen(ask: Run, service: FakeService) -> None:
    service.answers["POST", "/v1/partners/acme/replies/seen"] = Answer(200, REPLIES)
    ran = ask("partners", "replies", "acme", "--seen")
    assert ran == Ran(0, "the replies of acme not understood so far are marked as seen; the next one warns again\n", "")
    assert json.loads(ask("partners", "replies", "acme", "--seen", "--json").out) == REPLIES
    assert [(each.method, each.path) for each in service.asked] == [("POST", "/v1/partners/acme/replies/seen")] * 2


def test_one_that_came_after_the_mark_is_told(ask: Run, service: FakeService) -> None:
    service.answers["POST", "/v1/partners/acme/replies/seen"] = Answer(200, REPLIES | {"last_not_understood": LAST})
    _, line = ask("partners", "replies", "acme", "--seen").out.splitlines()
    assert line.startswith("acme is still WARN: another came 2026-01-01 12:00:00Z")


def test_a_service_without_replies_is_none_of_ours(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/lag/acme"] = Answer(200, {"kinds": [], "windows": []})
    assert "not as Rescind does" in failed(ask("partners", "replies", "acme"))
