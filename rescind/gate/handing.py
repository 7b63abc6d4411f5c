"""Handing an export over: whom it discloses, then that it is whole, then what has to be taken back of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from rescind.client import patiently
from rescind.gate.deciding import Refused
from rescind.gate.service import Service
from streams import manifests
from streams.blocks import cut, encode_block
from streams.exports import Output

#: Seconds between two questions whether an export is settled.
_LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Closing:
    """What is said of an export when it is closed: nothing of it changes afterwards."""

    watermark: Mapping[str, Mapping[str, int]]
    blocks: int
    subjects: int
    rows_read: int
    rows_cleared: int
    dropped: Mapping[str, int]
    sha256: str
    bytes: int
    format: str

    def said(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Handed:
    """An export that is settled. `withdrawn` are subjects of it who chose otherwise while it was made: what went out
    of theirs must not be used, and their deletion is asked for already."""

    export: str
    manifest: dict[str, Any]
    withdrawn: list[str]


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds: for a service that is away, and for an export that is not settled yet."""

    away: float = 60.0
    settling: float = 600.0
    sleep: Callable[[float], None] = field(default=time.sleep)
    monotonic: Callable[[], float] = field(default=time.monotonic)


class Unsettled(Refused):
    """It is closed, and the service does not know yet what has to be taken back."""


def tell_subjects(service: Service, export: str, subjects: Iterable[str], patience: Patience) -> tuple[int, int]:
    """Tell whom an export discloses, in order. How many blocks that were, and how many subjects."""
    blocks = count = 0
    for some in cut(subjects):
        block = encode_block(some)
        _asked(patience, lambda number=blocks, block=block: service.put_block(export, number, block))  # type: ignore[misc]
        blocks, count = blocks + 1, count + len(some)
    return blocks, count


def close(service: Service, export: str, closing: Closing, patience: Patience) -> Handed:
    """Close an export, and wait until it is settled. May be repeated. Raises `Unsettled`, and `Refused` if what comes
    back is not about what was closed."""
    answer = _asked(patience, lambda: service.close_export(export, closing.said()))
    deadline = patience.monotonic() + patience.settling
    while answer.get("manifest") is None:
        if patience.monotonic() >= deadline:
            raise Unsettled("the export is closed, but not settled yet; go on later with --resume")
        patience.sleep(_LOOK_AGAIN)
        answer = _asked(patience, lambda: service.export(export))
    manifest = answer["manifest"]
    said = _checked(manifest, export, closing).withdrawn
    withdrawn = _asked(patience, lambda: service.withdrawals(export)) if said.count else []
    if manifests.withdrawn(withdrawn) != said:
        raise Refused("the withdrawals are not those that the manifest speaks of")
    return Handed(export, manifest, withdrawn)


def _checked(manifest: Any, export: str, closing: Closing) -> manifests.Manifest:
    try:
        found = manifests.Manifest.model_validate({name: manifest[name] for name in manifest if name != "signature"})
    except (ValidationError, TypeError):
        raise Refused("the service's manifest is none that is known here") from None
    output = Output(sha256=closing.sha256, bytes=closing.bytes, format=closing.format)
    if (found.export, found.output, found.subjects) != (export, output, closing.subjects):
        raise Refused("the service's manifest is about something else than what was exported")
    return found


def _asked(patience: Patience, ask: Callable[[], Any]) -> Any:
    return patiently(ask, patience.away, sleep=patience.sleep, monotonic=patience.monotonic)
