"""How far a lane has come: the offset that is committed, and what is settled already behind it.

A lane settles some notices before those that stand before them: what it leaves out, what it parks, and one that it
tries out of turn. The note of its commit says which, so that nobody who holds the lane later sends them, or sends them
again. Confluent's parallel consumer keeps its progress in the same place:
https://github.com/confluentinc/parallel-consumer (offset map, in the metadata of commits).
"""

from __future__ import annotations

from collections.abc import Collection

from agents.parcels import Place
from streams.records import MOST_OF_NOTE, Commit


class LaneProgress:
    """Of one lane, as far as its holder knows."""

    def __init__(self, commit: Commit | None) -> None:
        #: What is settled from the commit on.
        self.settled: set[Place] = set() if commit is None else places_of(commit)

    def settle(self, places: Collection[Place]) -> None:
        self.settled.update(places)

    def commit(self, offset: int) -> Commit:
        """What to commit where all below `offset` is settled."""
        self.settled = {place for place in self.settled if place[0] >= offset}
        return Commit(offset, note_of(offset, self.settled))


def note_of(offset: int, places: Collection[Place]) -> str:
    """What is settled from `offset` on, as text: for each message its distance from the one before, and which of its
    notices, as bits in hexadecimal from the first on. A message with a single notice needs no bits. A batch has room;
    what would make a note too long for Kafka is left unsaid, the last of it, and comes again after a crash.

    >>> note_of(100, [(100, 0), (103, 1), (103, 2)])
    '0,3:6'
    """
    messages: dict[int, int] = {}
    for at, number in places:
        messages[at] = messages.get(at, 0) | 1 << number
    note, before = "", offset
    for at, bits in sorted(messages.items()):
        part = str(at - before) if bits == 1 else f"{at - before}:{bits:x}"
        longer = f"{note},{part}" if note else part
        if len(longer) > MOST_OF_NOTE:
            return note
        note, before = longer, at
    return note


def places_of(commit: Commit) -> set[Place]:
    """The inverse of `note_of`. Raises `ValueError` for a note that is none."""
    places, at = set(), commit.offset
    for part in commit.note.split(",") if commit.note else ():
        distance, _, written = part.partition(":")
        at += int(distance)
        bits = int(written, 16) if written else 1
        places |= {(at, number) for number in range(bits.bit_length()) if bits >> number & 1}
    return places
