"""How long the ledger takes to answer when it holds many notices. Prints figures with their conditions; asserts
nothing, for no two machines are alike.

    python -m benchmarks.answers [--notices 1000000] [--partners 200] [--directory /tmp]

The notices are put into the file as the projection would have left them, over thirty days: one partner in twenty has
answered nothing for ten days, and the others have open what came in the last two. The file is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger import Entry, Ledger, NoticeStatus, Span, Wanted, Window
from ledger.times import micros
from streams.cloudevents import Envelope
from streams.events import Notice, NoticesIssued, PartnerRegistered, SealedSecret
from streams.kinds import Action
from streams.signing import Scheme

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SUBJECTS = 20_000
#: Rows that a transaction inserts.
_TOGETHER = 200_000

_COUNT = """INSERT INTO counts SELECT partner, action, status, COUNT(*) FROM notices GROUP BY 1, 2, 3"""
_DELIVERED = """INSERT INTO counts SELECT partner, action, 'ever_delivered', COUNT(delivered_at) FROM notices
    GROUP BY 1, 2"""
_ROLL_UP = """INSERT INTO lag_rollups SELECT partner, action, ?1, ?2, {at} / (3600000000 * ?2),
    {bucket}, {answer}, COUNT(*) FROM notices WHERE {at} IS NOT NULL GROUP BY 1, 2, 5, 6, 7"""
_MARGINS = """INSERT INTO risk_margins SELECT partner, action, MAX(receive_by - receive_risk_at),
    MAX(complete_by - complete_risk_at) FROM notices GROUP BY 1, 2"""
_BUCKET = "(SELECT bucket FROM lag_buckets WHERE upper >= {at} - issued_at ORDER BY upper LIMIT 1)"
_EVER = """INSERT INTO lag_ever SELECT partner, action, ?1,
    (SELECT MIN(upper) FROM lag_ends WHERE upper >= {at} - issued_at), COUNT(*) FROM notices
    WHERE {at} IS NOT NULL GROUP BY 1, 2, 4"""
# Deterministic, and different from notice to notice.
_INSERT = """INSERT INTO notices (id, partner, subject, purpose, action, cause_id, toggle_id, lane, offset, occurred_at,
    issued_at, receive_by, complete_by, receive_wake, complete_wake, delivered_at, received_at, completed_at,
    ack_status, outcome, reason)
WITH RECURSIVE numbers (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :last),
drawn AS (SELECT i, (i * 7919 + i / 31) % :partners AS p, :start + (:now - :start) / :all * i AS at,
    (i * 104729 + 17) % 1000 AS fate, (i * 15485863) % 3600000000 AS took FROM numbers),
fates AS (SELECT *, p % 20 = 0 AND at > :now - 864000000000 AS dead, at > :now - 172800000000 AS new FROM drawn)
SELECT printf('%08x-%04x-5000-8000-%012x', i * 2654435761 % 4294967296, i % 65536, i), printf('partner-%03d', p),
    printf('user:%d', i % :subjects), 'ai-training',
    CASE i % 10 WHEN 0 THEN 'resume' WHEN 1 THEN 'stop' ELSE 'erase' END,
    'c', 't', p, i, at, at, at + 86400000000, at + 432000000000,
    at + 69120000000, at + 216000000000,
    CASE WHEN NOT dead THEN at + took END,
    CASE WHEN NOT dead AND NOT new THEN at + took * 2 END,
    CASE WHEN NOT dead AND NOT new THEN at + took * (2 + i % 20) END,
    CASE WHEN NOT dead AND NOT new THEN CASE WHEN fate < 20 THEN 'refused' ELSE 'completed' END END,
    CASE WHEN NOT dead AND NOT new AND fate >= 20 THEN 'deleted' END,
    CASE WHEN NOT dead AND NOT new AND fate < 20 THEN 'legal_hold' END
