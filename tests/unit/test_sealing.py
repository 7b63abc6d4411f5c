"""Secrets at rest, and the key that seals them."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from streams.errors import StorageUnusable
from streams.sealing import SealBroken, Sealer

# The same in every process: cases are named for them.
OLD, NEW = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"\xfb", b"\xfc"))


def test_what_is_sealed_is_opened_by_the_same_key_only() -> None:
    sealed = Sealer(OLD).seal("secret")
    assert "secret" not in sealed
    assert Sealer(OLD).open(sealed) == "secret"
    for other in (sealed[:-8], "", "secret", "ä"):
        with pytest.raises(SealBroken):
            Sealer(OLD).open(other)
    with pytest.raises(SealBroken, match="another key"):
        Sealer(NEW).open(sealed)


@pytest.mark.parametrize("keys", [f"{NEW},{OLD}", f" {NEW} , {OLD}\n"])
def test_of_several_keys_the_first_seals_and_every_one_opens(keys: str) -> None:
    sealer = Sealer(keys)
    assert sealer.open(Sealer(OLD).seal("from before")) == "from before"
    assert Sealer(NEW).open(sealer.seal("new")) == "new"


@pytest.mark.parametrize("keys", ["", ",", "short", "ä", f"{OLD},", f"{OLD},short", f"{OLD};{NEW}", f"{OLD} {NEW}"])
def test_what_is_no_key_is_said_and_not_quoted(keys: str) -> None:
    with pytest.raises(StorageUnusable, match="32 bytes in URL-safe base64") as refused:
        Sealer(keys)
    assert OLD not in str(refused.value)


def test_a_key_is_made_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    sealed = Sealer.from_file(path).seal("secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Sealer.from_file(path).open(sealed) == "secret"
    path.write_text(f"{NEW},{path.read_text()}")
    assert Sealer.from_file(path).open(sealed) == "secret"
