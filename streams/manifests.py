"""Manifests: what an export holds, signed, for whoever has the file and the public key, and nothing else of ours.

A manifest is JSON. Its canonical form has its names sorted and no white space (as `orjson` writes it; all its numbers
are whole), and the signature, Ed25519 (RFC 8032) in base64, is over the canonical form of all but `signature` itself.
So it may be indented, stored in a database and given out again: it still verifies.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.cloudevents import given
from streams.explaining import explain
from streams.exports import Count, Output, Regime, Rows, Watermark, Withdrawn
from streams.moments import Moment
from streams.names import Dataset, EventId, PartnerId, Purpose, Version
from streams.witness import PublicKey, Witness

__all__ = [
    "Digest",
    "Manifest",
    "Output",
    "Rows",
    "Withdrawn",
    "canonical",
    "listed",
    "signed",
    "verify",
    "withdrawn",
]


class Manifest(BaseModel):
    """All that is said of an export. What came from before the gate was there (`imported`) has no rows and no
    output: nobody saw it leave."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    manifest: Literal[1] = 1
    export: EventId
    dataset: Dataset
    version: Version
    partner: PartnerId
    purpose: Purpose
    regime: Regime
    watermark: Watermark
    opened_at: Moment
    closed_at: Moment
    settled_at: Moment
    subjects: Count
    rows: Rows | None = None
    output: Output | None = None
    imported: Literal[True] | None = None
    withdrawn: Withdrawn
    #: Whose signature it is; see `streams.witness`.
    key_id: Annotated[str, Field(max_length=64)]


class Digest(NamedTuple):
    """What somebody found of a file: SHA-256 in hexadecimal, and how many bytes it has."""

    sha256: str
    bytes: int


def signed(manifest: Manifest, witness: Witness) -> bytes:
    """The manifest with its signature, in canonical form. The same manifest and key give the same bytes."""
    # Not pydantic's own JSON: times are to look as everywhere else.
    body = orjson.loads(orjson.dumps(given(manifest), default=given, option=orjson.OPT_UTC_Z))
    return canonical(body | {"signature": base64.b64encode(witness.sign(canonical(body))).decode()})


def canonical(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def verify(manifest: Mapping[str, Any], keys: Sequence[PublicKey], found: Digest | None = None) -> list[str]:
    """What is wrong with a manifest, for people; nothing, if one of the keys signed it, and, with `found`, if it is
    about that file."""
    problems = _signature_problems(manifest, keys)
    try:
        said = Manifest.model_validate({name: value for name, value in manifest.items() if name != "signature"})
    except ValidationError as error:
        return [*problems, f"it is no manifest that is known here: {explain(error)}"]
    if said.rows is not None and said.rows.read != said.rows.cleared + sum(said.rows.dropped.values()):
        problems.append("its rows do not add up: read is not cleared and dropped together")
    if found is not None:
        problems += _output_problems(said.output, found)
    return problems


def listed(subjects: Iterable[str]) -> Iterable[bytes]:
    """A list of subjects as the service gives it out: a JSON string a line."""
    return (orjson.dumps(subject) + b"\n" for subject in subjects)


def withdrawn(subjects: Iterable[str]) -> Withdrawn:
    """What a manifest says of sorted subjects."""
    digest, count = hashlib.sha256(), 0
    for line in listed(subjects):
        digest.update(line)
        count += 1
    return Withdrawn(count=count, sha256=digest.hexdigest())


def _signature_problems(manifest: Mapping[str, Any], keys: Sequence[PublicKey]) -> list[str]:
    signature, key_id = manifest.get("signature"), manifest.get("key_id")
    if not isinstance(signature, str):
        return ["it is not signed"]
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        known = ", ".join(key.id for key in keys) or "none"
        return [f"it names the key {key_id!s:.64}, and not one that was given ({known})"]
    try:
        content = canonical({name: value for name, value in manifest.items() if name != "signature"})
        key.check(base64.b64decode(signature, validate=True), content)
    except (ValueError, TypeError, InvalidSignature):
        return ["its signature does not hold: it is not what was signed"]
    return []


def _output_problems(output: Output | None, found: Digest) -> list[str]:
    if output is None:
        return ["it speaks of no file"]
    if output.bytes != found.bytes:
        return [f"the file has {found.bytes} bytes, and {output.bytes} were exported"]
    if output.sha256 != found.sha256:
        return ["the file is not what was exported: its SHA-256 is another one"]
    return []
