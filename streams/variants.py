"""The ways in which partners write our ids and words, read as ours.

Frameworks and languages have habits: .NET prints a UUID in braces or without hyphens, Java prints the name of an enum
in capitals, and many write `inProgress`. What they mean is plain, so it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from streams.events import AckStatus, Outcome, RefusalReason

E = TypeVar("E", bound=StrEnum)
#: Characters of a partner's own word that are kept, as `streams.events.Code` takes it.
_LONGEST_WORD = 200


def plain_id(text: str) -> str:
    """An id as we write it, if it is a UUID in one of its usual forms; the text as it is otherwise.

    >>> plain_id("{6F1C0A34-0000-5000-8000-000000000000}")
    '6f1c0a34-0000-5000-8000-000000000000'
    """
    try:
        return str(UUID(text.strip().strip("()")))
    except ValueError:
        return text


def our_word(words: type[E], given: str) -> E | None:
    """Which of our words this is, whatever its letter case and between its parts; None if it is none of them.

    >>> our_word(AckStatus, "InProgress")
    <AckStatus.IN_PROGRESS: 'in_progress'>
    """
    return _by_letters(words).get(_letters(given))


def in_our_words(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of an acknowledgement as we would write it. Its notice's id stands in `notice_id`, and there alone. An
    unknown `reason` becomes `other`, an unknown `outcome` becomes `unknown`, each with the partner's word in `code`;
    an unknown `status` stays, since it has no meaning at all. What is not text is left for the reader to refuse."""
    read = dict(item)
    identity = read.pop("id", None)
    if read.get("notice_id") is None and identity is not None:
        read["notice_id"] = identity
    if isinstance(read.get("notice_id"), str):
        read["notice_id"] = plain_id(read["notice_id"])
    if isinstance(status := read.get("status"), str):
        read["status"] = our_word(AckStatus, status) or status
    _known_or(read, "outcome", Outcome, Outcome.UNKNOWN)
    _known_or(read, "reason", RefusalReason, RefusalReason.OTHER)
    return read


def _known_or(read: dict[str, Any], name: str, words: type[E], unknown: E) -> None:
    given = read.get(name)
    if not isinstance(given, str):
        return
    read[name] = our_word(words, given) or unknown
    if read[name] is unknown and _letters(given) != _letters(unknown) and given.strip():
        beside = read.get("code")
        word = given.strip() if beside is None else f"{given.strip()} ({beside})"
        read["code"] = word[:_LONGEST_WORD]


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text)).casefold()


@cache
def _by_letters(words: type[E]) -> dict[str, E]:
    return {_letters(word): word for word in words}
