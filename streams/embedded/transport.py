"""The embedded log as a Faust transport: what `aiokafka`'s driver is to Kafka.

One process owns every partition, so a rebalance happens once, at the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from faust.transport import base

from streams.embedded.consumer import Consumer
from streams.embedded.producer import Producer
from streams.embedded.store import LogStore

__all__ = ["Transport"]


class Transport(base.Transport):
    """`sqlite:///path/to/log.sqlite`."""

    Consumer: ClassVar[Any] = Consumer
    Producer: ClassVar[Any] = Producer
    default_port = 0
    driver_version = "embedded"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not `shared`: a transport is never told that it is over, and the log must close with the service.
        self.store = LogStore.borrowed(Path(self.url[0].path))
