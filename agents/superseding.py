"""Which notices of a lane are not worth delivering any more.

A user who opts in again takes back what was asked before; one who opts out again takes back the resume. What was
delivered stands, and is followed by the new word. What was not is *superseded*, and only the new word goes out. Within
a lane the order of notices is that of the user's choices, and a subject's notices all go by one lane, so it is enough
to look at what stands behind, as far as it has been read. But what was issued again may be an old word behind a new
one: only a notice of a higher rank is a later word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from agents.parcels import Parcel, Place
from streams.kinds import Action

#: Whom it is for, and what it is about.
_About = tuple[str, str, str]


class Asked(Protocol):
    """What is looked at of a notice."""

    @property
    def id(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def rank(self) -> str | None: ...


class _Word(NamedTuple):
    """The rank of what was said, empty for none, and where it stands."""

    rank: str
    place: Place


class Words:
    """What notices of a lane say, from those that are to be delivered next to the last that was read.

    Most lanes ask for one thing only, most of the time. While all say the same none reverses another, and packs are
    only kept: to enter each notice would take a quarter of the time that its delivery does.
    """

    def __init__(self) -> None:
        #: By what they are about, when it was last said to use it, and not to.
        self._last: dict[_About, dict[bool, _Word]] = {}
        #: Packs, with partner and offset, that are not entered yet; all of them say `_alike`.
        self._packs: deque[tuple[str, int, Sequence[Asked]]] = deque()
        self._alike: bool | None = None

    def __len__(self) -> int:
        return len(self._last) + len(self._packs)

    def add(self, partner: str, offset: int, notices: Sequence[Asked]) -> None:
        """A pack was read; after all that stand before it."""
        said = {notice.action == Action.RESUME for notice in notices}
        self._packs.append((partner, offset, notices))
        if not self._last and (self._alike is None or said == {self._alike}) and len(said) == 1:
            (self._alike,) = said
            return
        while self._packs:
            self._enter(*self._packs.popleft())
        self._alike = None

    def _enter(self, partner: str, offset: int, notices: Sequence[Asked]) -> None:
        for number, notice in enumerate(notices):
            said = self._last.setdefault((partner, notice.subject, notice.purpose), {})
            word = _Word(notice.rank or "", (offset, number))
            known = said.get(notice.action == Action.RESUME)
            if known is None or word.rank >= known.rank:
                said[notice.action == Action.RESUME] = word

    def reverse(self, partner: str, place: Place, notice: Asked) -> bool:
        """Does a later one ask for the opposite?"""
        said = self._last.get((partner, notice.subject, notice.purpose), {})
        other = said.get(notice.action != Action.RESUME)
        if other is None or other.place < place:
            return False
        return other.rank > (notice.rank or "")

    def reversed(self, parcel: Parcel, since: int) -> frozenset[str]:
        """The ids of those of a parcel that a later one reverses. What stands before `since` is left alone."""
        if not self._last:
            return frozenset()
        batch, every = parcel.batch, list(parcel.batch.places())
        return frozenset(
            batch.notices[number].id
            for number in parcel.numbers
            if every[number][0] >= since and self.reverse(batch.partner, every[number], batch.notices[number])
        )

    def forget(self, partner: str, until: int, notices: Iterable[Asked]) -> None:
        """These are done with, and all up to this offset."""
        while self._packs and self._packs[0][1] <= until:
            self._packs.popleft()
        if not self._packs:
            self._alike = None
        if not self._last:
            return
        for notice in notices:
            about = (partner, notice.subject, notice.purpose)
            if about in self._last and max(word.place for word in self._last[about].values())[0] <= until:
                del self._last[about]
