"""Every topic, declared once: partitions, cleanup, retention, and what it carries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Cleanup = Literal["delete", "compact"]

PREFIX = "rescind."
#: The largest record: a pack of 1,000 notices about subjects with long names, or evidence.
MAX_RECORD_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic's settings, on either engine. An existing topic gets more partitions if `partitions` is more
    than it has, never fewer.

    `retention` (seconds) and `retention_bytes` (of each partition) say from when on records of a topic with
    cleanup `delete` may go; None keeps them for ever. A topic with cleanup `compact` keeps the newest record
    of every key, and a tombstone `tombstone_retention` seconds beyond what it has wiped out.

    On the embedded log nothing goes before every group that reads the topic has committed past it, whatever is
    said here. Kafka drops what is due, whoever has not read it; see `streams.kafka.topics`.
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
#: Who did what by hand, and what of `rescind.poisoned` is done with.
ACTIONS = TopicSpec("rescind.actions", 1)
#: Deadlines that come near or pass, and who was told.
DEADLINES = TopicSpec("rescind.deadlines", SUBJECT_PARTITIONS)
#: Which subjects went to which partner, in which dataset.
DISCLOSURES = TopicSpec("rescind.disclosures", SUBJECT_PARTITIONS)

ALL = (
    TOGGLES,
    DECISIONS,
    PARTNERS,
    NOTICES,
    DELIVERIES,
    ACKNOWLEDGEMENTS,
    UNDELIVERABLE,
    POISONED,
    ACTIONS,
    DEADLINES,
    DISCLOSURES,
)

#: A record's key decides its partition, so with other partitions keys would move.
KEYED = frozenset(spec.name for spec in (TOGGLES, DECISIONS, DELIVERIES, ACKNOWLEDGEMENTS, DEADLINES, DISCLOSURES))

#: Their offsets have gaps where a newer record of the same key made an older one superfluous.
COMPACTED = frozenset(spec.name for spec in ALL if spec.cleanup == "compact")


#: What no retention shortens. The consent table has no other source than the toggles, and without it an old toggle that
#: comes again would pass for news. What was said of deadlines a ledger that is rebuilt would say again, to partners and
#: operators too. And who got whose posts must be known for as long as the partner may hold them.
FOR_EVER = (TOGGLES, DEADLINES, DISCLOSURES)


def kept_for(specs: Iterable[TopicSpec], seconds: float | None) -> tuple[TopicSpec, ...]:
    """The same topics with this retention, where records expire at all."""
    return tuple(
        replace(spec, retention=seconds) if spec.cleanup == "delete" and spec not in FOR_EVER else spec
        for spec in specs
    )
