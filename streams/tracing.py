"""Traces: what an event says of the one that it belongs to, and the seam for whoever records spans.

The context of a trace travels as the extension attributes `traceparent` and `tracestate` (CloudEvents, Distributed
Tracing extension 1.0.2), in the form of W3C Trace Context (2021). What has not that form is dropped, and is no error:
so it is said there, section 4.3, and no opt-out may be lost over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

#: Versions to come may say more behind it; what we know of them is the same.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_MEMBER = re.compile(rf"[ \t]*(?:{_KEY}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e])?[ \t]*")
_MOST_MEMBERS, _LONGEST_STATE = 32, 512

Attributes = Mapping[str, str | int]
NOTHING: Attributes = {}


class Trace(NamedTuple):
    """Where something stands in a trace. `tracestate` is what others have added."""

    traceparent: str
    tracestate: str | None = None

    @property
    def text(self) -> str:
        """In one word, or two."""
        return self.traceparent if self.tracestate is None else f"{self.traceparent} {self.tracestate}"

    @property
    def sampled(self) -> bool:
        return bool(int(self.traceparent[-2:], 16) & 1)


def trace_of(traceparent: object, tracestate: object = None) -> Trace | None:
    """None for what is no trace; a bad `tracestate` alone is left out."""
    found = _PARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if found is None or (found[1] == "00" and found[3] is not None):
        return None
    return Trace(f"00-{found[2]}", tracestate if isinstance(tracestate, str) and _is_state(tracestate) else None)


def from_text(text: str) -> Trace | None:
    """Of what `Trace.text` says; None for anything else."""
    parent, _, state = text.partition(" ")
    return trace_of(parent, state or None)


def _is_state(text: str) -> bool:
    members = text.split(",")
    if not text.strip(" \t,") or len(text) > _LONGEST_STATE or len(members) > _MOST_MEMBERS:
        return False
    keys = [member.partition("=")[0].strip() for member in members if member.strip()]
    return len(set(keys)) == len(keys) and all(_MEMBER.fullmatch(member) for member in members)


class Span:
    """A piece of work that is under way; this one is recorded by nobody."""

    trace: Trace | None = None

    def answered(self, status: int | None, *, ok: bool) -> None:
        """What came back, by its HTTP status; None if nothing did."""

    def named(self, name: str, attributes: Attributes) -> None:
        """What it turned out to be."""


_UNSEEN = Span()


class Tracing:
    """Records no spans: what stands here while tracing is off. Attributes never hold a subject."""

    enabled = False

    def current(self) -> Trace | None:
        """Of the span that this task is in."""
        return None

    def child(
        self, name: str, parent: Trace | None, attributes: Attributes = NOTHING, links: Sequence[Trace] = ()
    ) -> Trace | None:
        """Record a step that took no time worth a measurement. None if its trace is not recorded, or there is
        none."""
        return None

    @contextmanager
    def serving(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """A request to us, which may carry on a trace of whoever sends it."""
        yield _UNSEEN

    @contextmanager
    def sending(self, name: str, links: Sequence[Trace], attributes: Attributes) -> Iterator[Span]:
        """A request of ours, the beginning of a trace of its own."""
        yield _UNSEEN


OFF = Tracing()


def attributes_of(trace: Trace | None) -> dict[str, Any]:
    """The extension attributes of an event."""
    if trace is None:
        return {}
    return {name: value for name, value in trace._asdict().items() if value is not None}
