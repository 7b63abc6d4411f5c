"""Making a cluster as good as new, in far less time than a new one takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.errors import KafkaError

Answer = TypeVar("Answer")

#: Seconds after which what was deleted must be gone.
DELETING = 60.0


def wipe(admin: KafkaAdminClient) -> None:
    """Delete all topics and consumer groups, and return when nobody sees them any more.

    Members that were killed count as members until their session is over: they are put out first. One that
    still lives would join again, so end it before.
    """
    _until_none(lambda: _groups(admin), lambda groups: _delete_groups(admin, groups))
    if topics := _topics(admin):
        admin.delete_topics(topics)
    _until_none(lambda: _topics(admin), lambda _: None)


def _until_none(left: Callable[[], list[str]], remove: Callable[[list[str]], None]) -> None:
    deadline = time.monotonic() + DELETING
    while remaining := _ready(left, deadline):
        assert time.monotonic() < deadline, f"these do not go: {remaining}"
        _ready(partial(remove, remaining), deadline)


def _ready(ask: Callable[[], Answer], deadline: float) -> Answer:
    """A broker that has just started answers before it has loaded what it knows of groups."""
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _groups(admin: KafkaAdminClient) -> list[str]:
    return [group["group_id"] for group in admin.list_groups()]


def _delete_groups(admin: KafkaAdminClient, groups: list[str]) -> None:
    for group, described in admin.describe_groups(groups).items():
        members = [MemberToRemove(each["member_id"], each["group_instance_id"]) for each in described["members"]]
        admin.remove_group_members(group, members)
    admin.delete_groups(groups)


def _topics(admin: KafkaAdminClient) -> list[str]:
    return [topic["name"] for topic in admin.describe_topics() if not topic["is_internal"]]
