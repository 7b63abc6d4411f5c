"""What can go wrong with a toggle on its way out."""

from __future__ import annotations

from streams.errors import InvalidInput, RescindError


class InvalidToggle(InvalidInput, ValueError):
    """A rule of the service's is broken, and nothing was emitted. `field` names the argument."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field


class BufferFull(RescindError):
    """Too many toggles wait for an answer already; this one was not taken."""


class EmitterClosed(RescindError):
    """The emitter takes no more."""


class NotEmitted(RescindError):
    """There was no answer in time. Whether the toggle is in the log is not known: emit it again, with the
    same id."""


class Refused(NotEmitted):
    """The service answered, and took nothing of it. The text is the service's."""


class Trouble(Exception):
    """A carrier cannot carry now; what is not settled may be carried again, `after` so many seconds if
    somebody said so."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after
