"""A circuit breaker, half-open: pure, one for each partner.

A lane knows its own attempts; what all lanes of a partner know together stands here. After repeated failure one
attempt at a time goes to the partner, and its success opens the way for all at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.failures import THRESHOLD


@dataclass(slots=True)
class Breaker:
    """Times are seconds of a clock that never goes back."""

    failures: int = 0
    #: When the next attempt may begin; of no meaning while the breaker is closed.
    retry_at: float = 0.0
    probing: bool = False

    @property
    def open(self) -> bool:
        return self.failures >= THRESHOLD

    def wait(self, now: float) -> float | None:
        """Seconds until an attempt may begin; None while somebody else's is under way, whose end will tell."""
        if not self.open:
            return 0.0
        return None if self.probing else max(0.0, self.retry_at - now)

    def begin(self) -> None:
        """An attempt begins."""
        self.probing = self.open

    def failed(self, retry_at: float) -> None:
        """It failed, and the partner is not to be tried again before `retry_at`."""
        self.failures += 1
        self.retry_at = max(self.retry_at, retry_at) if self.open and not self.probing else retry_at
        self.probing = False

    def answered(self) -> None:
        """The partner is there."""
        self.failures, self.probing = 0, False

    def tried_now(self) -> None:
        """The partner has changed, or somebody wants it to be tried: the next attempt may begin at once."""
        self.retry_at = 0.0

    def abandoned(self) -> None:
        """The attempt was given up before it ended, and tells nothing."""
        self.probing = False