FROM fates"""


def filled(path: Path, notices: int, partners: int) -> Ledger:
    ledger = Ledger.open(path)
    ledger.apply([_registered(number) for number in range(partners)])
    ledger.close()
    with sqlite3.connect(path, isolation_level=None) as connection:
        _fill(connection, notices, partners)
    connection.close()
    return Ledger.open(path)


def _fill(connection: sqlite3.Connection, notices: int, partners: int) -> None:
    # What triggers count is counted at the end, and indexes are faster made of all rows at once. A ledger that is
    # opened makes both again.
    kept = connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql <> ''")
    for what, name in kept.fetchall():
        connection.execute(f"DROP {what} {name}")
    connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;")
    start = micros(NOW - timedelta(days=30))
    for first in range(0, notices, _TOGETHER):
        given = {"first": first, "last": min(notices, first + _TOGETHER), "all": notices, "partners": partners}
        connection.execute(_INSERT, given | {"start": start, "now": micros(NOW), "subjects": SUBJECTS})
    connection.execute(_COUNT)
    connection.execute("INSERT INTO lag_changes SELECT partner, kind, SUM(n) FROM counts GROUP BY 1, 2")
    connection.execute(_DELIVERED)
    connection.execute(_MARGINS)
    for clock, at in (("receive", "delivered_at"), ("complete", "completed_at"), ("issue", "issued_at")):
        for hours in (1, 24):
            bucket = "0" if clock == "issue" else _BUCKET.format(at=at)
            answer = "answer" if clock == "complete" else "0"
            connection.execute(_ROLL_UP.format(at=at, bucket=bucket, answer=answer), (clock, hours))
        if clock != "issue":
            connection.execute(_EVER.format(at=at), (clock,))
    connection.execute("INSERT INTO delivery_health SELECT id, ?, NULL, NULL, NULL, 0 FROM partners", (micros(NOW),))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _registered(number: int) -> Entry:
    data = PartnerRegistered(
        id=f"partner-{number:03d}",
        name=f"Partner {number}",
        url="https://partner.example/",
        purposes=("ai-training",),
        lane=number,
        secrets=(SealedSecret(scheme=Scheme.V1, sealed="x"),),
        created_at=NOW,
        updated_at=NOW,
    )
    return Entry("rescind.partners", 0, number, NOW, Envelope(f"p{number}", NOW, data))


class Coming:
    """Notices that come in between two questions, through the projection: what was worked out of their partners and
    kinds is then worked out again. At ten million a month, 58 come in the 15 s between two looks of Prometheus."""

    def __init__(self, ledger: Ledger, partners: int) -> None:
        self._ledger = ledger
        self._partners = partners
        self._came = 0
        self._ends: Counter[int] = Counter()

    def __call__(self, count: int) -> None:
        self._ledger.apply([self._pack(self._came + number) for number in range(count)])
        self._came += count

    def _pack(self, number: int) -> Entry:
        partner = number * 7919 % self._partners
        action = list(Action)[min(2, number % 10)]
        notice = Notice(
            id=f"came-{number}", cause_id="c", toggle_id="t", action=action, subject="user:1", purpose="ai-training",
            occurred_at=NOW, issued_at=NOW, receive_by=NOW + timedelta(days=1), complete_by=NOW + timedelta(days=5),
        )  # fmt: skip
        pack = NoticesIssued(partner=f"partner-{partner:03d}", lane=partner, notices=(notice,))
        self._ends[partner] += 1
        return Entry("rescind.notices", partner, self._ends[partner] - 1, NOW, Envelope(f"i{number}", NOW, pack))


def questions(ledger: Ledger, partners: int) -> dict[str, Callable[[], Any]]:
    one, dead = f"partner-{partners // 2 + 1:03d}", "partner-000"
    every = tuple(Window)
    week = Span(one, NOW - timedelta(days=7), NOW)
    refused = frozenset({NoticeStatus.REFUSED})
    return {
        f"lag of all {partners} partners, by kind, over a day": lambda: ledger.overview(NOW, Window.DAY, (Window.DAY,)),
        f"lag of all {partners} partners, by kind, over a month": lambda: ledger.overview(
            NOW, Window.MONTH, (Window.MONTH,)
        ),
        "lag of one partner, by kind, over every window": lambda: ledger.lag(NOW, Window.DAY, every, one),
        "the same of one that answers nothing": lambda: ledger.lag(NOW, Window.DAY, every, dead),
        "totals": ledger.totals,
        f"metrics of all {partners} partners": lambda: ledger.metered([f"partner-{n:03d}" for n in range(partners)]),
        "timeline of a subject": lambda: ledger.timeline("user:4711"),
        "100 notices, of all": lambda: ledger.listed(Wanted(), NOW, None, 100),
        "100 notices of a subject": lambda: ledger.listed(Wanted(subject="user:4711"), NOW, None, 100),
        "100 overdue ones of a partner": lambda: ledger.listed(Wanted(partner=dead, overdue=True), NOW, None, 100),
        "100 refused ones of all": lambda: ledger.listed(Wanted(statuses=refused), NOW, None, 100),
        "a page that finds nothing": lambda: ledger.listed(Wanted(purpose="none"), NOW, None, 100),
        "100 of an hour, of all": lambda: ledger.listed(
            Wanted(start=NOW - timedelta(hours=300), end=NOW - timedelta(hours=299)), NOW, None, 100
        ),
        "1,000 rows of a report": lambda: ledger.report_page(week, NOW, None, 1000),
        "a week of a partner summed up": lambda: ledger.report_summary(week, NOW),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notices", type=int, default=1_000_000)
    parser.add_argument("--partners", type=int, default=200)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}")
    with tempfile.TemporaryDirectory(prefix="rescind-bench-", dir=given.directory) as directory:
        path = Path(directory) / "ledger.sqlite"
        began = time.perf_counter()
        ledger = filled(path, given.notices, given.partners)
        size = path.stat().st_size / 1e9
        print(f"{given.notices:,} notices, {size:.2f} GB, made in {time.perf_counter() - began:.0f} s")
        print(f"  {'milliseconds, of 15 times':<56}{'first':>9}{'median':>9}{'worst':>9}")
        for words, ask in questions(ledger, given.partners).items():
            _tell(words, [_timed(ask) for _ in range(15)])
        coming = Coming(ledger, given.partners)
        for count in (58, given.partners * 10):
            took = []
            for _ in range(15):
                coming(count)
                took.append(_timed(lambda: ledger.overview(NOW, Window.DAY, (Window.DAY,))))
            _tell(f"lag of all over a day, when {count:,} more came", took)
        ledger.close()


def _tell(words: str, took: list[float]) -> None:
    print(f"  {words:<56}{took[0]:>9.2f}{statistics.median(took):>9.2f}{max(took[1:]):>9.2f}")


def _timed(ask: Callable[[], Any]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
