"""What an operator says about the topics of a log, and hears of them, where the log does not make them by itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen; None leaves it to `streams.topics` and to what the cluster has.

    `partitions` are those of each topic that is spread by key, `lanes` those of the notices. `replication` is
    how many brokers keep a copy of each, and `min_insync` how many must have a record before it counts.
    """

    partitions: int | None = None
    lanes: int | None = None
    replication: int | None = None
    min_insync: int | None = None


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic: as many partitions and replicas as it has, or would have. `created` and `changes` were done, or
    would be; `left` says what differs and stays so, and why."""

    topic: str
    partitions: int
    replicas: int
    created: bool
    changes: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def fine(self) -> bool:
        """Nothing was to do."""
        return not (self.created or self.changes or self.left)
