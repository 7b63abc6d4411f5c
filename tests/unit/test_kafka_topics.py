"""What to do about the topics of a cluster, as tables of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from streams.errors import InvalidInput
from streams.kafka.topics import Found, Plan, planned
from streams.provisioning import Choices
from streams.topics import (
    ALL,
    DEADLINES,
    DISCLOSURES,
    KEYED,
    LANES,
    MAX_RECORD_BYTES,
    NOTICES,
    PARTNERS,
    POISONED,
    TOGGLES,
    kept_for,
)

DAY = 86_400.0
NOTHING_CHOSEN = Choices()


def plans(
    found: Mapping[str, Found] | None = None,
    choices: Choices = NOTHING_CHOSEN,
    *,
    brokers: int = 3,
    retention: float | None = None,
) -> dict[str, Plan]:
    return {plan.topic: plan for plan in planned(kept_for(ALL, retention), found or {}, choices, brokers)}


def made(choices: Choices = NOTHING_CHOSEN, **how: Any) -> dict[str, Found]:
    """A cluster on which all plans for an empty one were carried out."""
    return {
        name: Found(plan.partitions, plan.replicas, plan.configs) for name, plan in plans(None, choices, **how).items()
    }


def but(found: dict[str, Found], topic: str, **changes: Any) -> dict[str, Found]:
    return found | {topic: replace(found[topic], **changes)}


# An empty cluster


def test_every_topic_is_made() -> None:
    assert {name: plan.partitions for name, plan in plans().items()} == {spec.name: spec.partitions for spec in ALL}
    assert all(plan.due and plan.found is None and not (plan.changes or plan.left) for plan in plans().values())


def test_partitions_and_lanes_are_the_operators_choice() -> None:
    counts = {name: plan.partitions for name, plan in plans(choices=Choices(partitions=24, lanes=256)).items()}
    assert {name for name, count in counts.items() if count == 24} == KEYED
    assert {name for name, count in counts.items() if count == 256} == {NOTICES.name}
    assert {name for name, count in counts.items() if count == 1} == {spec.name for spec in ALL if spec.partitions == 1}


@pytest.mark.parametrize(
    ("brokers", "choices", "replicas", "min_insync"),
    [
        (1, Choices(), 1, "1"),
        (2, Choices(), 2, "1"),
        (3, Choices(), 3, "2"),
        (9, Choices(), 3, "2"),
        (9, Choices(replication=5), 5, "2"),
        (9, Choices(replication=5, min_insync=3), 5, "3"),
        (3, Choices(replication=1), 1, "1"),
        (3, Choices(min_insync=1), 3, "1"),
        (3, Choices(min_insync=3), 3, "3"),
    ],
)
def test_replicas(brokers: int, choices: Choices, replicas: int, min_insync: str) -> None:
    for plan in plans(choices=choices, brokers=brokers).values():
        assert (plan.replicas, plan.configs["min.insync.replicas"]) == (replicas, min_insync)


@pytest.mark.parametrize(
    ("brokers", "choices", "reason"),
    [
        (1, Choices(replication=2), "a replication of 2 needs 2 brokers, and the cluster has 1"),
        (1, Choices(min_insync=2), "no record could ever be in 2 replicas, since there are 1"),
        (3, Choices(replication=2, min_insync=3), "no record could ever be in 3 replicas, since there are 2"),
    ],
)
def test_what_no_cluster_could_do_is_refused(brokers: int, choices: Choices, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{reason}$"):
        plans(made(brokers=1), choices, brokers=brokers)


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (None, "-1"),
        (30 * DAY, "2592000000"),
        (0.5, "500"),
        (float("inf"), str(2**63 - 1)),
    ],
)
def test_what_may_expire_does_so_when_the_operator_says(retention: float | None, expected: str) -> None:
    kept = {name: plan.configs["retention.ms"] for name, plan in plans(retention=retention).items()}
    for_ever = {TOGGLES.name, NOTICES.name, PARTNERS.name, DEADLINES.name, DISCLOSURES.name}
    assert {name: kept[name] for name in for_ever} == dict.fromkeys(for_ever, "-1")
    assert {kept[name] for name in kept if name not in for_ever} == {expected}


def test_nothing_is_left_to_the_brokers_defaults() -> None:
    assert plans()[TOGGLES.name].configs == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }
    assert plans()[PARTNERS.name].configs == {
        **plans()[TOGGLES.name].configs,
        "cleanup.policy": "compact",
        "delete.retention.ms": "86400000",
    }


def test_retention_by_size_is_passed_on() -> None:
    (plan,) = planned([replace(POISONED, retention_bytes=10**9)], {}, NOTHING_CHOSEN, 1)
    assert plan.configs["retention.bytes"] == "1000000000"


# A cluster that has topics


@pytest.mark.parametrize(
    ("choices", "later"),
    [
        (Choices(), Choices()),
        # Whoever made them chose then, and need not repeat it.
        (Choices(partitions=24, lanes=256), Choices()),
        (Choices(partitions=1), Choices()),
        (Choices(partitions=24, lanes=7), Choices(partitions=24, lanes=7)),
        (Choices(replication=5), Choices()),
    ],
)
def test_what_is_as_it_should_be_needs_nothing(choices: Choices, later: Choices) -> None:
    found = made(choices, brokers=9)
    assert not any(plan.due or plan.left or plan.changes for plan in plans(found, later, brokers=9).values())


def test_what_the_topic_says_besides_is_the_operators() -> None:
    found = made()
    configs = dict(found[TOGGLES.name].configs) | {"segment.bytes": "1000000"}
    assert not plans(but(found, TOGGLES.name, configs=configs))[TOGGLES.name].due


def test_a_missing_topic_is_made() -> None:
    found = made()
    del found[POISONED.name]
    assert {name for name, plan in plans(found).items() if plan.due} == {POISONED.name}


def test_configs_are_put_right_and_only_those_that_differ() -> None:
    found = made(brokers=3)
    drifted = {**found[TOGGLES.name].configs, "retention.ms": "604800000"}
    del drifted["min.insync.replicas"]
    plan = plans(but(found, TOGGLES.name, configs=drifted))[TOGGLES.name]
    assert plan.configs == {"retention.ms": "-1", "min.insync.replicas": "2"}
    assert plan.changes == ("retention.ms 604800000 -> -1", "min.insync.replicas (not set) -> 2")
    assert (plan.due, plan.grows, plan.left) == (True, False, ())


@pytest.mark.parametrize(
    ("topic", "has", "choices", "gets", "left"),
    [
        (NOTICES, LANES, Choices(lanes=256), 256, None),
        # One that Kafka made by itself, for instance.
        (NOTICES, 1, Choices(), LANES, None),
        (NOTICES, LANES, Choices(lanes=31), LANES, f"partitions {LANES}, not 31: left alone, since Kafka never"),
        (TOGGLES, 8, Choices(partitions=24), 8, "partitions 8, not 24: left alone, since keys would move"),
        (TOGGLES, 8, Choices(partitions=4), 8, "partitions 8, not 4: left alone, since Kafka never"),
        (PARTNERS, 3, Choices(), 3, "partitions 3, not 1: left alone, since Kafka never"),
    ],
)
def test_partitions(topic: Any, has: int, choices: Choices, gets: int, left: str | None) -> None:
    plan = plans(but(made(), topic.name, partitions=has), choices)[topic.name]
    assert (plan.partitions, plan.grows, plan.due) == (gets, gets > has, gets > has)
    assert plan.changes == ((f"partitions {has} -> {gets}",) if gets > has else ())
    assert [words.startswith(left or "none") for words in plan.left] == ([True] if left else [])


@pytest.mark.parametrize(
    ("has", "choices", "told"),
    [
        (1, Choices(), "replication factor 1, not 3"),
        (2, Choices(replication=3), "replication factor 2, not 3"),
        (3, Choices(replication=2), "replication factor 3, not 2"),
        (5, Choices(), None),
        (5, Choices(replication=5), None),
    ],
)
def test_replication_is_only_looked_at(has: int, choices: Choices, told: str | None) -> None:
    found = made(Choices(replication=has), brokers=5)
    plan = plans(found, choices, brokers=5)[TOGGLES.name]
    assert (plan.due, plan.replicas) == (False, has)
    assert [words.partition(":")[0] for words in plan.left] == ([told] if told else [])
    assert all("kafka-reassign-partitions" in words for words in plan.left)


def test_a_topic_is_never_told_to_wait_for_more_replicas_than_it_has() -> None:
    found = made(Choices(replication=1), brokers=3)
    for plan in plans(found, Choices(replication=3, min_insync=3)).values():
        assert not plan.configs
        assert plan.left
