"""Who chose what, as of a known place in the log. Read through one connection, within one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

import orjson
from sqlite_utils import Database

from ledger.queries import offsets
from ledger.rows import listed
from ledger.veiling import Veil
from streams.kinds import Choice
from streams.records import TopicPartition
from streams.topics import DECISIONS

#: Subjects of a page.
_TOGETHER = 5_000

# The table is as long as there were ever choices, and most of it is wanted: an index would cost more than it gives.
_PAGE = """SELECT json_group_array(subject) FROM (
    SELECT subject FROM consents WHERE subject > ? AND purpose = ? AND choice = ? ORDER BY subject LIMIT ?)"""
_AMONG = """SELECT json_group_array(subject) FROM consents
    WHERE subject IN (SELECT value FROM json_each(?)) AND purpose = ? AND choice = ?"""


def watermark(database: Database) -> dict[TopicPartition, int]:
    """The offset up to which (exclusive) the decisions of each partition are in the consents."""
    return {tp: offset for tp, offset in offsets(database).items() if tp.topic == DECISIONS.name}


def pages(database: Database, purpose: str, choice: Choice) -> Iterator[list[str]]:
    """The subjects whose choice is this one, in order, some at a time."""
    after = ""
    while True:
        (found,) = database.execute(_PAGE, [after, purpose, choice, _TOGETHER]).fetchone()
        page: list[str] = orjson.loads(found)
        if page:
            yield page
        if len(page) < _TOGETHER:
            return
        after = page[-1]


def in_order(sealed: Iterable[list[str]], veil: Veil) -> Iterator[list[str]]:
    """The same in plain words, and in their order: that of what is sealed is another. They are sorted on disk, in a
    file that nobody else can open and that is gone with the connection."""
    with closing(sqlite3.connect("", isolation_level=None)) as scratch:
        scratch.execute("CREATE TABLE subjects (subject TEXT PRIMARY KEY) WITHOUT ROWID")
        scratch.execute("BEGIN")
        for page in sealed:
            scratch.executemany("INSERT INTO subjects VALUES (?)", [(veil.opened(subject),) for subject in page])
        found = scratch.execute("SELECT subject FROM subjects ORDER BY subject")
        while rows := found.fetchmany(_TOGETHER):
            yield [subject for (subject,) in rows]


def chosen(database: Database, purpose: str, choice: Choice, among: Collection[str]) -> frozenset[str]:
    """Those of some subjects whose choice is this one."""
    (found,) = database.execute(_AMONG, [listed(among), purpose, choice]).fetchone()
    return frozenset(orjson.loads(found))


_RANKS = """SELECT subject, rank FROM consents
    WHERE subject IN (SELECT value FROM json_each(?)) AND purpose = ? AND choice = 'opt_out' AND rank IS NOT NULL"""


def opt_out_ranks(database: Database, purpose: str, among: Collection[str]) -> dict[str, str]:
    """The rank of each opt-out that stands; see `streams.ranks`."""
    return dict(database.execute(_RANKS, [listed(among), purpose]).fetchall())


# An opt-out stands for the past too if deletion was requested since, of all partners.
_OWED = """SELECT json_group_array(subject) FROM consents AS now
    WHERE subject IN (SELECT value FROM json_each(:among)) AND purpose = :purpose AND choice = 'opt_out'
    AND EXISTS (SELECT 1 FROM decisions WHERE decisions.subject = now.subject AND decisions.purpose = :purpose
        AND kind = 'deletion_requested' AND accepted_at >= now.decided_at)
    AND NOT EXISTS (SELECT 1 FROM notices WHERE notices.subject = now.subject AND notices.purpose = :purpose
        AND partner = :partner AND action = 'erase' AND issued_at >= now.decided_at)"""


def owed(database: Database, partner: str, purpose: str, among: Collection[str]) -> frozenset[str]:
    """Those of some subjects who want the past gone too, and of whom the partner was not asked since they said so."""
    given = {"among": listed(among), "purpose": purpose, "partner": partner}
    (found,) = database.execute(_OWED, given).fetchone()
    return frozenset(orjson.loads(found))
