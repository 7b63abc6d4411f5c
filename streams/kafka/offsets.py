"""What a group has committed, with its notes, and only once it is final.

aiokafka asks by a version of the request that answers while a transaction that commits is being decided, and takes an
answer without partitions, as a broker gives that still loads the group, for a group that has committed nothing. Cause:
`OffsetFetchRequest` and `AIOKafkaAdminClient.list_consumer_group_offsets`,
https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/admin/client.py
So here is version 7, which has `require_stable`: https://kafka.apache.org/protocol#The_Messages_OffsetFetch
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, KafkaTimeoutError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from streams.records import Commit, TopicPartition

#: Seconds for which what is not final is asked for again, and between two questions.
_PATIENCE, _ASK_AGAIN = 20.0, 0.05
#: COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, and UNSTABLE_OFFSET_COMMIT, which aiokafka
#: does not know: a transaction that commits an offset is not decided yet.
_LATER = frozenset({14, 15, 16, 88})


class _Response(Response):
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("committed_offset", Int64),
                        ("committed_leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _RequestStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("partition_indexes", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _Request(Request[_RequestStruct]):
    API_KEY = 9

    def __init__(self, group: str, tps: Iterable[TopicPartition]) -> None:
        self._group = group
        self._partitions: dict[str, list[int]] = {}
        for topic, partition in sorted(tps):
            self._partitions.setdefault(topic, []).append(partition)

    def build(self, request_struct_class: type[_RequestStruct]) -> _RequestStruct:
        topics: list[tuple[str, list[int], dict[int, bytes]]]
        topics = [(topic, partitions, {}) for topic, partitions in self._partitions.items()]
        return request_struct_class(self._group, topics, True, {})


async def committed(
    admin: AIOKafkaAdminClient, group: str, tps: Iterable[TopicPartition]
) -> dict[TopicPartition, Commit]:
    """The commits of those partitions that have one. Raises `KafkaError`."""
    request = _Request(group, tps)
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        response = await admin._send_request(request, await admin.find_coordinator(group))
        codes = {response.error_code, *(row[4] for _, row in _rows(response))} - {0}
        if not codes:
            return {tp: Commit(row[1], row[3] or "") for tp, row in _rows(response) if row[1] >= 0}
        if not codes <= _LATER:
            raise _error(min(codes - _LATER), group)
        if asyncio.get_running_loop().time() > deadline:
            raise KafkaTimeoutError(f"what {group} has committed is not final after {_PATIENCE:.0f} s")
        await asyncio.sleep(_ASK_AGAIN)


def _rows(response: Any) -> Iterator[tuple[TopicPartition, Any]]:
    for topic, rows, _ in response.topics:
        for row in rows:
            yield TopicPartition(topic, row[0]), row


def _error(code: int, group: str) -> KafkaError:
    found: KafkaError = for_code(code)(f"what {group} has committed cannot be read")
    return found
