"""Topics on Kafka as they should be, and what to do about those that are not. Nothing is ever shrunk or deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streams.errors import InvalidInput
from streams.provisioning import Choices
from streams.topics import KEYED, MAX_RECORD_BYTES, NOTICES, TopicSpec

#: A copy on each of three brokers, where there are as many: one may be lost, and one be under repair.
_REPLICAS = 3
#: Kafka's longs.
_LONGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it. `replicas` are those of the partition with the fewest, and `configs` what the
    topic says for itself: the rest are the brokers' defaults, which may change any day."""

    partitions: int
    replicas: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a topic needs. Without `found` it is to be made; `configs` are those to set, `left` is what differs and
    stays so, and why."""

    topic: str
    found: Found | None
    partitions: int
    replicas: int
    configs: Mapping[str, str]
    left: tuple[str, ...] = ()

    @property
    def grows(self) -> bool:
        return self.found is not None and self.partitions > self.found.partitions

    @property
    def due(self) -> bool:
        """Something is to do."""
        return self.found is None or self.grows or bool(self.configs)

    @property
    def changes(self) -> tuple[str, ...]:
        """In words, for a topic that there is."""
        return () if self.found is None else self.growth + self.alterations

    @property
    def growth(self) -> tuple[str, ...]:
        return (f"partitions {self.found.partitions} -> {self.partitions}",) if self.found and self.grows else ()

    @property
    def alterations(self) -> tuple[str, ...]:
        before = self.found.configs if self.found else {}
        return tuple(f"{name} {before.get(name, '(not set)')} -> {value}" for name, value in self.configs.items())


def planned(specs: Iterable[TopicSpec], found: Mapping[str, Found], choices: Choices, brokers: int) -> list[Plan]:
    """A plan for each topic. Raises `InvalidInput` for choices that no cluster of so many brokers can follow."""
    replicas = choices.replication or min(_REPLICAS, brokers)
    if replicas > brokers:
        raise InvalidInput(f"a replication of {replicas} needs {replicas} brokers, and the cluster has {brokers}")
    if (choices.min_insync or 1) > replicas:
        raise InvalidInput(f"no record could ever be in {choices.min_insync} replicas, since there are {replicas}")
    return [_planned(spec, found.get(spec.name), choices, replicas) for spec in specs]


def _planned(spec: TopicSpec, found: Found | None, choices: Choices, replicas: int) -> Plan:
    if found is None:
        chosen = {NOTICES.name: choices.lanes} | dict.fromkeys(KEYED, choices.partitions)
        partitions = chosen.get(spec.name) or spec.partitions
        return Plan(spec.name, None, partitions, replicas, _configs(spec, choices, replicas))
    wanted = _partitions(spec, found.partitions, choices)
    grows = wanted > found.partitions and spec.name not in KEYED
    left = []
    if wanted != found.partitions and not grows:
        why = "Kafka never takes partitions away" if wanted < found.partitions else "keys would move to others"
        left.append(f"partitions {found.partitions}, not {wanted}: left alone, since {why}; that needs a new topic")
    # More copies than nobody asked for do no harm.
    if found.replicas < replicas or (choices.replication and found.replicas != replicas):
        left.append(
            f"replication factor {found.replicas}, not {replicas}: left alone, since all data would be copied; "
            "Kafka's own kafka-reassign-partitions does that"
        )
    configs = {
        name: value
        for name, value in _configs(spec, choices, found.replicas).items()
        if found.configs.get(name) != value
    }
    return Plan(spec.name, found, wanted if grows else found.partitions, found.replicas, configs, tuple(left))


def _partitions(spec: TopicSpec, has: int, choices: Choices) -> int:
    """How many an existing topic should have. Without a choice it may have more lanes than usual, and any number
    where keys decide: whoever made it chose then."""
    if spec.name in KEYED:
        return choices.partitions or has
    if spec.name == NOTICES.name:
        return choices.lanes or max(has, spec.partitions)
    return spec.partitions


def _configs(spec: TopicSpec, choices: Choices, replicas: int) -> dict[str, str]:
    """What the topic says for itself, whatever the brokers' defaults are. For instance they drop records after
    seven days (https://kafka.apache.org/documentation/#topicconfigs)."""
    # Kafka drops what is due, whoever has not read it: a lane would lose what waits for a partner that is down.
    # The log on one machine holds it back, so `retention` is not for notices here.
    retention = None if spec.name == NOTICES.name else spec.retention
    configs = {
        "cleanup.policy": spec.cleanup,
        "retention.ms": "-1" if retention is None else str(round(min(retention * 1000, _LONGEST))),
        "retention.bytes": str(-1 if spec.retention_bytes is None else spec.retention_bytes),
        # With acks=all a record then counts once two brokers have it, and any one of three may be lost. Never
        # more than there are copies: nothing could be written.
        "min.insync.replicas": str(min(choices.min_insync or (2 if replicas >= _REPLICAS else 1), replicas)),
        # A replica that lacks records must not lead: they were acknowledged.
        "unclean.leader.election.enable": "false",
        # A record's time is when it became durable, whatever the clock of its producer says.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }
    if spec.cleanup == "compact":
        configs["delete.retention.ms"] = str(round(spec.tombstone_retention * 1000))
    return configs
