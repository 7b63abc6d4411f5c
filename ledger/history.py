"""How a partner's figures became what they are, from the roll-ups. Read through one connection.

What was open in the past is kept nowhere: it is what is open now, less what came since, more what was answered since.
What was cancelled meanwhile shows as if it had never been open.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlite_utils import Database

from ledger.lag import Percentiles, Window, percentiles
from ledger.rows import listed
from ledger.times import HOUR_MICROS, micros, moment
from streams.kinds import Action

#: A window of up to so long is shown hour by hour, a longer one day by day.
_HOURLY = Window.WEEK.span

_FLOWS = """SELECT p.value, c.value, (
        SELECT json_group_object(start, n) FROM (
            SELECT start, SUM(n) AS n FROM lag_rollups
            WHERE partner = p.value AND kind = k.value AND clock = c.value AND hours = :hours AND start >= :first
            GROUP BY start))
    FROM json_each(:partners) AS p CROSS JOIN json_each(:kinds) AS k CROSS JOIN json_each(:clocks) AS c"""
_HISTOGRAMS = """SELECT clock, start, json_group_object(bucket, n) FROM (
        SELECT clock, start, bucket, SUM(n) AS n FROM lag_rollups
        WHERE partner = :partner AND kind IN (SELECT value FROM json_each(:kinds))
        AND clock IN ('issue', 'receive', 'complete') AND hours = :hours AND start >= :first
        GROUP BY clock, start, bucket)
    GROUP BY clock, start"""


class Block(NamedTuple):
    """An hour or a day: how many notices came, how long those took that were delivered, and answered, in it, and how
    many were open at its end."""

    start: datetime
    end: datetime
    arrived: int
    receive: Percentiles
    complete: Percentiles
    open: int


def open_by_hour(
    database: Database, standing: Mapping[str, int], now: datetime, hours: int
) -> dict[str, tuple[int, ...]]:
    """What was open at the end of each of so many hours, the last of which is not over, by partner; `standing` is what
    is open now."""
    last = micros(now) // HOUR_MICROS
    given = {"partners": listed(standing), "kinds": listed(Action), "hours": 1, "first": last - hours + 1}
    given |= {"clocks": listed(("issue", "complete"))}
    change: dict[str, Counter[int]] = defaultdict(Counter)
    for partner, clock, found in database.execute(_FLOWS, given).fetchall():
        for start, count in orjson.loads(found).items():
            change[partner][int(start)] += count if clock == "issue" else -count
    return {
        partner: _backwards(count, [change[partner][hour] for hour in range(last - hours + 1, last + 1)])
        for partner, count in standing.items()
    }


def blocks(database: Database, partner: str, standing: int, now: datetime, window: Window) -> list[Block]:
    """The hours of a window, of a longer one than a week the days; the last of them is not over."""
    hours = 1 if window.span <= _HOURLY else 24
    size = hours * HOUR_MICROS
    first, last = micros(now - window.span) // size + 1, micros(now) // size
    given = {"partner": partner, "kinds": listed(Action), "hours": hours, "first": first}
    found: dict[tuple[str, int], dict[int, int]] = {
        (clock, start): {int(bucket): n for bucket, n in orjson.loads(histogram).items()}
        for clock, start, histogram in database.execute(_HISTOGRAMS, given).fetchall()
    }

    def many(clock: str, start: int) -> int:
        return sum(found.get((clock, start), {}).values())

    numbers = range(first, last + 1)
    opened = _backwards(standing, [many("issue", start) - many("complete", start) for start in numbers])
    return [
        Block(
            start=moment(start * size),
            end=moment((start + 1) * size),
            arrived=many("issue", start),
            receive=percentiles(found.get(("receive", start), {})),
            complete=percentiles(found.get(("complete", start), {})),
            open=count,
        )
        for start, count in zip(numbers, opened, strict=True)
    ]


def _backwards(last: int, changes: Iterable[Any]) -> tuple[int, ...]:
    """A course by where it ends, and by how much each block of it changed it."""
    values = [last]
    for change in reversed(list(changes)[1:]):
        values.append(max(0, values[-1] - change))
    return tuple(reversed(values))
