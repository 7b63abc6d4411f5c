"""Which rows may go out: pure decisions, one row at a time. `rescind.gate.judging` makes the same ones for many."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streams.errors import InvalidInput, RescindError
from streams.forms import PURPOSE, SUBJECT

_is_subject = re.compile(SUBJECT).fullmatch
_is_purpose = re.compile(PURPOSE).fullmatch
_PREFIXED = re.compile(r"(.+)=([a-z][a-z0-9_-]{0,31}:[^\s=]*)", re.DOTALL)


class Refused(RescindError):
    """Nothing goes out, since something that is needed to decide is missing or does not add up."""


class Regime(StrEnum):
    """What silence means."""

    OPT_OUT = "opt-out"  #: whoever has not opted out is in
    OPT_IN = "opt-in"  #: whoever has not opted in is out


class Reason(StrEnum):
    """Why a row does not go out. The first that holds counts, in this order."""

    MALFORMED = "malformed"  #: it cannot be told whose it is
    OPTED_OUT = "opted_out"
    NOT_OPTED_IN = "not_opted_in"  #: the purpose needs a yes, and there is none
    VISIBILITY = "visibility"  #: it is not among what may be seen, or that is not known


class Malformed(Exception):
    """Why it cannot be told whose a row is. Never its content."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where a row names a subject, or a list of them. `prefix` goes before each, for columns with bare ids."""

    name: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Column:
        """`blog`, or `blog=blog:` for a column of bare ids."""
        prefixed = _PREFIXED.fullmatch(text)
        return cls(*prefixed.groups()) if prefixed else cls(text)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a row. With a `visibility` column only its `allowed` values pass."""

    subjects: tuple[Column, ...]
    visibility: str | None = None
    allowed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        names = self.names
        if not self.subjects or not all(names):
            raise InvalidInput("a gate needs at least one subject column, by name")
        try:
            "".join(names).encode()
        except UnicodeEncodeError:
            raise InvalidInput("the name of a column is not text") from None
        if len(set(names)) != len(names):
            raise InvalidInput("a column is named twice")
        if (self.visibility is None) == bool(self.allowed):
            raise InvalidInput("a visibility column and the values that it allows go together")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that decide."""
        own = tuple(column.name for column in self.subjects)
        return own if self.visibility is None else (*own, self.visibility)


@dataclass(frozen=True, slots=True)
class Consents:
    """Who is an exception to the regime, up to a place in the log: by topic and partition, the first offset that is
    not in it."""

    purpose: str
    regime: Regime
    watermark: Mapping[str, Mapping[str, int]]
    exceptions: frozenset[str] | set[str]

    def __post_init__(self) -> None:
        if not _is_purpose(self.purpose):
            raise InvalidInput(f"{self.purpose!r} is no purpose, which is a slug such as ai-training")

    @property
    def refusal(self) -> Reason:
        """Why those are dropped whom it does not let through."""
        return Reason.OPTED_OUT if self.regime is Regime.OPT_OUT else Reason.NOT_OPTED_IN

    def out(self, subjects: Collection[str]) -> Set[str]:
        """Those of the subjects who do not allow it."""
        if self.regime is Regime.OPT_OUT:
            return self.exceptions.intersection(subjects)
        return set(subjects).difference(self.exceptions)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is None for a row that may go out. `why` says more of a malformed one."""

    reason: Reason | None
    subjects: frozenset[str] = frozenset()
    why: str = ""


def judge(row: object, layout: Layout, consents: Consents) -> Verdict:
    """Whether a row may go out. Every subject of it must allow it."""
    try:
        subjects = subjects_of(row, layout)
    except Malformed as error:
        return Verdict(Reason.MALFORMED, why=str(error))
    if consents.out(subjects):
        return Verdict(consents.refusal, subjects)
    if layout.visibility is not None:
        assert isinstance(row, Mapping)  # noqa: S101 - it has subjects
        if spelt(row.get(layout.visibility)) not in layout.allowed:
            return Verdict(Reason.VISIBILITY, subjects)
    return Verdict(None, subjects)


def subjects_of(row: object, layout: Layout) -> frozenset[str]:
    """Whose a row is. Raises `Malformed`."""
    if not isinstance(row, Mapping):
        raise Malformed("it is no object")
    found: set[str] = set()
    for column in layout.subjects:
        value = row.get(column.name)
        if value is None or value in ("", []):
            raise Malformed(f"it has no {column.name}")
        for each in value if isinstance(value, list | tuple) else (value,):
            found.add(_subject(each, column))
    return frozenset(found)


def spelt(value: Any) -> str | None:
    """A visibility as it is spelt on the command line; None for what cannot be spelt there, so is never allowed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def is_subject(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return _is_subject(text) is not None


def _subject(value: Any, column: Column) -> str:
    # Bare ids are often numbers.
    if column.prefix and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Malformed(f"its {column.name} is neither text nor a list of texts")
    subject = column.prefix + value
    if not value or not is_subject(subject):
        raise Malformed(f"its {column.name} is not a subject, which is kind:id")
    return subject
