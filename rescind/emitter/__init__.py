"""The platform's own emitter: toggles from Django, Celery and friends into Rescind's log.

    emitter = Emitter("kafka://kafka1:9092,kafka2:9092", platform="/blogs")
    emitter = HttpEmitter("https://rescind.example.com", key)  # where the platform does not reach Kafka

    future = emitter.emit("blog:staff.example.com", "ai-training", "opt_out", id=f"choice-{row.id}")
    future.result(30)  # durable; or it raises NotEmitted

Synchronous, thread-safe, and safe to fork: make it where the module is loaded, use it in every worker. Needs
neither Faust nor the service's dependencies: `Emitter` kafka-python, `HttpEmitter` nothing.

What is lost, and when
----------------------
`emit` puts a toggle into memory and returns. Until its future has a result the toggle is this process's alone:
a kill, a crash or a power cut loses it, and so does an exit that the log outlasts (`exit_timeout` seconds are
all it waits; a worker that ends by `os._exit`, as Celery's do, does not even wait: call `flush`). A future that
fails means that nobody knows. None of this matters where the toggle is written down first:

1. In the transaction that changes the user's choice, insert a row into a table `outbox`: the toggle's fields and
   an id. Choice and row are committed together or not at all.
2. After the commit, and again every minute for the rows that are left (a Celery beat task, a cron job), emit
   each row under the row's id and delete it once the future has its result.

    for row in Outbox.objects.order_by("pk")[:1000]:
        futures[row.pk] = emitter.emit(row.subject, row.purpose, row.choice, occurred_at=row.at, id=str(row.id))
    for pk, future in futures.items():
        future.result()
        Outbox.objects.filter(pk=pk).delete()

A row may be emitted twice, never not at all; the service knows a toggle again by its id, and a late one by its
`occurred_at` (or `version`, for platforms that count changes). Without an outbox, emit after the commit, never
inside the transaction, which may still roll back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from rescind.emitter.base import BaseEmitter, utcnow, uuid4
from rescind.emitter.errors import BufferFull, EmitterClosed, InvalidToggle, NotEmitted, Refused
from rescind.emitter.line import Emitted
from rescind.emitter.posting import Posting
from streams.errors import InvalidInput

__all__ = [
    "BaseEmitter",
    "BufferFull",
    "Emitted",
    "Emitter",
    "EmitterClosed",
    "HttpEmitter",
    "InvalidInput",
    "InvalidToggle",
    "NotEmitted",
    "Refused",
]

#: What a URI reference is made of (RFC 3986, section 2).
_PLATFORM = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{1,200}")


class Emitter(BaseEmitter):
    """Straight to Kafka, past the gateway.

    `servers` is `kafka://host:port,host:port`, or a list of `host:port`. `platform` is the platform's own name,
    the source of its events (a URI reference). What else the brokers want is given as kafka-python names it
    (`security_protocol`, `sasl_mechanism`, `sasl_plain_username`, `ssl_cafile`, `linger_ms`, ...).

    See `BaseEmitter` for the rest. Raises `InvalidInput`.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        platform: str,
        max_pending: int = 10_000,
        block_for: float = 0.0,
        timeout: float = 120.0,
        exit_timeout: float = 5.0,
        clock: Callable[[], datetime] = utcnow,
        new_id: Callable[[], str] = uuid4,
        **kafka: Any,
    ) -> None:
        from rescind.emitter.producing import Producing, checked_settings  # noqa: PLC0415 - needs kafka-python

        if _PLATFORM.fullmatch(platform) is None:
            raise InvalidInput(f"platform must be a URI reference, such as /blogs, not {platform!r}")
        settings = checked_settings(servers, kafka)
        super().__init__(
            lambda: Producing(settings, timeout, platform, clock),
            max_pending=max_pending,
            block_for=block_for,
            timeout=timeout,
            exit_timeout=exit_timeout,
            clock=clock,
            new_id=new_id,
        )


class HttpEmitter(BaseEmitter):
    """Through the gateway, up to 1,000 toggles a request. `url` is the service's root, `key` a platform's API key.

    What fails on the way (no connection, 5xx, 429) is tried again, by Retry-After where it is given, until
    `timeout`; one request may take `request_timeout` seconds. See `BaseEmitter` for the rest. Raises
    `InvalidInput`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        request_timeout: float = 10.0,
        max_pending: int = 10_000,
        block_for: float = 0.0,
        timeout: float = 120.0,
        exit_timeout: float = 5.0,
        clock: Callable[[], datetime] = utcnow,
        new_id: Callable[[], str] = uuid4,
    ) -> None:
        posting = partial(Posting, url, key, request_timeout)
        posting()  # what is wrong with these is told now, and not in some thread
        super().__init__(
            posting,
            max_pending=max_pending,
            block_for=block_for,
            timeout=timeout,
            exit_timeout=exit_timeout,
            clock=clock,
            new_id=new_id,
        )
