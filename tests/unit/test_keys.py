"""API keys."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger import KeyStore, Role
from streams.errors import InvalidInput, StorageUnusable

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    store = KeyStore.open(tmp_path / "keys.sqlite")
    yield store
    store.close()


def test_a_key_is_recognised_and_not_stored(keys: KeyStore, tmp_path: Path) -> None:
    key, plain = keys.create(Role.PARTNER, NOON, partner="acme", label="for the cron job")
    assert keys.authenticate(plain) == key
    assert keys.list() == [key]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert plain.encode() not in stored
    _, _, _, secret = plain.split("_", 3)  # it may hold underscores itself
    assert secret.encode() not in stored
    assert stat.S_IMODE((tmp_path / "keys.sqlite").stat().st_mode) == 0o600


def test_unknown_keys_are_refused(keys: KeyStore) -> None:
    _, plain = keys.create(Role.OPERATOR, NOON)
    for wrong in ("", "x", plain[:-1], plain + "x", plain.replace("operator", "platform"), "rsk_operator_0_ä"):
        assert keys.authenticate(wrong) is None


def test_a_key_revoked_by_another_process_is_refused_at_once(keys: KeyStore, tmp_path: Path) -> None:
    key, plain = keys.create(Role.PLATFORM, NOON)
    other = KeyStore.open(tmp_path / "keys.sqlite")
    assert other.revoke(key.id, NOON)
    assert not other.revoke(key.id, NOON)
    other.close()
    assert keys.authenticate(plain) is None
    assert keys.list()[0].revoked_at == NOON


def test_only_partners_keys_name_a_partner(keys: KeyStore) -> None:
    with pytest.raises(InvalidInput):
        keys.create(Role.PARTNER, NOON)
    with pytest.raises(InvalidInput):
        keys.create(Role.OPERATOR, NOON, partner="acme")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(StorageUnusable):
        KeyStore.open(path)
