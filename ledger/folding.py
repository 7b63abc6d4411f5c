"""What was settled long ago is folded out of the ledger's file into monthly archives, and back if it is touched again.

Folded are a notice's acknowledgements and marks, and the statements that no other acknowledgement refers to. The notice
itself stays, so that lists, lag, counters and reports answer from the ledger alone; it only tells where the rest is.
An archive is durable before the ledger forgets anything. What comes late for a folded notice is judged by what was said
of it before: that is brought back first, in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from ledger.archives import (
    ACKNOWLEDGEMENT,
    MARK,
    STATEMENT,
    TOGETHER,
    Archives,
    Kept,
    Last,
    Row,
    packed,
    packed_statement,
)
from ledger.rows import insert, listed, select
from ledger.times import moment
from ledger.transitions import Verdict
from ledger.views import Entry, NoticeStatus
from streams.deadlines import DeadlineReached
from streams.errors import StorageUnusable
from streams.events import Acknowledged, ReplyAcknowledged

#: Bytes of one step, more or less: so long does the projection wait.
MOST_BYTES = 4 * 1024 * 1024
#: The only ones that nothing but a late word brings further.
SETTLED = (NoticeStatus.COMPLETED, NoticeStatus.CANCELLED)

_CLOSED = "COALESCE(completed_at, cancelled_at, superseded_at, discarded_at, reversed_at)"
_SETTLED = "archived IS NULL AND status IN ('completed', 'cancelled')"
# With the verdicts of all that was said of each, whether it has marks, and about how many bytes all of it is.
_OLD = f"""SELECT json_group_array(json_array(id, status, closed_at, archived_block,
        json((SELECT json_group_array(DISTINCT COALESCE(verdict, '')) FROM acknowledgements WHERE notice_id = old.id)),
        EXISTS (SELECT 1 FROM extensions WHERE notice_id = old.id AND verdict IS NULL),
        EXISTS (SELECT 1 FROM deadline_marks WHERE notice_id = old.id),
        (SELECT COALESCE(SUM(300 + COALESCE(LENGTH(detail), 0) + COALESCE(LENGTH(evidence), 0)), 0)
            FROM acknowledgements WHERE notice_id = old.id),
        json((SELECT json_group_array(json_array(statements.id, LENGTH(body))) FROM acknowledgements AS said
            JOIN statements ON statements.id = said.statement WHERE notice_id = old.id))))
    FROM (SELECT id, status, {_CLOSED} AS closed_at, archived_block FROM notices INDEXED BY notices_settled
        WHERE {_SETTLED} AND {_CLOSED} < ? ORDER BY {_CLOSED} LIMIT ?) AS old"""
_OF_NOTICES = """SELECT json_group_array(json_array(notice_id, {columns})) FROM (SELECT * FROM {table}
    WHERE notice_id IN (SELECT value FROM json_each(?)) ORDER BY {order})"""
_ACKNOWLEDGEMENTS = _OF_NOTICES.format(
    columns=", ".join(ACKNOWLEDGEMENT), table="acknowledgements", order="notice_id, id"
)
_MARKS = _OF_NOTICES.format(columns=", ".join(MARK), table="deadline_marks", order="notice_id, deadline, step")
_STATEMENTS = f"""SELECT {", ".join(STATEMENT)} FROM statements WHERE id IN (SELECT value FROM json_each(?1))
    AND NOT EXISTS (SELECT 1 FROM acknowledgements AS said WHERE said.statement = statements.id
        AND said.notice_id NOT IN (SELECT value FROM json_each(?2)))
    ORDER BY at, id"""
_POINT = """UPDATE notices SET archived = said.month, archived_block = said.block
    FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS month,
        json_extract(value, '$[2]') AS block FROM json_each(?)) AS said
    WHERE notices.id = said.id"""
_FORGET = "DELETE FROM {} WHERE {} IN (SELECT value FROM json_each(?))"
_LAST = "SELECT last_block, last_statement FROM archives WHERE month = ?"
_SET_LAST = """INSERT INTO archives VALUES (?1, ?2, ?3, 0, 0) ON CONFLICT (month) DO UPDATE SET
    last_block = ?2, last_statement = ?3"""
_COUNT = "UPDATE archives SET notices = notices + ?, statements = statements + ? WHERE month = ?"
_WHERE = """SELECT json_group_array(json_array(id, archived, archived_block)) FROM notices
    WHERE id IN (SELECT value FROM json_each(?)) AND archived IS NOT NULL"""
_REOPENED = """SELECT json_group_array(id) FROM notices INDEXED BY notices_reopened
    WHERE archived > 0 AND status NOT IN ('completed', 'cancelled')"""
_STATEMENTS_WHERE = """SELECT json_group_array(json_array(id, month, number)) FROM archived_statements AS archived
    WHERE id IN (SELECT value FROM json_each(?))"""
_FOLDED_STATEMENTS = f"""{_STATEMENTS_WHERE}
    AND NOT EXISTS (SELECT 1 FROM statements WHERE statements.id = archived.id)"""
_KNOWN_STATEMENTS = "SELECT json_group_array(id) FROM archived_statements WHERE id IN (SELECT value FROM json_each(?))"
_SET_NAME = "INSERT INTO meta VALUES ('archives', ?)"
_NAME = "SELECT value FROM meta WHERE name = 'archives'"


class Old(NamedTuple):
    """A notice that may be folded. `verdicts` are those of all that was said of it, '' where there is none yet; `asked`
    is whether more time was asked for and that was not judged yet, `block` where it may stand in an archive since it
    was folded before, `marks` whether there are any. `size` is in bytes, and so are the sizes of the statements."""

    id: str
    status: NoticeStatus
    closed_at: int
    block: int | None
    verdicts: frozenset[str]
    asked: bool
    marks: bool
    size: int
    statements: Sequence[tuple[str, int]] = ()


class Step(NamedTuple):
    """How many notices were looked at, and how many of these were folded. None to look at: there are no more."""

    looked_at: int = 0
    folded: int = 0


@dataclass(slots=True)
class Prepared:
    """What archives hold already, and the ledger still has. `kept` are notices of which nothing is folded."""

    kept: list[str]
    #: Notice, month and block; statement, month and number, of those that were in no archive; and the last block and
    #: statement of each month.
    places: list[tuple[str, int, int]] = field(default_factory=list)
    statements: list[tuple[str, int, int]] = field(default_factory=list)
    lasts: list[tuple[int, int, int]] = field(default_factory=list)
    #: All statements that the ledger forgets.
    bodies: list[str] = field(default_factory=list)


class Folding:
    """Folds for a ledger's one writer, through its connection; `ledger` is its file."""

    def __init__(self, connection: sqlite3.Connection, ledger: Path) -> None:
        self._connection = connection
        self._ledger = ledger
        self._name = name_of(connection)

    def prepare(self, before: int, most: int) -> Prepared:
        """Take what was closed before a time in microseconds, at most so many notices, and make the archives durable.
        Outside of a transaction; nothing else may be written until the `Prepared` is. Raises `StorageUnusable`."""
        old = _bounded(_old(row) for row in select(self._connection, _OLD, before, most))
        chosen = {each.id: each for each in old if foldable(each)}
        prepared = Prepared([each.id for each in old if each.id not in chosen])
        if not old:
            return prepared
        answers = _by_notice(select(self._connection, _ACKNOWLEDGEMENTS, listed(chosen)))
        marks = _by_notice(select(self._connection, _MARKS, listed(chosen)))
        months: dict[int, list[Kept]] = defaultdict(list)
        with Archives(self._ledger, self._named()) as archives:
            for each in chosen.values():
                month, kept = month_of(each.closed_at), Kept(each.id, answers[each.id], marks[each.id])
                if each.block is not None and self._stands(archives, month, each.block, kept):
                    prepared.places.append((each.id, month, each.block))  # somebody only repeated himself
                else:
                    months[month].append(kept)
            statements = self._statements(prepared, chosen, answers)
            for month in sorted({*months, *statements}):
                self._append(archives, prepared, month, months.get(month, []), statements.get(month, []))
        return prepared

    def record(self, prepared: Prepared) -> Step:
        """Let the ledger point to what was made durable, and forget it. In a transaction."""
        execute = self._connection.execute
        looked_at = len(prepared.kept) + len(prepared.places)
        if looked_at == 0:
            return Step()
        execute(_POINT, (listed([*prepared.places, *((identity, 0, None) for identity in prepared.kept)]),))
        folded = listed(identity for identity, _, _ in prepared.places)
        execute(_FORGET.format("acknowledgements", "notice_id"), (folded,))
        execute(_FORGET.format("deadline_marks", "notice_id"), (folded,))
        insert(self._connection, "INSERT INTO archived_statements VALUES {}", prepared.statements)
        execute(_FORGET.format("statements", "id"), (listed(prepared.bodies),))
        self._connection.executemany(_SET_LAST, prepared.lasts)
        self._count(+1, (month for _, month, _ in prepared.places), prepared.bodies)
        return Step(looked_at, len(prepared.places))

    # -- late words

    def bring_back(self, entries: Iterable[Entry]) -> None:
        """Whatever these entries say something about. In a transaction. Raises `StorageUnusable`."""
        if self._name is None:
            return
        touched: set[str] = set()
        for entry in entries:
            data = None if entry.envelope is None else entry.envelope.data
            if isinstance(data, Acknowledged):
                touched.add(data.notice_id)
            elif isinstance(data, ReplyAcknowledged):
                touched.update(item.notice_id for item in data.items)
            elif isinstance(data, DeadlineReached):
                touched.update(data.notices)
        if touched:
            self._back(select(self._connection, _WHERE, listed(touched)))

    def bring_back_reopened(self) -> None:
        """What is not settled any more, as a notice that was left out and then delivered all the same."""
        if self._name is None:
            return
        reopened = select(self._connection, _REOPENED)
        if reopened:
            self._back(select(self._connection, _WHERE, listed(reopened)))

    def unknown(self, statements: Iterable[Row]) -> list[Row]:
        """Rows of statements without those that were folded: a repeated one counts as it came first."""
        rows = list(statements)
        if self._name is None or not rows:
            return rows
        known = set(select(self._connection, _KNOWN_STATEMENTS, listed(row[0] for row in rows)))
        return [row for row in rows if row[0] not in known]

    def _back(self, places: Sequence[Sequence[Any]]) -> None:
        assert self._name is not None  # noqa: S101 - who calls this has looked
        answers: list[Row] = []
        marks: list[Row] = []
        with Archives(self._ledger, self._name) as archives:
            for kept in kept_at(archives, [place for place in places if place[1]]):
                answers += [(kept.notice, *row) for row in kept.acknowledgements]
                marks += [(kept.notice, *row) for row in kept.marks]
            statements = self._statements_back(archives, answers)
        insert(self._connection, "INSERT INTO acknowledgements VALUES {}", answers)
        insert(self._connection, "INSERT INTO deadline_marks VALUES {}", marks)
        # Where it stood stays, for the case that there is nothing new to fold.
        self._connection.execute(_POINT, (listed((identity, None, block) for identity, _, block in places),))
        self._count(-1, (month for _, month, _ in places if month), statements)

    def _statements_back(self, archives: Archives, answers: Iterable[Row]) -> list[str]:
        """Those that some acknowledgements refer to, as far as they were folded. They stay in their archives."""
        place = ACKNOWLEDGEMENT.index("statement") + 1
        wanted = {row[place] for row in answers if row[place] is not None}
        folded = select(self._connection, _FOLDED_STATEMENTS, listed(wanted)) if wanted else []
        rows = [archives.statement(month, number) for _, month, number in folded]
        insert(self._connection, "INSERT INTO statements VALUES {}", rows)
        return [identity for identity, _, _ in folded]

    # -- inside

    def _named(self) -> str:
        """What the archives are called; durable before there is any, so that nobody's are left behind."""
        if self._name is None:
            self._connection.execute(_SET_NAME, (uuid4().hex[:12],))
            self._name = name_of(self._connection)
        assert self._name is not None  # noqa: S101 - it was just set
        return self._name

    def _statements(
        self, prepared: Prepared, chosen: Collection[str], answers: dict[str, list[Row]]
    ) -> dict[int, list[Row]]:
        """Those that nothing but what is folded now refers to; by month, as far as no archive has them."""
        place = ACKNOWLEDGEMENT.index("statement")
        referred = {row[place] for rows in answers.values() for row in rows if row[place] is not None}
        months: dict[int, list[Row]] = defaultdict(list)
        if referred:
            rows = self._connection.execute(_STATEMENTS, (listed(referred), listed(chosen))).fetchall()
            prepared.bodies = [row[0] for row in rows]
            known = {row[0] for row in select(self._connection, _STATEMENTS_WHERE, listed(prepared.bodies))}
            for row in rows:
                if row[0] not in known:
                    months[month_of(row[-1])].append(row)
        return months

    def _last(self, month: int) -> Last:
        return Last(*(self._connection.execute(_LAST, (month,)).fetchone() or ()))

    def _stands(self, archives: Archives, month: int, block: int, kept: Kept) -> bool:
        """Has an archive this very notice, and no less of it? It may have been closed in another month before."""
        return block <= self._last(month).block and archives.block(month, block).get(kept.notice) == kept

    def _append(
        self, archives: Archives, prepared: Prepared, month: int, notices: Sequence[Kept], statements: Sequence[Row]
    ) -> None:
        last = self._last(month)
        blocks = [notices[start : start + TOGETHER] for start in range(0, len(notices), TOGETHER)]
        archives.append(month, last, list(map(packed, blocks)), list(map(packed_statement, statements)))
        prepared.places += [
            (each.notice, month, number) for number, block in enumerate(blocks, last.block + 1) for each in block
        ]
        prepared.statements += [(row[0], month, number) for number, row in enumerate(statements, last.statement + 1)]
        prepared.lasts.append((month, last.block + len(blocks), last.statement + len(statements)))

    def _count(self, sign: int, months: Iterable[int], statements: Collection[str]) -> None:
        """How many notices and statements of each month the ledger has nowhere else now."""
        notices, bodies = Counter(months), Counter[int]()
        if statements:
            bodies.update(row[1] for row in select(self._connection, _STATEMENTS_WHERE, listed(statements)))
        changed = [(sign * notices[month], sign * bodies[month], month) for month in {*notices, *bodies}]
        self._connection.executemany(_COUNT, changed)


