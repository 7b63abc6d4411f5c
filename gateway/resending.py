"""Poisoned messages as they go into the log once more, and which of them must not."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from ledger import LedgerReader, Poisoned
from streams.cloudevents import STRUCTURED_HEADERS, decode
from streams.errors import Undecodable
from streams.events import ConsentChanged, Data, DeletionRequested, NoticesIssued
from streams.kinds import Action, Choice
from streams.records import Record
from streams.topics import ALL, COMPACTED

_TOPICS = frozenset(spec.name for spec in ALL)


class Unsendable(NamedTuple):
    """A message that stays where it is, and why."""

    id: str
    reason: str


def sorted_out(ledger: LedgerReader, letters: Sequence[Poisoned]) -> tuple[list[Record], list[Unsendable]]:
    """The records of what may be processed now, and the others. Blocks."""
    records, kept = [], []
    for letter in letters:
        record = _record(letter)
        reason = _reason_against(ledger, record)
        if reason is None:
            records.append(record)
        else:
            kept.append(Unsendable(letter.id, reason))
    return records, kept


def _reason_against(ledger: LedgerReader, record: Record) -> str | None:
    """Toggles and answers may come in any order. Where the last word counts, an old one must not become it."""
    if record.topic not in _TOPICS:
        return f"there is no topic {record.topic} any more"
    if record.topic in COMPACTED:
        return "a newer state may stand: change the partner instead"
    try:
        data = decode(record.value, record.headers).data
    except Undecodable:
        return None  # it will be poisoned again
    if ledger.reversed_since(choices_of(data)):
        return "the opposite was chosen since"
    return None


def choices_of(data: Data) -> Iterable[tuple[str, str, bool, datetime]]:
    """The choices that an event hands on: subject, purpose, opted out?, and when it was accepted."""
    if isinstance(data, ConsentChanged):
        return [(data.subject, data.purpose, data.choice is Choice.OPT_OUT, data.accepted_at)]
    if isinstance(data, DeletionRequested):
        return [(data.subject, data.purpose, True, data.accepted_at)]
    if isinstance(data, NoticesIssued):
        return [(each.subject, each.purpose, each.action is not Action.RESUME, each.issued_at) for each in data.notices]
    return []


def _record(letter: Poisoned) -> Record:
    headers = STRUCTURED_HEADERS
    if letter.headers is not None:
        headers = tuple((name, _raw(value) or b"") for name, value in letter.headers)
    return Record(letter.topic, _raw(letter.key_base64), _raw(letter.value_base64), letter.partition, headers)


def _raw(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
