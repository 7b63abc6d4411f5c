"""The decisions of `rescind.gate.deciding` for many rows at once.

A row costs a third of what it would alone, since what is done for all of them runs in C. Only if every row is as rows
mostly are, one subject a column, as text and well-formed, that way is taken; else each is judged by itself, so that
there is one place that says what is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from operator import and_
from typing import Any

from rescind.gate.deciding import Consents, Layout, Reason, is_subject, judge, spelt

#: Kinds of subjects that are looked for in many at once.
_KINDS = 16
#: A subject that is no longer has an id that is not too long, whatever its kind.
_SURELY_SHORT = 257


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a row that could not be read."""

    why: str


@dataclass(slots=True)
class Judged:
    """What became of some rows, by their place among them. `kept` is None where all may go out; `subjects` are those
    of the rows that do, maybe several times."""

    kept: list[bool] | None
    cleared: int
    subjects: Collection[str]
    dropped: Counter[Reason] = field(default_factory=Counter)
    malformed: list[tuple[int, str]] = field(default_factory=list)


class Judge:
    """Judges rows by one layout and the consents of one moment."""

    def __init__(self, layout: Layout, consents: Consents) -> None:
        self._layout = layout
        self._consents = consents
        self._forms = Forms()

    def judge(self, rows: Sequence[Any]) -> Judged:
        """Rows are mappings, or `Unreadable`."""
        try:
            columns = [[row[column.name] for row in rows] for column in self._layout.subjects]
            visibility = self._layout.visibility
            visibilities = None if visibility is None else [row[visibility] for row in rows]
        except (KeyError, TypeError):
            pass
        else:
            judged = self.columns(columns, visibilities)
            if judged is not None:
                return judged
        return self._each(rows)

    def columns(self, columns: Sequence[list[Any]], visibilities: list[Any] | None) -> Judged | None:
        """What becomes of rows by their columns that decide; None if not all of them are as rows mostly are."""
        try:
            texts = [_texts(of, column.prefix) for of, column in zip(columns, self._layout.subjects, strict=True)]
        except _Irregular:
            return None
        every = texts[0] if len(texts) == 1 else list(chain.from_iterable(texts))
        if not self._forms.are_subjects(every):
            return None
        dropped: Counter[Reason] = Counter()
        kept: list[bool] | None = None
        out = self._consents.out(every)
        if out:
            for column in texts:
                allowed = [text not in out for text in column]
                kept = allowed if kept is None else list(map(and_, kept, allowed))
            dropped[self._consents.refusal] = _false(kept)
        if visibilities is not None:
            seen = self._seen(visibilities)
            if not all(seen):
                kept = seen if kept is None else list(map(and_, kept, seen))
                dropped[Reason.VISIBILITY] = _false(kept) - dropped.total()
        count = len(texts[0])
        if kept is None:
            return Judged(None, count, every)
        left: Collection[str] = list(chain.from_iterable(compress(column, kept) for column in texts))
        return Judged(kept, count - dropped.total(), left, dropped)

    def _seen(self, visibilities: list[Any]) -> list[bool]:
        texts = visibilities if set(map(type, visibilities)) == {str} else map(spelt, visibilities)
        return list(map(self._layout.allowed.__contains__, texts))

    def _each(self, rows: Sequence[Any]) -> Judged:
        subjects = set[str]()
        judged = Judged([], 0, subjects)
        kept: list[bool] = []
        for place, row in enumerate(rows):
            if isinstance(row, Unreadable):
                reason, why = Reason.MALFORMED, row.why
            else:
                verdict = judge(row, self._layout, self._consents)
                if verdict.reason is None:
                    subjects |= verdict.subjects
                    kept.append(True)
                    continue
                reason, why = verdict.reason, verdict.why
            kept.append(False)
            judged.dropped[reason] += 1
            if reason is Reason.MALFORMED:
                judged.malformed.append((place, why))
        judged.cleared = sum(kept)
        judged.kept = None if all(kept) else kept
        return judged


class Forms:
    """Whether texts are subjects, many at once: written one after the other with spaces between them, nothing but
    these spaces may be white or control anything, and each must stand before a kind that is known."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def are_subjects(self, texts: Collection[str]) -> bool:
        if not texts:
            return True
        line = " " + " ".join(texts) + " "
        if (
            line.isprintable()
            and line.count(" ") == len(texts) + 1
            and ": " not in line
            and max(map(len, texts)) <= _SURELY_SHORT
            and sum(map(line.count, self._kinds)) == len(texts)
        ):
            return True
        return all(map(self._is_one, texts))

    def _is_one(self, text: str) -> bool:
        fine = is_subject(text)
        if fine and len(self._kinds) < _KINDS:
            self._kinds.add(f" {text.partition(':')[0]}:")
        return fine


class _Irregular(Exception):
    """Not all rows are as rows mostly are."""


def _texts(values: list[Any], prefix: str) -> list[str]:
    kinds = set(map(type, values))
    if prefix and kinds == {int}:
        values = list(map(str, values))
    elif kinds - {str}:
        raise _Irregular
    return list(map(prefix.__add__, values)) if prefix else values


def _false(flags: Sequence[bool] | None) -> int:
    return 0 if flags is None else len(flags) - sum(flags)


def unreadable(rows: Sequence[Any], bad: Mapping[int, str]) -> list[Any]:
    """The rows, but for those at some places."""
    return [Unreadable(bad[place]) if place in bad else row for place, row in enumerate(rows)]


def malformed(why: str) -> Judged:
    """What became of a row that is none."""
    return Judged([False], 0, set(), Counter({Reason.MALFORMED: 1}), [(0, why)])
