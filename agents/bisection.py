"""Which notice of a request is at fault, if one is: what to send next, as pure decisions.

A request was refused, or failed in the same way several times. The endpoint may be broken, or it may fail for one of
the notices. Only what it does with others tells:

- Until it takes something, one notice goes alone at a time: the first one of each subject, so that a subject's order
  holds. Nothing is anybody's fault yet.
- Once it takes one, those that failed alone before are tried once more, and the rest goes on by halves. What fails
  alone now is *parked*: the lane goes on without it, and it is issued again later.
- What fails while the endpoint takes others only counts as refused for good where they were of the same action.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from agents.judging import ALIKE, AttemptVerdict
from agents.parcels import Batch, Parcel
from streams.events import Failing
from streams.kinds import Action
from streams.written import WrittenNotice

#: Notices that may be parked in a row. Then the endpoint may have broken meanwhile, and must take something first.
PARKED_IN_A_ROW = 10


class Then(Enum):
    """What follows from an attempt that failed."""

    WAIT = auto()  #: the next attempt comes after the usual wait
    GO_ON = auto()  #: the next attempt comes at once
    PARK = auto()  #: the lane goes on without this notice, at once


@dataclass(slots=True)
class Suspect:
    """A notice that failed alone."""

    parcel: Parcel
    failures: int = 0
    refusals: int = 0
    first_refused_at: datetime | None = None
    #: Has the endpoint taken something since it failed last?
    to_confirm: bool = False
    #: Of the same action?
    others_taken: bool = False

    @property
    def notice(self) -> WrittenNotice:
        return self.parcel.notices[0]

    def failed(self, verdict: AttemptVerdict, now: datetime) -> None:
        self.failures += 1
        self.to_confirm = False
        if verdict is AttemptVerdict.REFUSED:
            self.refusals += 1
            self.first_refused_at = self.first_refused_at or now

    def failing(self) -> Failing:
        """What came of it, for whoever tries it later."""
        return Failing(
            lane=self.parcel.batch.lane,
            offset=self.parcel.first,
            failures=self.failures,
            refusals=self.refusals,
            first_refused_at=self.first_refused_at,
            others_taken=self.others_taken,
        )


@dataclass(slots=True)
class Bisection:
    """Takes apart what could not be delivered as a whole, of one batch. What stands behind it, in the batch and ahead
    in the lane, helps to tell."""

    batch: Batch
    #: In order, with the rest of the batch.
    segments: deque[Parcel]
    #: The number in the batch of the last notice of what could not be delivered.
    last: int
    suspects: dict[str, Suspect] = field(default_factory=dict)
    #: Has the endpoint taken anything since?
    proven: bool = False
    #: Subjects of which a notice was tried in this round.
    _tried: set[str] = field(default_factory=set)
    _taken: set[Action] = field(default_factory=set)
    _parked_in_a_row: int = 0

    @property
    def over(self) -> bool:
        """Is all settled that could not be delivered as a whole? The rest of the batch may go as usual then."""
        return not self.suspects and not (self.segments and self.segments[0].numbers[0] <= self.last)

    def left(self) -> Parcel:
        """What is not settled yet of the batch, with its rest. What lies ahead comes when it is its turn."""
        parcels = (*(each.parcel for each in self.suspects.values()), *self.segments)
        return Parcel(self.batch, sorted(number for each in parcels for number in each.numbers))

    def next(self, ahead: Iterable[Parcel] = ()) -> Parcel | None:
        """What to send next; None if all that could tell were tried: wait, and begin a new round. `ahead` are notices
        further on in the lane, each alone."""
        if self.proven:
            confirm = next((each.parcel for each in self.suspects.values() if each.to_confirm), None)
            if confirm is not None or self.segments:
                return confirm or self.segments[0]
        return self.untried([*(each.parcel for each in self.suspects.values()), *self._singles(), *ahead])

    def untried(self, singles: Iterable[Parcel]) -> Parcel | None:
        """The first of these whose subject was not tried in this round, and whose earlier notices are settled."""
        waiting = {each.notice.subject: each.notice.id for each in self.suspects.values()}
        for single in singles:
            (notice,) = single.notices
            if notice.subject not in self._tried and waiting.get(notice.subject, notice.id) == notice.id:
                return single
        return None

    def arrived(self, singles: Iterable[Parcel]) -> Parcel | None:
        """The first of these, which came into the lane just now, that could tell something, and whose subject has
        nothing before it."""
        before = {notice.subject for notice in self.left().notices}
        return self.untried(single for single in singles if single.notices[0].subject not in before)

    def begin_round(self) -> None:
        """All that could tell were tried in vain; they are tried again."""
        self._tried.clear()

    def took(self, parcel: Parcel) -> None:
        """The endpoint took this."""
        self.proven = True
        self._parked_in_a_row = 0
        self._remove(parcel)
        self._tried.clear()
        self._taken.update(map(Action, {notice.action for notice in parcel.notices}))
        for suspect in self.suspects.values():
            suspect.to_confirm = True
            suspect.others_taken = suspect.others_taken or Action(suspect.notice.action) in self._taken

    def failed(self, parcel: Parcel, verdict: AttemptVerdict, now: datetime) -> Then:
        """The endpoint did not take this, which may be the fault of one of its notices."""
        if parcel.count > 1:
            self.split(parcel, (parcel.count + 1) // 2)
            return Then.GO_ON
        (notice,) = parcel.notices
        if parcel.batch is not self.batch:
            self._tried.add(notice.subject)  # it is looked at again when it is its turn
            return Then.WAIT
        suspect = self.suspects.get(notice.id)
        confirmed = suspect is not None and suspect.to_confirm
        if suspect is None:
            self._remove(parcel)
            others = Action(notice.action) in self._taken
            suspect = self.suspects[notice.id] = Suspect(parcel, others_taken=others)
        suspect.failed(verdict, now)
        self._tried.add(notice.subject)
        if confirmed and verdict is AttemptVerdict.FAILED and suspect.failures < ALIKE:
            suspect.to_confirm = True  # an error may be a passing one, where a refusal is not
            return Then.WAIT
        if confirmed or (self.proven and verdict is AttemptVerdict.REFUSED):
            self._parked_in_a_row += 1
            if self._parked_in_a_row >= PARKED_IN_A_ROW:
                self._distrust()
            return Then.PARK
        then = Then.GO_ON if self.proven else Then.WAIT
        self.proven = False
        return then

    def split(self, parcel: Parcel, most: int) -> None:
        """The parcel, which was the next one, goes in several requests, at most so many notices each."""
        self.segments.popleft()
        self.segments.extendleft(reversed(parcel.split(most)))

    def remove(self, ids: Iterable[str]) -> None:
        """These are settled in another way."""
        gone = frozenset(ids)
        self.suspects = {identity: each for identity, each in self.suspects.items() if identity not in gone}
        kept = (segment.without(gone) for segment in self.segments)
        self.segments = deque(segment for segment in kept if segment.count)

    def _distrust(self) -> None:
        self.proven = False
        for suspect in self.suspects.values():
            suspect.to_confirm = False

    def _remove(self, parcel: Parcel) -> None:
        self.remove(notice.id for notice in parcel.notices)

    def _singles(self) -> Iterator[Parcel]:
        return (single for segment in self.segments for single in segment.each())


def bisection_of(parcel: Parcel, rest: Iterable[Parcel] = ()) -> Bisection:
    """Of what could not be delivered as a whole. `rest` is what follows it in the batch."""
    return Bisection(parcel.batch, deque([parcel, *rest]), parcel.numbers[-1])
