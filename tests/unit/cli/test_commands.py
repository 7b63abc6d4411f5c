"""The commands: what they ask of the service, what they print, and one line for whatever fails."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ledger.keys import KeyStore
from tests.unit.cli.conftest import Ran, Run
from tests.unit.cli.fakes import Answer, FakeService, problem

NOON = "2026-01-01T12:00:00Z"
HEADER = "subject,purpose,choice,occurred_at"
COMMANDS = [
    [],
    ["up"],
    ["worker"],
    ["ledger"],
    ["ledger", "rebuild"],
    ["ledger", "export"],
    ["ledger", "archives"],
    ["gateway"],
    ["demo"],
    ["toggle"],
    ["import"],
    ["status"],
    ["trace"],
    ["doctor"],
    ["lag"],
    ["notices"],
    ["report"],
    ["partners"],
    *(["partners", name] for name in ("add", "list", "show", "rotate-secret", "remove")),
    *(["partners", name] for name in ("pause", "resume", "suspend", "drain", "replay", "test")),
    ["partners", "exports"],
    ["exports"],
    *(["exports", name] for name in ("list", "show")),
    ["disclosures"],
    *(["disclosures", name] for name in ("of", "import")),
    ["dead-letters"],
    *(["dead-letters", name] for name in ("list", "redrive", "discard")),
    ["actions"],
    ["keys"],
    *(["keys", name] for name in ("create", "list", "revoke")),
    ["topics"],
    *(["topics", name] for name in ("apply", "check")),
]


def failed(ran: Ran, *, code: int = 2) -> str:
    """The one line that a failure is."""
    assert (ran.code, ran.out) == (code, "")
    line, end, rest = ran.err.partition("\n")
    assert (end, rest) == ("\n", "")
    assert line.startswith("rescind: ")
    return line.removeprefix("rescind: ")


# Help and usage


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(run: Run, command: list[str], flag: str) -> None:
    ran = run(*command, flag)
    assert (ran.code, ran.err) == (0, "")
    assert "Usage: " + " ".join(["rescind", *command]) in ran.out


@pytest.mark.parametrize("command", [[], ["partners"], ["dead-letters"], ["keys"], ["topics"]])
def test_a_command_that_is_asked_nothing_shows_its_help(run: Run, command: list[str]) -> None:
    ran = run(*command)
    assert ran.code == 2
    assert "Usage: " in ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nonsense"], "No such command 'nonsense'. (see rescind --help)"),
        (["statu"], "Did you mean 'status'"),
        (["partners", "nonsense"], "(see rescind partners --help)"),
        (["toggle"], "Missing argument"),
        (["toggle", "blog:a", "ai"], "opt_out"),
        (["toggle", "blog:a", "ai", "perhaps"], "'perhaps' is not one of"),
        (["toggle", "blog:a", "ai", "opt_out", "--version", "-1"], "--version"),
        (["toggle", "blog:a", "ai", "opt_out", "--version", "x"], "--version"),
        (["status", "extra"], "extra"),
        (["status", "--nonsense"], "No such option"),
        (["status", "--url"], "--url"),
        (["import"], "Missing argument"),
        (["import", "f.csv", "--batch", "0"], "--batch"),
        (["import", "f.csv", "--batch", "1001"], "--batch"),
        (["import", "f.csv", "--on-error", "ignore"], "--on-error"),
        (["import", "f.csv", "--retry-for", "-1"], "--retry-for"),
        (["partners", "rotate-secret"], "Missing argument"),
        (["partners", "rotate-secret", "p", "--overlap", "-1"], "--overlap"),
        (["partners", "rotate-secret", "p", "--overlap", "2592001"], "--overlap"),
        (["partners", "rotate-secret", "p", "--overlap", "1h"], "--overlap"),
        (["partners", "rotate-secret", "p", "--signature-scheme", "v2"], "'v2' is not one of"),
        (["up", "--port", "65536"], "--port"),
        (["up", "--port", "-1"], "--port"),
        (["up", "--port", "http"], "--port"),
        (["gateway", "--port", "65536"], "--port"),
        (["worker", "--port", "1"], "No such option"),
        (["worker", "--health-port", "65536"], "--health-port"),
        (["ledger", "--health-port", "x"], "--health-port"),
        (["ledger", "--allow-private-partners"], "No such option"),
        (["lag", "--at-most", "-1"], "--at-most"),
        (["keys", "create"], "--role"),
        (["keys", "create", "--role", "king"], "--role"),
        (["topics", "apply", "--lanes", "0"], "--lanes"),
        (["topics", "check", "--partitions", "10001"], "--partitions"),
        (["partners", "add", "acme"], "--to"),
        (["partners", "add", "acme", "--to", "https://a", "--purpose", "ai", "--batch-size", "x"], "--batch-size"),
    ],
)
def test_a_usage_error_is_one_line(run: Run, arguments: list[str], reason: str) -> None:
    assert reason in failed(run(*arguments))


def test_a_usage_error_repeats_nothing_that_acts(run: Run) -> None:
    assert "\\x1b" in failed(run("[red]\x1b[2J\n:dog:[/x]"))


# Reaching the service


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["trace", "blog:a"],
        ["partners", "list"],
        ["partners", "remove", "acme"],
        ["toggle", "a:b", "ai", "opt_in"],
    ],
)
def test_a_service_that_is_not_running_is_one_line(run: Run, arguments: list[str]) -> None:
    assert failed(run(*arguments, "--url", "http://127.0.0.1:1")).startswith("no answer from http://127.0.0.1:1: ")


@pytest.mark.parametrize("url", ["localhost:8321", "http://", "http://a:b", "ftp://a", "http://a:99999", "[red]"])
def test_a_bad_url_is_one_line(run: Run, url: str) -> None:
    assert repr(url) in failed(run("status", "--url", url))


def test_the_service_and_the_key_come_from_the_environment(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answers["GET", "/v1/partners"] = Answer(200, {"partners": []})
    monkeypatch.setenv("RESCIND_URL", service.url)
    monkeypatch.setenv("RESCIND_KEY", "rsk_1\r\n")
    assert run("partners", "list").code == 0
    assert service.asked[0].headers["authorization"] == "Bearer rsk_1"


def test_a_key_that_is_missing_or_wrong_is_one_line_with_advice(run: Run, service: FakeService) -> None:
    service.next.append(Answer(401, problem("an API key is needed")))
    told = failed(run("status", "--url", service.url))
    assert told == "an API key is needed (keys are given with --key or RESCIND_KEY)"
    service.next.append(Answer(403, problem("this needs a key of role operator; yours is platform")))
    assert failed(run("status", "--url", service.url)) == "this needs a key of role operator; yours is platform"


def test_a_key_that_no_header_can_carry_is_not_repeated(run: Run, service: FakeService) -> None:
    assert "secret" not in failed(run("status", "--url", service.url, "--key", "secret\nx"))


@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(200, {}), Answer(500, b""), Answer(0)])
@pytest.mark.parametrize(
    "arguments", [["status"], ["trace", "a:b"], ["partners", "list"], ["toggle", "a:b", "ai", "opt_in"]]
)
def test_an_answer_that_is_not_ours_is_one_line(
    ask: Run, service: FakeService, arguments: list[str], answer: Answer
) -> None:
    service.next.append(answer)
    failed(ask(*arguments))


def test_a_message_of_the_service_is_one_line_and_does_not_act(ask: Run, service: FakeService) -> None:
    service.next.append(Answer(500, problem("[red]two\nlines\x1b[2J [/x] :dog:")))
    assert failed(ask("status")) == "[red]two lines\\x1b[2J [/x] :dog:"


# toggle


def test_a_toggle_is_sent_as_it_was_given(ask: Run, service: FakeService) -> None:
    options = ["--at", NOON, "--version", "3", "--no-retroactive", "--id", "[red]e1"]
    ran = ask("toggle", "blog:a", "ai-training", "opt_out", *options)
    assert (ran.code, ran.out) == (0, "accepted [red]e1\n")
    assert service.taken == [
        {
            "id": "[red]e1",
            "subject": "blog:a",
            "purpose": "ai-training",
            "choice": "opt_out",
            "occurred_at": NOON,
            "version": 3,
            "retroactive": False,
            "source": "command line",
        }
    ]


def test_a_toggle_that_is_refused_says_why(ask: Run, service: FakeService) -> None:
    error = {"index": 0, "pointer": "/subject", "detail": "String should match pattern"}
    service.next.append(Answer(422, problem("1 of 1 toggles are not valid; nothing was accepted", error)))
    assert "/subject String should match pattern" in failed(ask("toggle", "blog", "ai", "opt_out"))


def test_an_argument_that_is_no_unicode_is_one_line(ask: Run) -> None:
    assert "cannot be sent" in failed(ask("toggle", "blog:\udcff", "ai", "opt_out"))
    assert "is not text" in failed(ask("trace", "blog:\udcff"))


# import


def row(subject: str) -> str:
    return f"{subject},ai-training,opt_out,{NOON}"


def test_an_import_reports_what_it_skipped(ask: Run, service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "[red]file.csv"
    path.write_text("\n".join([HEADER, row("a:1"), "nonsense", row("a:2"), row("A:3")]))
    ran = ask("import", str(path))
    assert (ran.code, ran.out) == (1, "2 toggles accepted, 2 lines skipped\n")
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["line 3", "line 5"]
    assert [toggle["subject"] for toggle in service.taken] == ["a:1", "a:2"]


def test_an_import_of_good_lines_ends_with_0_and_says_nothing_else(ask: Run, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("\n".join([HEADER, row("a:1")]))
    assert ask("import", str(path)) == Ran(0, "1 toggles accepted, 0 lines skipped\n", "")


def test_an_import_stops_where_it_is_told_to(ask: Run, service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("\n".join([HEADER, row("a:1"), "nonsense", row("a:2")]))
    assert failed(ask("import", str(path), "--on-error", "stop")) == "line 3: 1 columns instead of 4"
    assert [toggle["subject"] for toggle in service.taken] == ["a:1"]


def test_what_a_file_holds_does_not_act_in_reports(ask: Run, tmp_path: Path) -> None:
    path = tmp_path / "file.ndjson"
    path.write_text(json.dumps({"[red]\x1b[2J\nrescind: all is well": 1}) + "\n")
    ran = ask("import", str(path))
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "[red]\\x1b[2J rescind: all is well" in ran.err


def test_an_import_that_fails_is_one_line(run: Run, ask: Run, service: FakeService, tmp_path: Path) -> None:
    assert "No such file" in failed(ask("import", str(tmp_path / "missing.csv")))
    assert "Is a directory" in failed(ask("import", str(tmp_path)))
    assert "name too long" in failed(ask("import", "x" * 5000))
    path = tmp_path / "file.csv"
    path.write_text("subject;purpose")
    assert "the header is 'subject;purpose'" in failed(ask("import", str(path)))
    path.write_text(f"{HEADER}\n{row('a:1')}\n")
    service.next.append(Answer(401, problem("the API key is unknown or revoked")))
    assert "unknown or revoked" in failed(ask("import", str(path)))
    assert "no answer" in failed(run("import", str(path), "--url", "http://127.0.0.1:1", "--retry-for", "0"))


def test_an_import_that_was_interrupted_goes_on_and_reports_everything(
    ask: Run, service: FakeService, tmp_path: Path
) -> None:
    path = tmp_path / "file.csv"
    path.write_text("\n".join([HEADER, "nonsense", *(row(f"a:{number}") for number in range(4))]))
    service.next.extend([Answer(202, {"ids": ["1", "2"]}), Answer(500, problem("no"))])
    ran = ask("import", str(path), "--batch", "2")
    assert (ran.code, ran.err.splitlines()) == (2, ["line 2: 1 columns instead of 4", "rescind: no"])
    ran = ask("import", str(path), "--batch", "2")
    assert (ran.code, ran.out) == (1, "4 toggles accepted, 1 lines skipped\n")
    assert ran.err == "line 2: 1 columns instead of 4\n"
    assert [toggle["subject"] for toggle in service.taken] == ["a:2", "a:3"]


# status, trace


REPLIES: dict[str, Any] = {
    "not_understood": 0,
    "notices": {"acknowledged": 5, "not_understood": 0, "unanswered": 1_204},
    "last_not_understood": None,
    "understood_at": None,
    "seen_at": None,
}


def lag_of(partner: str, state: str) -> dict[str, Any]:
    return {
        "partner": partner,
        "state": state,
        "reason": "so it is",
        "open": 3,
        "oldest_open_seconds": 61,
        "overdue": 3,
        "at_risk": 1,
        "backlog": 4,
        "undeliverable": 0,
        "parked": 0,
        "acknowledged": 5,
        "replies": REPLIES,
        "complete_lag": {"p50": 0.25, "p99": None},
        "windows": [window_of(927)],
    }


def window_of(answered: int) -> dict[str, Any]:
    lags = {"p50": 60.0, "p95": 61.0, "p99": None, "count": 1}
    shares = {"in_time_share": 0.3916, "late_share": 0.6084, "refused_share": 0.51} if answered else {}
    nothing: dict[str, Any] = {"in_time_share": None, "late_share": None, "refused_share": None}
    return {
        "window": "1h",
        "arrived": 3,
        "answered": answered,
        "in_time": 363 if answered else 0,
        "late": 564 if answered else 0,
        "refused": 473 if answered else 0,
        "receive_lag": lags,
        "complete_lag": lags,
    } | (shares or nothing)


TOTALS = {"opted_out": 1, "notices": 8, "acknowledged": 5, "open": 3}


STATES = [("OK", 0, 0), ("WARN", 0, 1), ("STALL", 1, 1), ("STOP", 1, 1)]


@pytest.mark.parametrize(("state", "code", "strictly"), STATES)
def test_status_is_a_table_and_a_code(ask: Run, service: FakeService, state: str, code: int, strictly: int) -> None:
    service.answers["GET", "/v1/lag"] = Answer(200, {"partners": [lag_of("acme", state)], "totals": TOTALS})
    ran = ask("status")
    assert ran.code == code
    header, shown, *reasons, totals = ran.out.splitlines()
    columns = "state partner open oldest overdue at risk backlog answered late refused lag p50 lag p99"
    assert " ".join(header.split()) == columns
    assert " ".join(shown.split()) == f"{state} acme 3 1 min 1 s 3 1 4 927 564 (61 %) 473 (51 %) 0.2 s -"
    assert reasons == ([] if state == "OK" else [f"acme is {state}: so it is"])
    assert totals == "1 standing opt-outs, 8 notices, 5 acknowledged, 3 open"
    assert ask("status", "--strict").code == strictly
    assert ask("status", "--strict", "--json").code == strictly


def test_status_shows_what_is_undeliverable_or_parked_if_anything_is(ask: Run, service: FakeService) -> None:
    rows = [lag_of("acme", "WARN") | {"undeliverable": 12}, lag_of("fine", "OK") | {"windows": [window_of(0)]}]
    service.answers["GET", "/v1/lag"] = Answer(200, {"partners": rows, "totals": None})
    header, acme, fine, _ = ask("status").out.splitlines()
    assert "backlog  undeliverable  answered" in header
    assert " ".join(acme.split()) == "WARN acme 3 1 min 1 s 3 1 4 12 927 564 (61 %) 473 (51 %) 0.2 s -"
    assert " ".join(fine.split()) == "OK fine 3 1 min 1 s 3 1 4 0 0 - - 0.2 s -"
    rows[1]["parked"] = 3
    assert "undeliverable  parked" in ask("status").out


def test_strictness_is_about_the_exit_code(ask: Run) -> None:
    assert "--watch ends with 0" in failed(ask("status", "--strict", "--watch"))


def test_status_tells_of_dead_letters_if_there_are_any(ask: Run, service: FakeService) -> None:
    for theirs, ours in ((0, 0), (2, 0), (0, 3)):
        totals = TOTALS | {"undeliverable": theirs, "poisoned_open": ours}
        service.answers["GET", "/v1/lag"] = Answer(200, {"partners": [lag_of("acme", "OK")], "totals": totals})
        told = f"dead letters: {theirs} of partners, {ours} of ours (rescind dead-letters list)"
        assert ask("status").out.splitlines()[3:] == ([told] if theirs or ours else [])


def test_status_tells_who_contradicts_itself(ask: Run, service: FakeService) -> None:
    rows = [lag_of("acme", "OK") | {"contradictions": 2}, lag_of("fine", "OK") | {"contradictions": 0}]
    service.answers["GET", "/v1/lag"] = Answer(200, {"partners": rows, "totals": None})
    told = "final answers after other final ones: acme (2) (GET /v1/contradictions)"
    assert ask("status").out.splitlines()[3:] == [told]


def test_status_tells_whose_replies_are_not_understood(ask: Run, service: FakeService) -> None:
    last = {"at": "2026-01-01T12:00:00Z", "reason": "cut", "excerpt": "{", "webhook_id": "msg_1", "open": True}
    unclear = REPLIES | {"not_understood": 3, "last_not_understood": last}
    seen = REPLIES | {"not_understood": 3, "last_not_understood": last | {"open": False}}
    rows = [
        lag_of("acme", "WARN") | {"replies": unclear},
        lag_of("seen", "OK") | {"replies": seen},
        lag_of("fine", "OK"),
    ]
    service.answers["GET", "/v1/lag"] = Answer(200, {"partners": rows, "totals": None})
    told = "replies not understood: acme (3) (rescind partners replies PARTNER)"
    assert ask("status").out.splitlines()[-1] == told


def test_status_for_programs(ask: Run, service: FakeService) -> None:
    lag = {"partners": [lag_of("acme", "STOP")], "totals": None}
    service.answers["GET", "/v1/lag"] = Answer(200, lag)
    ran = ask("status", "--json")
    assert (ran.code, json.loads(ran.out)) == (1, lag)


def test_status_without_partners(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/lag"] = Answer(200, {"partners": [], "totals": None})
    assert ask("status") == Ran(0, "no partner is registered\n", "")


def test_status_over_another_window(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/lag?window=7d"] = Answer(200, {"partners": [], "totals": None})
    assert ask("status", "--window", "7d").code == 0
    assert "--partner shows every window" in failed(ask("status", "--window", "7d", "--partner", "acme"))


@pytest.mark.parametrize(("state", "code", "strictly"), STATES[1:3])
def test_status_of_one_partner_is_of_each_kind_over_each_window(
    ask: Run, service: FakeService, state: str, code: int, strictly: int
) -> None:
    windows = [window_of(927)]
    kind = {
        "kind": "erase", "open": 3, "oldest_open_seconds": 61.0, "overdue": 1, "at_risk": 0, "backlog": 2,
        "undeliverable": 0, "parked": 0, "windows": windows,
    }  # fmt: skip
    row = lag_of("acme", state) | {"kinds": [kind], "windows": windows}
    service.answers["GET", "/v1/lag/acme"] = Answer(200, row)
    ran = ask("status", "--partner", "acme")
    assert ran.code == code
    assert ask("status", "--partner", "acme", "--strict").code == strictly
    assert [" ".join(line.split()) for line in ran.out.splitlines()] == [
        f"acme is {state}: so it is",
        "notices by reply: 5 acknowledged, 0 not understood, 1,204 without an answer;"
        " 0 replies were not fully understood",
        "kind open oldest overdue at risk backlog",
        "erase 3 1 min 1 s 1 0 2",
        "all 3 1 min 1 s 3 1 4",
        "kind over came answered in time late refused taken p50 p95 p99 answered p50 p95 p99",
        "erase 1h 3 927 363 (39 %) 564 (61 %) 473 (51 %) 1 min 0 s 1 min 1 s - 1 min 0 s 1 min 1 s -",
        "all 1h 3 927 363 (39 %) 564 (61 %) 473 (51 %) 1 min 0 s 1 min 1 s - 1 min 0 s 1 min 1 s -",
    ]
    assert json.loads(ask("status", "--partner", "acme", "--json").out) == row


def test_a_trace_shows_what_happened(ask: Run, service: FakeService) -> None:
    entries = [{"at": "2026-01-01T13:00:00+01:00", "kind": "toggle", "summary": "[red]opt_out[/x] :dog:"}]
    service.answers["GET", "/v1/subjects/blog:a/timeline"] = Answer(200, {"entries": entries})
    ran = ask("trace", "blog:a")
    assert ran.code == 0
    assert ran.out.splitlines()[1] == "2026-01-01 12:00:00Z  toggle  [red]opt_out[/x] :dog:"
    assert json.loads(ask("trace", "blog:a", "--json").out) == entries


def test_a_trace_of_nobody(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/subjects/user:dog:/timeline"] = Answer(200, {"entries": []})
    assert ask("trace", "user:dog:") == Ran(0, "nothing is known of user:dog:\n", "")
    assert ask("trace", "user:dog:", "--json") == Ran(0, "[]\n", "")


# partners

PARTNER = {
    "id": "acme",
    "name": "[red]Acme[/x]",
    "status": "active",
    "status_reason": None,
    "lane": 3,
    "purposes": ["ai", "ads"],
    "subject_kinds": [],
    "url": "https://acme.example/" + "x" * 300,
    "signing_keys": [
        {"scheme": "v1a", "public_key": "whpk_x", "expires_at": None},
        {"scheme": "v1", "public_key": None, "expires_at": NOON},
    ],
    "created_at": NOON,
    "updated_at": NOON,
}


def test_a_partner_is_registered_and_its_secrets_are_shown(ask: Run, service: FakeService) -> None:
    keys = [{"scheme": "v1", "public_key": None, "expires_at": None}]
    made = {"id": "acme", "lane": 3, "signing_secret": "whsec_x", "api_key": "rsk_x", "signing_keys": keys}
    service.answers["POST", "/v1/partners"] = Answer(201, made)
    more = ["--purpose", "ads", "--name", "A", "--subject-kind", "blog", "--batch-size", "7"]
    command = ["partners", "add", "acme", "--to", "https://a", "--purpose", "ai"]
    ran = ask(*command, *more)
    assert ran.code == 0
    assert "whsec_x" in ran.out
    assert "rsk_x" in ran.out
    assert service.asked[0].json == {
        "id": "acme",
        "name": "A",
        "url": "https://a",
        "purposes": ["ai", "ads"],
        "subject_kinds": ["blog"],
        "batch_size": 7,
    }
    assert json.loads(ask(*command, "--json").out) == made
    assert service.asked[1].json == {"id": "acme", "name": "acme", "url": "https://a", "purposes": ["ai"]}


SOON = "2026-01-02T12:00:00Z"
KEYS = [
    {"scheme": "v1a", "public_key": "whpk_new", "expires_at": None},
    {"scheme": "v1a", "public_key": "whpk_old", "expires_at": NOON},
    {"scheme": "v1", "public_key": None, "expires_at": SOON},
]


def test_a_partner_that_checks_with_a_public_key_is_shown_that(ask: Run, service: FakeService) -> None:
    made = {"id": "acme", "lane": 3, "signing_secret": None, "api_key": "rsk_x", "signing_keys": KEYS[:1]}
    service.answers["POST", "/v1/partners"] = Answer(201, made)
    command = ["partners", "add", "acme", "--to", "https://a", "--purpose", "ai", "--signature-scheme", "v1a"]
    ran = ask(*command)
    assert ran.code == 0
    assert "Public key: whpk_new\n" in ran.out
    assert "Signing secret" not in ran.out
    assert service.asked[-1].json["signature_schemes"] == ["v1a"]
    ask(*command, "--signature-scheme", "v1")
    assert service.asked[-1].json["signature_schemes"] == ["v1a", "v1"]


def test_a_secret_is_rotated_and_the_new_one_is_shown(ask: Run, service: FakeService) -> None:
    made = {"id": "acme", "signing_secret": "whsec_new", "signing_keys": KEYS}
    service.answers["POST", "/v1/partners/acme/rotate-secret"] = Answer(200, made)
    ran = ask("partners", "rotate-secret", "acme")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "partner acme has a new signing secret",
        "Signing secret: whsec_new",
        "Public key: whpk_new",
        "What signed before goes on until 2026-01-02 12:00:00Z. Hand the new one to the partner by then.",
        "The secret is shown only now.",
    ]
    assert service.asked[-1].json == {}
    more = ["--overlap", "3600", "--signature-scheme", "v1", "--signature-scheme", "v1a", "--json"]
    assert json.loads(ask("partners", "rotate-secret", "acme", *more).out) == made
    assert service.asked[-1].json == {"overlap": 3600, "signature_schemes": ["v1", "v1a"]}


def test_a_secret_that_leaked_is_rotated_at_once(ask: Run, service: FakeService) -> None:
    made = {"id": "acme", "signing_secret": None, "signing_keys": KEYS[:1]}
    service.answers["POST", "/v1/partners/acme/rotate-secret"] = Answer(200, made)
    ran = ask("partners", "rotate-secret", "acme", "--overlap", "0")
    assert ran.out.splitlines() == [
        "partner acme has a new signing secret",
        "Public key: whpk_new",
        "What signed before has ended. Hand the new one to the partner now.",
    ]
    assert service.asked[-1].json == {"overlap": 0}
    assert failed(ask("partners", "rotate-secret", "nobody")) == "there is nothing here"


def test_partners_are_listed_and_shown_whole(ask: Run, service: FakeService) -> None:
    service.answers["GET", "/v1/partners"] = Answer(200, {"partners": [PARTNER]})
    service.answers["GET", "/v1/partners/acme"] = Answer(200, PARTNER)
    header, listed = ask("partners", "list").out.splitlines()
    assert header.split() == ["partner", "status", "lane", "purposes", "url"]
    assert listed.split() == ["acme", "active", "3", "ai,ads", PARTNER["url"]]
    shown = dict(line.split(maxsplit=1) for line in ask("partners", "show", "acme").out.splitlines())
    assert shown["name"] == "[red]Acme[/x]"
    assert shown["created_at"] == "2026-01-01 12:00:00Z"
    assert shown["signing_keys"] == "v1a whpk_x; v1 until 2026-01-01 12:00:00Z"
    assert (shown["status_reason"], shown["subject_kinds"], shown["purposes"]) == ("-", "-", "ai,ads")
    assert json.loads(ask("partners", "list", "--json").out) == [PARTNER]
    assert json.loads(ask("partners", "show", "acme", "--json").out) == PARTNER


def test_a_partner_is_removed(ask: Run, service: FakeService) -> None:
    service.answers["DELETE", "/v1/partners/acme"] = Answer(204)
    assert ask("partners", "remove", "acme") == Ran(0, "partner acme is removed\n", "")
    assert failed(ask("partners", "remove", "..")) == "there is nothing here"
    assert service.asked[-1].path == "/v1/partners/%2E%2E"


# keys


def test_keys_are_made_listed_and_revoked(run: Run, tmp_path: Path) -> None:
    data = ["--data", str(tmp_path)]
    ran = run("keys", "create", "--role", "partner", "--partner", "acme", "--label", "[red]x[/y]", *data)
    assert ran.code == 0
    identity, _, plain = ran.out.splitlines()[0].removeprefix("Key ").partition(": ")
    keys = KeyStore.open(tmp_path / "keys.sqlite")
    found = keys.authenticate(plain)
    assert found is not None
    assert (found.id, found.partner) == (identity, "acme")
    header, listed = run("keys", "list", *data).out.splitlines()
    assert header.split() == ["key", "role", "partner", "label", "created", "revoked"]
    assert listed.split()[:4] == [identity, "partner", "acme", "[red]x[/y]"]
    assert plain not in listed
    assert run("keys", "revoke", identity, *data) == Ran(0, f"key {identity} is revoked\n", "")
    assert keys.authenticate(plain) is None
    keys.close()
    assert failed(run("keys", "revoke", identity, *data)) == f"there is no key {identity} in force"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--role", "partner"],
        ["--role", "operator", "--partner", "acme"],
        ["--role", "partner", "--partner", "Acme Inc."],
        ["--role", "partner", "--partner", ""],
    ],
)
def test_a_key_that_fits_nobody_is_not_made(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    failed(run("keys", "create", *arguments, "--data", str(tmp_path)))
    assert "operator" not in run("keys", "list", "--data", str(tmp_path)).out


def test_looking_for_keys_in_a_wrong_directory_leaves_nothing_there(run: Run, tmp_path: Path) -> None:
    for arguments in (["list"], ["revoke", "abc"]):
        assert "there are no keys in" in failed(run("keys", *arguments, "--data", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_is_none_is_one_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for command in (["list"], ["create", "--role", "operator"], ["revoke", "x"]):
        assert "does not exist" in failed(run("keys", *command, "--data", str(tmp_path / "missing")))
        assert "is no directory" in failed(run("keys", *command, "--data", str(file)))
        failed(run("keys", *command, "--data", str(file / "below")))
        failed(run("keys", *command, "--data", "x" * 5000))


@pytest.mark.parametrize("content", [b"no database" * 200, b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_key_file_that_is_no_database_is_one_line(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys.sqlite").write_bytes(content)
    for command in (["list"], ["create", "--role", "operator"], ["revoke", "x"]):
        assert "keys.sqlite" in failed(run("keys", *command, "--data", str(tmp_path)))


def test_a_data_directory_that_cannot_be_written_is_one_line(run: Run) -> None:
    # Not even root may write there.
    assert "cannot use /proc/keys.sqlite" in failed(run("keys", "create", "--role", "operator", "--data", "/proc"))


def test_a_key_file_that_is_a_directory_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite").mkdir()
    failed(run("keys", "list", "--data", str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("RETRY_BASE", "0"),
        ("MAX_BODY_BYTES", "1"),
        ("LEDGER_ARCHIVE_AFTER_DAYS", "34"),
        ("LEDGER_ARCHIVE_AFTER_DAYS", "soon"),
    ],
)
@pytest.mark.parametrize(
    "command", [["up"], ["worker"], ["ledger"], ["gateway"], ["keys", "list"], ["keys", "create", "--role", "operator"]]
)
def test_an_invalid_setting_of_the_environment_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"RESCIND_{name}", value)
    assert name.lower() in failed(run(*command))


# Topics; the rest of it is in tests/kafka


@pytest.mark.parametrize("command", ["apply", "check"])
def test_the_embedded_log_needs_no_topics_made(run: Run, command: str) -> None:
    ran = run("topics", command)
    assert (ran.code, ran.out, ran.err) == (0, "The embedded log makes its topics by itself.\n", "")
    assert json.loads(run("topics", command, "--json").out) == {"topics": []}


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("LOG", "zookeeper://one:2181", "RESCIND_LOG must be sqlite:///path or kafka://host:port"),
        ("LOG", "kafka://one:99999", "RESCIND_LOG must be kafka://host:port"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "security_protocol"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "RESCIND_KAFKA_SASL_USERNAME"),
    ],
)
def test_topics_of_a_cluster_that_cannot_be(
    run: Run, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, reason: str
) -> None:
    monkeypatch.setenv("RESCIND_LOG", "kafka://127.0.0.1:1")
    monkeypatch.setenv(f"RESCIND_{setting}", value)
    assert reason in failed(run("topics", "check"))


def test_a_cluster_out_of_reach_is_one_line_within_seconds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_LOG", "kafka://127.0.0.1:1")
    begun = time.monotonic()
    assert failed(run("topics", "check")).startswith("Kafka at 127.0.0.1:1: no answer within 6 s by PLAINTEXT")
    assert time.monotonic() - begun < 20
