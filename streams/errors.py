"""One exception tree. Whoever catches `RescindError` may show its text to a person."""

from __future__ import annotations


class RescindError(Exception):
    """Something that we can explain in one line."""


class InvalidInput(RescindError):
    """What was given breaks a rule that is stated in the message."""


class Undecodable(RescindError):
    """A message on the log that is no valid event of ours; it belongs into `rescind.poisoned`."""


class LogUnavailable(RescindError):
    """The log did not take the records; nothing of them may be reported as accepted."""


class Overtaken(RescindError):
    """What was to be done was read before its partition was assigned anew: whoever has it now reads it again, and
    does it. Nothing of it was done."""


class TopicsMissing(RescindError):
    """The log has no such topics, and nobody but an operator makes them."""


class LogInUse(RescindError):
    """Another service consumes from this log already."""


class LedgerBehind(RescindError):
    """The ledger has not caught up with the log within the time allowed; ask again later."""


class StorageUnusable(RescindError):
    """A data directory or file cannot be written."""


class NotStored(RescindError):
    """A table's file did not take or give what it should, as when the disk is full. Nothing of it was
    stored, and the same may work later."""
