"""Making a cluster's topics as they should be, with what `streams.kafka.topics` plans."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import InvalidPartitionsError, KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, for_code

from streams.errors import LogUnavailable
from streams.kafka.connecting import Cluster
from streams.kafka.topics import Found, Plan, planned
from streams.provisioning import Choices, TopicReport
from streams.topics import TopicSpec

#: Milliseconds until a cluster that does not answer counts as out of reach, and that one request may take.
_REACHING_MS = 6_000
_REQUEST_MS = 8_000
#: Seconds until every broker must have heard of what was done, and between two looks.
_SETTLING = 20.0
_LOOK = 0.1


@dataclass(slots=True)
class _Done:
    """What we did to a topic. It is a set in its order: a broker may be late to show it, and have us repeat it."""

    created: bool = False
    changes: dict[str, None] = field(default_factory=dict)


def provision(cluster: Cluster, specs: Sequence[TopicSpec], choices: Choices, *, change: bool) -> list[TopicReport]:
    """Make the topics as they should be, or only say what that would change. Any number of processes may do so
    at once. Raises `InvalidInput` and `LogUnavailable`."""
    with _administering(cluster) as admin:
        plans = _plans(admin, specs, choices)
        if not change:
            return [_report(plan, _Done(plan.found is None, dict.fromkeys(plan.changes))) for plan in plans]
        done = {plan.topic: _Done() for plan in plans}
        deadline = time.monotonic() + _SETTLING
        # Until the cluster itself shows that nothing is left to do: somebody else may be making the same topics,
        # and each broker hears of a change in its own time.
        while any(plan.due for plan in plans):
            if time.monotonic() > deadline:
                raise LogUnavailable("it does not show what it was told to do; run it again")
            for plan in plans:
                _carry_out(admin, plan, done[plan.topic])
            admin.wait_for_topics([plan.topic for plan in plans if plan.found is None])
            time.sleep(_LOOK)
            plans = _plans(admin, specs, choices)
        return [_report(plan, done[plan.topic]) for plan in plans]


@contextlib.contextmanager
def _administering(cluster: Cluster) -> Iterator[KafkaAdminClient]:
    try:
        with _reached(cluster) as admin:
            yield admin
    except (KafkaError, LogUnavailable) as error:
        raise LogUnavailable(f"Kafka at {cluster.named}: {error}") from None


def _reached(cluster: Cluster) -> KafkaAdminClient:
    common = cluster.clients()
    try:
        return KafkaAdminClient(**common, bootstrap_timeout_ms=_REACHING_MS, request_timeout_ms=_REQUEST_MS)
    except KafkaTimeoutError:
        # Whatever it was, kafka-python tries it again until then, and keeps it for itself.
        raise LogUnavailable(
            f"no answer within {_REACHING_MS / 1000:.0f} s by {common['security_protocol']}: is the address right, and "
            "are RESCIND_KAFKA_...? A refused login or certificate looks the same"
        ) from None


def _plans(admin: KafkaAdminClient, specs: Sequence[TopicSpec], choices: Choices) -> list[Plan]:
    # Also those that are down at the moment, if the cluster tells: their replicas will be back.
    brokers = len(admin.describe_cluster()["brokers"])
    return planned(specs, _found(admin, [spec.name for spec in specs]), choices, brokers)


def _found(admin: KafkaAdminClient, names: list[str]) -> dict[str, Found]:
    described = {topic["name"]: topic for topic in admin.describe_topics(names) if topic["partitions"]}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in described]
    told = admin.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
    found = {}
    for name, topic in described.items():
        if told.get(name):
            replicas = min(len(partition["replica_nodes"]) for partition in topic["partitions"])
            found[name] = Found(len(topic["partitions"]), replicas, _own(told[name]))
        elif "DESCRIBE_CONFIGS" not in topic["authorized_operations"]:
            raise LogUnavailable(f"we may not read the configs of {name} (operation DescribeConfigs)")
        # Else the broker that was asked for them has not heard of the topic yet.
    return found


def _own(configs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: told["value"] for name, told in configs.items() if told["config_source"] == "DYNAMIC_TOPIC_CONFIG"}


def _carry_out(admin: KafkaAdminClient, plan: Plan, done: _Done) -> None:
    if plan.found is None:
        wanted = {"num_partitions": plan.partitions, "replication_factor": plan.replicas, "configs": plan.configs}
        (made,) = admin.create_topics({plan.topic: wanted}, raise_errors=False)["topics"]
        done.created |= _succeeded(plan, made["error_code"], made["error_message"], TopicAlreadyExistsError)
        return
    if plan.grows:
        (grown,) = admin.create_partitions({plan.topic: plan.partitions}, raise_errors=False).results
        if _succeeded(plan, grown.error_code, grown.error_message, InvalidPartitionsError):
            done.changes |= dict.fromkeys(plan.growth)
    if plan.configs:
        resource = ConfigResource(ConfigResourceType.TOPIC, plan.topic, dict(plan.configs))
        # Only these: what else the topic says for itself is the operator's.
        answer = admin.alter_configs([resource], raise_on_unknown=False, incremental=True)["topic"][plan.topic]
        if answer != "OK":
            raise LogUnavailable(f"{plan.topic}: {answer}")
        done.changes |= dict.fromkeys(plan.alterations)


def _succeeded(plan: Plan, code: int, message: str | None, overtaken: type[KafkaError]) -> bool:
    """Whether it was us. False if somebody else has done so before us, with whatever result: look again."""
    kind = for_code(code)
    if code and kind is not overtaken:
        raise LogUnavailable(f"{plan.topic}: {message or kind.__name__}")
    return not code


def _report(plan: Plan, done: _Done) -> TopicReport:
    return TopicReport(plan.topic, plan.partitions, plan.replicas, done.created, tuple(done.changes), plan.left)
