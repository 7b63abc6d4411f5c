"""Users who change their minds in quick succession, and what must come of that, by the simplest program that says it.
Shares nothing with the service: no import of ours."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.receivers import About, Word

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PURPOSES = ("ai-training", "sharing")
#: Of so many subjects one is a blog, and one a site, which some receiver treats otherwise.
KINDS = ("user", "user", "user", "user", "user", "blog", "user", "site")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one toggle says."""

    about: About
    version: int
    out: bool
    retroactive: bool


@dataclass
class Users:
    """The same seed gives the same toggles in the same order."""

    seed: int
    #: By the toggle's id.
    chosen: dict[str, Chosen] = field(default_factory=dict)
    _newest: dict[About, Chosen] = field(default_factory=dict)

    def posts(self) -> Iterator[list[dict[str, Any]]]:
        """One request of a platform after the other, without an end."""
        chance = random.Random(self.seed)
        waiting: list[tuple[int, int, dict[str, Any]]] = []
        number = itertools.count()
        for tick in itertools.count():
            for toggles in (self._burst(chance, tick) for _ in range(2)):
                slots = list(itertools.accumulate((chance.randint(0, 2) for _ in toggles), initial=tick))[:-1]
                if chance.random() < 0.3:
                    chance.shuffle(slots)  # versions out of order
                for slot, toggle in zip(slots, toggles, strict=True):
                    heapq.heappush(waiting, (slot, next(number), toggle))
            post = []
            while waiting and waiting[0][0] <= tick:
                post.append(heapq.heappop(waiting)[2])
            if post:
                yield post

    def _burst(self, chance: random.Random, tick: int) -> list[dict[str, Any]]:
        """One to four choices of a user's, most of them another one than the last."""
        number = chance.randrange(10 + tick // 2)
        about = (f"{KINDS[number % len(KINDS)]}:{number}", chance.choice(PURPOSES))
        return [self._choose(about, number, chance.random() < 0.9) for _ in range(chance.randint(1, 4))]

    def _choose(self, about: About, number: int, otherwise: bool) -> dict[str, Any]:
        last = self._newest.get(about)
        out = True if last is None else last.out is not otherwise
        # Whoever wants nothing deleted wants that each time: then each change is exactly one notice.
        made = Chosen(about, 1 if last is None else last.version + 1, out, retroactive=number % 4 != 0)
        identity = f"{about[0]}/{about[1]}/v{made.version}"
        self._newest[about] = self.chosen[identity] = made
        return {
            "id": identity,
            "subject": about[0],
            "purpose": about[1],
            "choice": "opt_out" if out else "opt_in",
            "occurred_at": (NOON + timedelta(seconds=made.version)).isoformat(),
            "version": made.version,
            "retroactive": made.retroactive,
        }

    def of(self, toggles: Iterable[str]) -> dict[About, Chosen]:
        """What counts after these, in whatever order: the highest version."""
        newest: dict[About, Chosen] = {}
        for chosen in (self.chosen[each] for each in toggles):
            known = newest.get(chosen.about)
            if known is None or chosen.version > known.version:
                newest[chosen.about] = chosen
        return newest

    def words(self, toggles: Iterable[str]) -> set[tuple[str, str]]:
        """What every partner is to be asked, by toggle and action, if toggles were accepted in this order."""
        newest: dict[About, Chosen] = {}
        asked = set()
        for each in toggles:
            chosen = self.chosen[each]
            known = newest.get(chosen.about)
            if known is not None and chosen.version <= known.version:
                continue
            newest[chosen.about] = chosen
            if chosen.out is not (known is not None and known.out):
                asked.add((each, "resume" if not chosen.out else "erase" if chosen.retroactive else "stop"))
        return asked

    def misranked(self, words: Iterable[Word]) -> list[Word]:
        """Those whose rank says otherwise than their version which of two about the same is newer."""
        above: dict[About, str] = {}
        wrong = []
        for word in sorted(words, key=lambda word: self.chosen[word.toggle].version):
            if word.rank is None or word.rank <= above.get(word.about, ""):
                wrong.append(word)
            above[word.about] = max(word.rank or "", above.get(word.about, ""))
        return wrong

    def turned_around(self, words: Iterable[Word]) -> list[Word]:
        """Those that came for the first time after a newer one about the same; `words` are in the order of coming."""
        newest: dict[About, int] = {}
        late = []
        for word in words:
            version = self.chosen[word.toggle].version
            if version < newest.get(word.about, 0):
                late.append(word)
            newest[word.about] = max(version, newest.get(word.about, 0))
        return late
