"""What all lanes of a partner know together: whether it answers, how many requests are under way, how fast it may be
asked, and what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from agents.breaking import Breaker
from agents.limiting import Bucket
from streams.events import Partner
from streams.kinds import Action

#: Seconds between two lines in the log about replies of one partner that were not understood.
COMPLAINT_PAUSE = 60.0


@dataclass(slots=True)
class Complaints:
    """When the log is told of replies that were not understood: of the first at once, of those that follow it once a
    minute. A partner does not decide how much is logged."""

    _told_at: float | None = None
    _since: int = 0

    def due(self, now: float) -> int:
        """There is one more. How many to tell of now; 0 says nothing yet."""
        self._since += 1
        if self._told_at is not None and now - self._told_at < COMPLAINT_PAUSE:
            return 0
        count, self._told_at, self._since = self._since, now, 0
        return count


@dataclass(slots=True)
class PartnerChannel:
    """The way to one partner, of one process."""

    breaker: Breaker = field(default_factory=Breaker)
    #: By lane: lanes may be at different workers, so each has its share of the rate.
    buckets: dict[int, Bucket] = field(default_factory=dict)
    in_flight: int = 0
    complaints: Complaints = field(default_factory=Complaints)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    #: By lane, how many parked notices failed since anything was taken.
    retries_in_vain: dict[int, int] = field(default_factory=dict)
    #: When each lane last had a notice of each action taken, by the endpoint as it is now.
    _taken: dict[tuple[int, Action], datetime] = field(default_factory=dict)
    _endpoint: tuple[str, ...] = ()

    def move(self) -> None:
        """Wake the lanes that wait for news of the partner."""
        self.moved.set()
        self.moved = asyncio.Event()

    def took(self, partner: Partner, lane: int, actions: Iterable[Action], now: datetime) -> None:
        """The partner's endpoint took notices of these actions."""
        if self._endpoint != endpoint_of(partner):
            self._endpoint, self._taken = endpoint_of(partner), {}
        self.retries_in_vain.pop(lane, None)
        for action in actions:
            self._taken[lane, action] = now

    def took_since(self, partner: Partner, lane: int, action: Action, since: datetime) -> bool:
        """Has the partner's endpoint, as it is now, taken a notice of this action from this lane after that time?"""
        taken = self._taken.get((lane, action)) if self._endpoint == endpoint_of(partner) else None
        return taken is not None and taken > since

    def token_wait(self, partner: Partner, lane: int, now: float) -> float:
        """Seconds to wait for the lane's share of the partner's rate."""
        if partner.max_requests_per_second is None:
            return 0.0
        share = partner.max_requests_per_second / len(partner.lanes)
        bucket = self.buckets.get(lane)
        if bucket is None or bucket.rate != share:
            bucket = self.buckets[lane] = Bucket(share)
        return bucket.take(now)


def endpoint_of(partner: Partner) -> tuple[str, ...]:
    """What the evidence on an endpoint is good for: its URL and the secrets that sign."""
    return (partner.url, *(secret.sealed for secret in partner.secrets))
