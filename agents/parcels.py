"""What one request carries: some of what stands in a lane, under an id that follows from where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams import ids
from streams.written import WrittenNotice


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbours in a lane, for one partner: what is committed together. `offsets` says of each notice where it
    stands."""

    lane: int
    first: int
    last: int
    partner: str
    notices: tuple[WrittenNotice, ...]
    offsets: tuple[int, ...]

    def parcels(self, most: int) -> list[Parcel]:
        """All of it, at most so many notices a request."""
        ends = range(0, len(self.notices), most)
        return [Parcel(self, start, min(start + most, len(self.notices))) for start in ends]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Notices `start` to below `end` of a batch, but for those that are left out."""

    batch: Batch
    start: int
    end: int
    #: Ids of notices that the user has reversed since.
    left_out: frozenset[str] = frozenset()

    @property
    def notices(self) -> Sequence[WrittenNotice]:
        found = self.batch.notices[self.start : self.end]
        return found if not self.left_out else [notice for notice in found if notice.id not in self.left_out]

    @property
    def count(self) -> int:
        return len(self.notices) if self.left_out else self.end - self.start

    @property
    def first(self) -> int:
        """Where the first of them stands."""
        return self.batch.offsets[self.batch.notices.index(self.notices[0], self.start)]

    @property
    def webhook_id(self) -> str:
        """The same at every retry, also after a crash; another one for every other content."""
        batch = self.batch
        whole = batch.first == batch.last and self.count == len(batch.notices)
        part = "" if whole else f"{batch.last}:{self.start}-{self.end}"
        if self.left_out:
            part += ":" + ",".join(sorted(self.left_out))
        return ids.webhook_id(batch.lane, batch.first, part)

    def halves(self) -> tuple[Parcel, Parcel]:
        """Of a parcel with more than one notice."""
        middle = (self.start + self.end) // 2
        return replace(self, end=middle), replace(self, start=middle)

    def without(self, ids: frozenset[str]) -> Parcel:
        return replace(self, left_out=self.left_out | ids)
