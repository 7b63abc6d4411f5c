"""Every topic, declared once: partitions, cleanup, and what it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cleanup = Literal["delete", "compact"]

PREFIX = "rescind."


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic's settings. `partitions` is what it gets when it is created, on either engine."""

    name: str
    partitions: int
    cleanup: Cleanup = "delete"


#: How many partitions subjects are spread over. More allow more workers; a change needs new topics.
SUBJECT_PARTITIONS = 8
#: How many lanes there are, hence how many partners can be registered at once.
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
