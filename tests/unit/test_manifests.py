"""Manifests: they verify as they are given out, however they are written down, and for nothing else."""

from __future__ import annotations

import base64
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.errors import InvalidInput, StorageUnusable
from streams.exports import Output, Rows, Withdrawn
from streams.manifests import Digest, Manifest, canonical, listed, signed, verify, withdrawn
from streams.witness import PublicKey, Witness

OLD, NEW = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"\xfb", b"\xfc"))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHA = "0" * 64
FOUND = Digest(SHA, 100)


def manifest(witness: Witness, **changes: Any) -> Manifest:
    usual: dict[str, Any] = {
        "export": "e-1",
        "dataset": "posts/daily",
        "version": "2026-01-01",
        "partner": "acme",
        "purpose": "ai-training",
        "regime": "opt-out",
        "watermark": {"rescind.decisions": {"0": 17, "1": 4}},
        "opened_at": NOON,
        "closed_at": NOON,
        "settled_at": NOON,
        "subjects": 2,
        "rows": Rows(read=10, cleared=7, dropped={"opted-out": 3}),
        "output": Output(sha256=SHA, bytes=100, format="ndjson"),
        "withdrawn": withdrawn(["user:1"]),
        "key_id": witness.public[0].id,
    }
    return Manifest(**usual | changes)


def test_it_verifies_however_it_is_written_down() -> None:
    witness = Witness(OLD)
    given_out = signed(manifest(witness), witness)
    assert signed(manifest(witness), witness) == given_out
    for text in (given_out, json.dumps(json.loads(given_out), indent=2, sort_keys=False)):
        assert verify(json.loads(text), witness.public, FOUND) == []
    assert orjson.loads(given_out)["closed_at"] == "2026-01-01T12:00:00Z"
    assert canonical(orjson.loads(given_out)) == given_out


def test_the_old_key_still_checks_what_it_signed() -> None:
    before = orjson.loads(signed(manifest(Witness(OLD)), Witness(OLD)))
    after = Witness(f"{NEW},{OLD}")
    assert verify(before, after.public) == []
    assert "one that was given" in verify(before, Witness(NEW).public)[0]
    assert "(none)" in verify(before, ())[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": 3},
        {"partner": "other"},
        {"withdrawn": {"count": 0, "sha256": SHA}},
        {"watermark": {"rescind.decisions": {"0": 18, "1": 4}}},
        {"imported": True},
        {"rows": None},
        {"signature": ""},
        {"signature": "ä"},
        {"signature": base64.b64encode(bytes(64)).decode()},
        {"subjects": 2**70},
    ],
)
def test_what_was_changed_does_not(changes: dict[str, Any]) -> None:
    witness = Witness(OLD)
    good = json.loads(signed(manifest(witness), witness))
    assert any("does not hold" in problem for problem in verify(good | changes, witness.public))


@pytest.mark.parametrize("changes", [{"extra": 1}, {"subjects": -1}, {"closed_at": "noon"}, {"manifest": 2}])
def test_what_is_signed_but_not_known_is_said(changes: dict[str, Any]) -> None:
    witness = Witness(OLD)
    body = json.loads(signed(manifest(witness), witness)) | changes
    del body["signature"]
    body["signature"] = base64.b64encode(witness.sign(canonical(body))).decode()
    (problem,) = verify(body, witness.public)
    assert problem.startswith("it is no manifest that is known here")


def test_what_is_not_signed() -> None:
    assert verify({}, Witness(OLD).public)[0] == "it is not signed"


@pytest.mark.parametrize(
    ("found", "said"), [(Digest(SHA, 99), "99 bytes, and 100"), (Digest("1" * 64, 100), "SHA-256"), (FOUND, None)]
)
def test_the_file_is_what_was_exported(found: Digest, said: str | None) -> None:
    witness = Witness(OLD)
    problems = verify(json.loads(signed(manifest(witness), witness)), witness.public, found)
    assert problems == [] if said is None else said in problems[0]


def test_rows_add_up_and_an_import_has_none() -> None:
    witness = Witness(OLD)
    wrong = manifest(witness, rows=Rows(read=11, cleared=7, dropped={"opted-out": 3}))
    assert "add up" in verify(json.loads(signed(wrong, witness)), witness.public)[0]
    imported = json.loads(signed(manifest(witness, rows=None, output=None, imported=True), witness))
    assert "rows" not in imported
    assert verify(imported, witness.public) == []
    assert verify(imported, witness.public, FOUND) == ["it speaks of no file"]


def test_the_list_of_what_was_withdrawn() -> None:
    assert b"".join(listed(["user:1", "user:é"])) == '"user:1"\n"user:é"\n'.encode()
    assert withdrawn([]) == Withdrawn(
        count=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert withdrawn(["user:1"]).count == 1


def test_a_public_key_is_read_and_named() -> None:
    key = Witness(OLD).public[0]
    assert PublicKey.of(f" {key.key}\n") == key
    assert len(key.id) == 16
    assert key.pem.startswith("-----BEGIN PUBLIC KEY-----")
    for wrong in ("", "ä", "AAAA", key.key[:-4]):
        with pytest.raises(InvalidInput, match="32 bytes"):
            PublicKey.of(wrong)


@pytest.mark.parametrize("keys", ["", ",", "short", "ä", f"{OLD},", f"{OLD};{NEW}"])
def test_what_is_no_key_is_said_and_not_quoted(keys: str) -> None:
    with pytest.raises(StorageUnusable, match="32 bytes in URL-safe base64") as refused:
        Witness(keys)
    assert OLD not in str(refused.value)


def test_a_key_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    made = Witness.from_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Witness.from_file(path).public == made.public
    path.write_text("no key")
    with pytest.raises(StorageUnusable, match="holds no signing key"):
        Witness.from_file(path)
    with pytest.raises(StorageUnusable, match="cannot use"):
        Witness.from_file(tmp_path / "away" / "signing.key")
