"""Every topic, declared once: partitions, cleanup, retention, and what it carries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Cleanup = Literal["delete", "compact"]

PREFIX = "rescind."


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic's settings, on either engine. An existing topic gets more partitions if `partitions` is more
    than it has, never fewer.

    `retention` (seconds) and `retention_bytes` (of each partition) say from when on records of a topic with
    cleanup `delete` may go; None keeps them for ever. A topic with cleanup `compact` keeps the newest record
    of every key, and a tombstone `tombstone_retention` seconds beyond what it has wiped out.

    Nothing goes before every group that reads the topic has committed past it, whatever is said here.
    """

    name: str
    partitions: int
    cleanup: Cleanup = "delete"
    retention: float | None = None
    retention_bytes: int | None = None
    tombstone_retention: float = 86_400.0


# All is kept for ever unless an operator says otherwise: the ledger is rebuilt from the log, and what is not
# in the log any more is not in a new ledger either.


#: How many partitions subjects are spread over. More allow more workers; a change needs new topics, since
#: a key would move, and the consent table with it.
SUBJECT_PARTITIONS = 8
#: How many lanes there are, hence how many partners can be registered at once. It may grow.
LANES = 32

TOGGLES = TopicSpec("rescind.toggles", SUBJECT_PARTITIONS)
DECISIONS = TopicSpec("rescind.decisions", SUBJECT_PARTITIONS)
#: One partition: registrations are few, and their order is worth more than their speed.
PARTNERS = TopicSpec("rescind.partners", 1, "compact")
NOTICES = TopicSpec("rescind.notices", LANES)
DELIVERIES = TopicSpec("rescind.deliveries", SUBJECT_PARTITIONS)
ACKNOWLEDGEMENTS = TopicSpec("rescind.acknowledgements", SUBJECT_PARTITIONS)
UNDELIVERABLE = TopicSpec("rescind.undeliverable", 1)
POISONED = TopicSpec("rescind.poisoned", 1)

ALL = (
    TOGGLES,
    DECISIONS,
    PARTNERS,
    NOTICES,
    DELIVERIES,
    ACKNOWLEDGEMENTS,
    UNDELIVERABLE,
    POISONED,
)

#: Their offsets have gaps where a newer record of the same key made an older one superfluous.
COMPACTED = frozenset(spec.name for spec in ALL if spec.cleanup == "compact")


def kept_for(specs: Iterable[TopicSpec], seconds: float | None) -> tuple[TopicSpec, ...]:
    """The same topics with this retention, where records expire at all. Toggles do not: the consent table has
    no other source, and without it an old toggle that comes again would pass for news."""
    return tuple(
        replace(spec, retention=seconds) if spec.cleanup == "delete" and spec != TOGGLES else spec for spec in specs
    )