def foldable(old: Old) -> bool:
    """Is it settled, undisputed, and is there anything to fold? What was not judged yet, and what the partner itself
    contradicted, stays where everybody looks for it."""
    disputed = not old.verdicts.isdisjoint(("", Verdict.CONTRADICTION))
    return old.status in SETTLED and not disputed and not old.asked and bool(old.verdicts or old.marks)


def month_of(at: int) -> int:
    """A time's month in UTC: 202601 is January 2026."""
    time = moment(at)
    return time.year * 100 + time.month


def name_of(connection: sqlite3.Connection) -> str | None:
    """What the archives of this very file are called, if there are any."""
    row = connection.execute(_NAME).fetchone()
    return None if row is None else str(row[0])


def kept_at(archives: Archives, places: Iterable[Sequence[Any]]) -> Iterable[Kept]:
    """What is folded of notices, given where: id, month and block. Raises `StorageUnusable`."""
    blocks: dict[tuple[int, int], list[str]] = defaultdict(list)
    for identity, month, block in places:
        blocks[month, block].append(identity)
    for (month, number), wanted in blocks.items():
        block = archives.block(month, number)
        for identity in wanted:
            if identity not in block:
                raise StorageUnusable(archives.lacking(month, identity))
            yield block[identity]


def _bounded(notices: Iterable[Old]) -> list[Old]:
    """The first ones of some, as many as make up a step; at least one."""
    chosen: list[Old] = []
    statements: set[str] = set()
    size = 0
    for each in notices:
        # A statement may be about many notices, and counts once.
        size += each.size + sum(n for identity, n in each.statements if identity not in statements)
        statements.update(identity for identity, _ in each.statements)
        if chosen and size > MOST_BYTES:
            break
        chosen.append(each)
    return chosen


def _old(row: Sequence[Any]) -> Old:
    identity, status, closed_at, block, verdicts, asked, marks, *sizes = row
    return Old(identity, NoticeStatus(status), closed_at, block, frozenset(verdicts), bool(asked), bool(marks), *sizes)


def _by_notice(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row[1:])
    return found
