"""How many requests a partner gets in a second: a token bucket, pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """`rate` requests a second, and at most that many at once (one, where the rate is below). Times are seconds
    of a clock that never goes back."""

    rate: float
    #: The moment at which the bucket would have been full.
    full_at: float = float("-inf")

    def take(self, now: float) -> float:
        """Take a token, and say how many seconds to wait for it. Whoever waits less than told borrows."""
        burst = max(1.0, self.rate)
        empty_until = max(self.full_at, now) + 1.0 / self.rate
        self.full_at = empty_until
        return max(0.0, empty_until - now - burst / self.rate)
