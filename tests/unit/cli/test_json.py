"""What commands print with --json, where they print little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ledger.keys import KeyStore
from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import Answer, FakeService

NOON = "2026-01-01T12:00:00Z"


def told(ran: Any, code: int = 0) -> Any:
    assert ran.code == code, ran.err
    return json.loads(ran.out)


def test_a_toggle(ask: Run, service: FakeService) -> None:
    assert told(ask("toggle", "a:b", "ai", "opt_out", "--id", "evt-1", "--json")) == {"accepted": 1, "ids": ["evt-1"]}
    assert len(service.taken) == 1


def test_an_import(ask: Run, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(f"subject,purpose,choice,occurred_at\nuser:1,ai,opt_out,{NOON}\nnonsense\n")
    assert told(ask("import", str(path), "--json"), 1) == {"accepted": 1, "skipped": 1}


def test_a_removal(ask: Run, service: FakeService) -> None:
    service.answers["DELETE", "/v1/partners/acme"] = Answer(204)
    assert told(ask("partners", "remove", "acme", "--json")) == {"id": "acme", "status": "removed"}


def test_keys(run: Run, tmp_path: Path) -> None:
    where = ("--data", str(tmp_path), "--json")
    made = told(run("keys", "create", "--role", "partner", "--partner", "acme", *where))
    store = KeyStore.open(tmp_path / "keys.sqlite")
    known = store.authenticate(made["key"])
    store.close()
    assert known is not None
    assert (known.id, known.partner) == (made["id"], "acme")
    (listed,) = told(run("keys", "list", *where))
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert listed["created_at"].endswith("Z")
    assert told(run("keys", "revoke", made["id"], *where)) == {"id": made["id"], "revoked": True}
    assert told(run("keys", "list", *where))[0]["revoked_at"] is not None
