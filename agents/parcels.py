"""What one request carries: some of what stands in a lane, under an id that follows from where it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from streams import ids
from streams.written import WrittenNotice

#: Where a notice stands in its lane: an offset, and its number within the pack.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbours in a lane, for one partner: what is committed together. `offsets` says of each notice where it
    stands; all notices of these messages are here. Of `done`, by their numbers in the batch, nothing is to be sent: a
    former holder of the lane, or this one out of turn, has settled them already."""

    lane: int
    first: int
    last: int
    partner: str
    notices: tuple[WrittenNotice, ...]
    offsets: tuple[int, ...]
    done: frozenset[int] = frozenset()

    def parcels(self, most: int) -> list[Parcel]:
        """All that is to be sent, at most so many notices a request."""
        numbers = range(len(self.notices))
        left = [number for number in numbers if number not in self.done] if self.done else numbers
        return Parcel(self, left).split(most)

    def parcel_of(self, wanted: Collection[str]) -> Parcel:
        """Its notices of these ids."""
        return Parcel(self, [number for number, notice in enumerate(self.notices) if notice.id in wanted])

    def places(self) -> Iterator[Place]:
        """Where its notices stand, one after the other."""
        return places(self.offsets)


class Parcel:
    """Some notices of a batch, by their numbers in it, in order."""

    def __init__(self, batch: Batch, numbers: Sequence[int]) -> None:
        self.batch = batch
        self.numbers = numbers

    def __repr__(self) -> str:
        return f"Parcel({self.batch.lane}, {self.batch.offsets[self.numbers[0]]}, {list(self.numbers)})"

    @cached_property
    def notices(self) -> Sequence[WrittenNotice]:
        found = self.batch.notices
        return found if len(self.numbers) == len(found) else [found[number] for number in self.numbers]

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def first(self) -> int:
        """Where the first of them stands, and the last."""
        return self.batch.offsets[self.numbers[0]]

    @property
    def last(self) -> int:
        return self.batch.offsets[self.numbers[-1]]

    @cached_property
    def webhook_id(self) -> str:
        """The same at every retry, also after a crash; another one for every other content."""
        batch = self.batch
        if batch.first == batch.last and self.count == len(batch.notices):
            return ids.webhook_id(batch.lane, batch.first)
        what = ",".join(f"{batch.offsets[number]}:{batch.notices[number].id}" for number in self.numbers)
        return ids.webhook_id(batch.lane, self.first, what)

    @property
    def others(self) -> tuple[str, ...]:
        """The ids of what else stands at the offsets from its first to its last."""
        batch, first, last = self.batch, self.first, self.last
        if len(self.numbers) == len(batch.notices):
            return ()
        mine = {notice.id for notice in self.notices}
        return tuple(
            notice.id
            for notice, offset in zip(batch.notices, batch.offsets, strict=True)
            if first <= offset <= last and notice.id not in mine
        )

    def places(self) -> frozenset[Place]:
        """Where they stand."""
        every = list(self.batch.places())
        return frozenset(every[number] for number in self.numbers)

    def split(self, most: int) -> list[Parcel]:
        """The same in order, at most so many notices each."""
        return [Parcel(self.batch, self.numbers[start : start + most]) for start in range(0, self.count, most)]

    def each(self) -> Iterator[Parcel]:
        """Its notices, each alone."""
        return (Parcel(self.batch, (number,)) for number in self.numbers)

    def without(self, unwanted: Collection[str]) -> Parcel:
        """All but those of these ids."""
        notices = self.batch.notices
        return Parcel(self.batch, [number for number in self.numbers if notices[number].id not in unwanted])


def places(offsets: Sequence[int]) -> Iterator[Place]:
    """Where the notices of whole packs stand, one after the other."""
    number = 0
    for index, offset in enumerate(offsets):
        number = number + 1 if index and offsets[index - 1] == offset else 0
        yield offset, number
