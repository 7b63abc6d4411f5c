"""The embedded log: a durable, partitioned, ordered log in one SQLite file, as a Faust transport.

Faust finds `Transport` under the entry point `faust.transports` by the scheme `sqlite`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.embedded.transport import Transport

__all__ = ["Transport"]


def __getattr__(name: str) -> Any:
    # Late, so that reading or writing a log file does not need Faust.
    if name == "Transport":
        from streams.embedded.transport import Transport  # noqa: PLC0415

        return Transport
    raise AttributeError(name)
