"""The rank of a user's choice: which of two choices about one subject and purpose is the newer.

The consent table judges by it, every notice carries it, and receivers keep the newest. So nothing that happens to the
order of messages on their way can turn a partner around.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints

from streams.kinds import Choice

_FORM = r"^[0-9]{20}/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z/[0-2]$"
#: Opaque to receivers, who compare ranks as plain strings (ASCII): the greater one is newer.
Rank = Annotated[str, StringConstraints(pattern=_FORM)]


def rank_of(version: int | None, occurred_at: datetime, choice: Choice, *, retroactive: bool) -> str:
    """The rank of a choice. `occurred_at` is in UTC.

    A counted choice is above an uncounted one, a higher version above a lower one, and a later time above an earlier
    one. At the same version and time an opt-out is above an opt-in, and one that reaches back is above one that does
    not: in doubt, what the user withdrew stays withdrawn.

    >>> rank_of(7, datetime(2026, 1, 31, 12, tzinfo=UTC), Choice.OPT_OUT, retroactive=True)
    '00000000000000000008/2026-01-31T12:00:00.000000Z/2'
    """
    counted = 0 if version is None else version + 1
    time = occurred_at.replace(tzinfo=None).isoformat(timespec="microseconds")
    strength = 0 if choice is Choice.OPT_IN else 2 if retroactive else 1
    return f"{counted:020d}/{time}Z/{strength}"
