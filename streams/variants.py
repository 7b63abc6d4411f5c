"""The ways in which partners write our ids and words, read as ours.

Frameworks and languages have habits: .NET prints a UUID in braces or without hyphens and begins names with a capital,
Java prints the name of an enum in capitals, many write `inProgress`, and Go writes "" for what is not set. What they
mean is plain, so it is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, TypeVar
from uuid import UUID

from streams.events import AckStatus, Outcome, RefusalReason, Vocabulary

E = TypeVar("E", bound=StrEnum)
#: A notice's id, as we write it.
OUR_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Characters of a partner's own word that are kept, as `streams.events.Code` takes it.
CODE_CAP = 200
#: What the clocks of Go and of .NET show where no time was set.
_NO_TIME = "0001-01-01T00:00:00"
#: Characters of what may be an id or a word of ours in any form.
_LONGEST_FORM = 64
#: What an acknowledgement may say; blank text in these is as good as nothing.
_MAY_BE_BLANK = frozenset({"outcome", "reason", "detail", "expected_by", "vocabulary", "code"})
_FIELDS = frozenset({"notice_id", "status", "occurred_at", "evidence", "extend", "amends", *_MAY_BE_BLANK})


def plain_id(text: str) -> str:
    """An id as we write it, if it is a UUID in one of its usual forms; the text as it is otherwise.

    >>> plain_id("{6F1C0A34-0000-5000-8000-000000000000}")
    '6f1c0a34-0000-5000-8000-000000000000'
    """
    if len(text) > _LONGEST_FORM or OUR_ID.fullmatch(text):
        return text
    try:
        return str(UUID(text.strip().strip("()")))
    except ValueError:
        return text


def our_word(words: type[E], given: str) -> E | None:
    """Which of our words this is, whatever its letter case and between its parts; None if it is none of them.

    >>> our_word(AckStatus, "InProgress")
    <AckStatus.IN_PROGRESS: 'in_progress'>
    """
    return None if len(given) > _LONGEST_FORM else _our_word(words, given)


def our_field(name: str) -> str:
    """The name of a field as we write it, if it is one of an acknowledgement; as it is otherwise. `id` stays."""
    return name if name in _FIELDS or len(name) > _LONGEST_FORM else _field(name)


def as_written(field: str, item: Mapping[str, Any]) -> str | None:
    """How an item itself names a field of ours; None if it has none such. The name as we write it comes first."""
    return field if field in item else next((name for name in item if our_field(name) == field), None)


def is_unset(value: Any) -> bool:
    """Is it what a program writes for a field that was never set?"""
    return value is None or (isinstance(value, str) and value.startswith(_NO_TIME))


def in_our_words(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of an acknowledgement as we would write it. Its notice's id stands in `notice_id`, and there alone. An
    unknown `reason` becomes `other`, an unknown `outcome` becomes `unknown`, each with the partner's word in `code`;
    an unknown `status` stays, since it has no meaning at all. What is not text is left for the reader to refuse.

    >>> in_our_words({"Id": "6F1C0A34000050008000000000000000", "Status": "Completed", "Outcome": ""})["status"]
    <AckStatus.COMPLETED: 'completed'>
    """
    read: dict[str, Any] = {}
    for name, value in item.items():
        ours = name if name in _FIELDS else our_field(name)
        if ours != name and ours in item:
            ours = name  # what is written as we do counts
        blank = isinstance(value, str) and ours in _MAY_BE_BLANK and not value.strip()
        read[ours] = None if blank else value
    identity = read.pop("id", None)
    if identity is not None and not read.get("notice_id"):
        read["notice_id"] = identity
    if isinstance(read.get("notice_id"), str):
        read["notice_id"] = plain_id(read["notice_id"])
    if isinstance(status := read.get("status"), str):
        read["status"] = our_word(AckStatus, status) or status
    if isinstance(vocabulary := read.get("vocabulary"), str):
        read["vocabulary"] = our_word(Vocabulary, vocabulary) or vocabulary
    _known_or(read, "outcome", Outcome, Outcome.UNKNOWN)
    _known_or(read, "reason", RefusalReason, RefusalReason.OTHER)
    return read


def _known_or(read: dict[str, Any], name: str, words: type[E], unknown: E) -> None:
    given = read.get(name)
    if not isinstance(given, str):
        return
    read[name] = our_word(words, given) or unknown
    if read[name] is unknown and _bare(given[:_LONGEST_FORM]) != _bare(unknown):
        beside = read.get("code")
        said = given.strip()
        word = f"{said} ({beside})" if isinstance(beside, str | int) else said
        read["code"] = word[:CODE_CAP]


@lru_cache(maxsize=1024)
def _field(name: str) -> str:
    return _fields_by_bare().get(_bare(name), name)


@cache
def _fields_by_bare() -> dict[str, str]:
    return {_bare(field): field for field in ("id", *_FIELDS)}


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


@lru_cache(maxsize=1024)
def _our_word(words: type[E], given: str) -> E | None:
    bare = _bare(given)
    return next((word for word in words if bare == _bare(word)), None)
