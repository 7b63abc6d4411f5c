"""What a first start makes, once, however many processes start at once: its own keys and the first API keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ledger import KeyStore, Role
from ledger.veiling import PLAIN, SECRET_BYTES, Sealed, Veil
from rescind.running.places import log_file, making
from streams.clock import Clock
from streams.errors import StorageUnusable
from streams.sealing import Sealer
from streams.settings import Settings
from streams.witness import Witness


def sealer_of(settings: Settings) -> Sealer:
    """Seals partners' secrets with the key that was given, or lies in the data directory.

    One is made where the log belongs to this machine. Where other hosts share it a key of our own would be one
    that they do not have: what we seal they could not open. Raises `StorageUnusable`.
    """
    if settings.sealing_key:
        return Sealer(settings.sealing_key)
    path = settings.sealing_path
    if path.exists():
        return Sealer.from_file(path)
    if log_file(settings) is None:
        raise StorageUnusable(
            "every worker and gateway of a log needs the same sealing key: set RESCIND_SEALING_KEY (make one, once, "
            f"with `openssl rand -base64 32 | tr +/ -_`), or copy another's secret.key to {path}"
        )
    with making(path):
        return Sealer.from_file(path)


def witness_of(settings: Settings) -> Witness:
    """Signs manifests with the key that was given, or lies in the data directory, where one is made if there is none:
    a ledger and its gateways share it there. Raises `StorageUnusable`."""
    if settings.signing_key:
        return Witness(settings.signing_key)
    with making(settings.signing_path):
        return Witness.from_file(settings.signing_path)


def veils_of(settings: Settings, *, make: bool = True) -> Sequence[Veil]:
    """How the ledger may say whom it is about; a new one does as the first says. Raises `StorageUnusable`, also where
    there is no key to seal with and none is to be made."""
    if settings.ledger_subjects == "plain":
        return (PLAIN,)
    if not (make or settings.sealing_key or settings.sealing_path.exists()):
        raise StorageUnusable(f"a sealed ledger needs the sealing key, and there is no {settings.sealing_path}")
    return tuple(Sealed(secret) for secret in sealer_of(settings).derived("ledger subjects", SECRET_BYTES))


@contextmanager
def api_keys(settings: Settings) -> Iterator[KeyStore]:
    """The keys of a data directory. Raises `StorageUnusable`."""
    with making(settings.keys_path):
        keys = KeyStore.open(settings.keys_path)
    try:
        yield keys
    finally:
        keys.close()


def first_keys(settings: Settings, keys: KeyStore, clock: Clock) -> tuple[str | None, str | None]:
    """An operator's and a platform's key, if there is none at all yet. Nobody can show them again."""
    with making(settings.keys_path):
        if keys.list():
            return None, None
        _, operator = keys.create(Role.OPERATOR, clock(), label="made at the first start")
        _, platform = keys.create(Role.PLATFORM, clock(), label="made at the first start")
        return operator, platform
