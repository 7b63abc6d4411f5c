"""What must come of a log of toggles, by the simplest program that says it. Shares no decision with the service."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Flip:
    """A toggle; the minute stands for its time."""

    id: str
    subject: str
    purpose: str
    out: bool
    erase: bool
    minute: int
    version: int | None

    @property
    def rank(self) -> tuple[int, int, int, str]:
        strength = 0 if not self.out else 2 if self.erase else 1
        return (-1 if self.version is None else self.version, self.minute, strength, self.id)

    @property
    def key(self) -> str:
        return f"{self.purpose} {self.subject}"

    @property
    def line(self) -> str:
        """How the state that it wins stands in the table."""
        word = "erase" if self.out and self.erase else "stop" if self.out else "allow"
        when = (NOON + timedelta(minutes=self.minute)).isoformat().replace("+00:00", "Z")
        return f"1 {word} {'-' if self.version is None else self.version} {when} {self.id}"


@dataclass
class Model:
    """The table, and for each subject what was decided, in order: (toggle id, kind)."""

    states: dict[str, Flip] = field(default_factory=dict)
    decided: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def take(self, flip: Flip) -> None:
        before = self.states.get(flip.key)
        if before is not None and flip.rank <= before.rank:
            return
        self.states[flip.key] = flip
        told = self.decided.setdefault(flip.subject, [])
        if before is None or before.out != flip.out:
            told.append((flip.id, "ConsentChanged"))
        if flip.out and flip.erase and not (before is not None and before.out and before.erase):
            told.append((flip.id, "DeletionRequested"))


def flips(number: int, subjects: int, chance: random.Random) -> list[Flip]:
    """Toggles out of order, with and without versions, some of them repeated."""
    made: list[Flip] = []
    for at in range(number):
        if made and chance.random() < 0.1:
            made.append(chance.choice(made))
        else:
            made.append(
                Flip(
                    f"evt-{at}",
                    f"user:{chance.randrange(subjects)}",
                    chance.choice(["ai", "ads"]),
                    out=chance.random() < 0.6,
                    erase=chance.random() < 0.6,
                    minute=max(0, at // 10 + chance.randrange(-20, 20)),
                    version=chance.choice([None, None, at // 100]),
                )
            )
    return made


def model_of(taken: Sequence[Flip]) -> Model:
    model = Model()
    for flip in taken:
        model.take(flip)
    return model
