"""The state of a data directory in plain words: what was found, and from it what is wrong and what to do.

`examine` only reads, also beside a running service and in a damaged directory; `diagnose` is pure.
"""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

from ledger import inspection as ledger_inspection
from ledger.inspection import LedgerState, partner_states
from ledger.partner_state import Assessment, LagState
from rescind.running.places import LEDGER, ROLES, WORKER, lock_path
from streams.embedded import inspection
from streams.embedded.inspection import LogState, Waiting
from streams.embedded.opening import path_of
from streams.embedded.trouble import explain
from streams.errors import RescindError
from streams.inspecting import damage, reading
from streams.records import TopicPartition
from streams.sealing import Sealer
from streams.settings import Settings
from streams.topics import ALL, NOTICES

T = TypeVar("T")

#: The consumer group that delivers; its commits on a lane are a partner's progress.
COURIERS = "rescind"
LEDGER_GROUP = "rescind-ledger-"
#: Bytes of free space below which there is something to do, and below which nothing can be accepted.
LOW_SPACE, NO_SPACE = 512 * 1024**2, 4 * 1024**2
#: Seconds after which a lane that waits is worth a look.
HELD_LONG = 86_400.0


class Level(IntEnum):
    """How bad it is; also the exit code."""

    FINE = 0
    ATTENTION = 1
    UNUSABLE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of the data directory. `problem` says why it cannot be read or understood."""

    name: str
    path: Path
    size: int | None = None
    mode: int = 0
    damage: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def exists(self) -> bool:
        return self.size is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was looked at, at `now` (seconds since the epoch)."""

    directory: Path
    now: float
    problem: str | None = None
    free: int = 0
    #: By role (worker, ledger), who has it now.
    users: Mapping[str, str] = field(default_factory=dict)
    log: File = field(default_factory=lambda: File("log", Path()))
    ledger: File = field(default_factory=lambda: File("ledger", Path()))
    keys: File = field(default_factory=lambda: File("keys", Path()))
    consent: File = field(default_factory=lambda: File("consent", Path()))
    sealing: File = field(default_factory=lambda: File("secret.key", Path()))
    sealing_given: bool = False
    log_state: LogState | None = None
    ledger_state: LedgerState | None = None
    partner_states: Mapping[str, Assessment] = field(default_factory=dict)
    keys_in_force: int | None = None

    @property
    def used_by(self) -> str | None:
        """Who has which roles, in words."""
        roles: dict[str, list[str]] = {}
        for role, who in self.users.items():
            roles.setdefault(who, []).append(role)
        return ", ".join(f"{who} ({' and '.join(names)})" for who, names in roles.items()) or None

    def lanes(self) -> list[Waiting]:
        """What partners have not taken yet."""
        waiting = () if self.log_state is None else self.log_state.waiting
        return [each for each in waiting if each.group == COURIERS and each.at.topic == NOTICES.name and each.lag]


# -- looking


def examine(settings: Settings, now: float) -> Found:
    """Look at a data directory. Raises `InvalidInput` for a log that is no SQLite file by its name."""
    directory = settings.data_dir
    path = path_of(settings.log_url)
    try:
        if not directory.is_dir():
            problem = "is no directory" if directory.exists() else "does not exist; `rescind up` makes it"
            return Found(directory, now, problem=problem)
        list(directory.iterdir())
        free = shutil.disk_usage(path.parent if path.parent.is_dir() else directory).free
    except OSError as error:
        return Found(directory, now, problem=f"cannot be read: {error.strerror}")
    log, log_state = _look("log", path, inspection.inspect)
    ledger, ledger_state = _look("ledger", settings.ledger_path, ledger_inspection.inspect)
    states: dict[str, Assessment] | None = None
    if ledger_state is not None and not ledger.damage:
        then = datetime.fromtimestamp(now, UTC)
        ledger, states = _look("ledger", settings.ledger_path, lambda path: partner_states(path, then), database=False)
    consent, _ = _look("consent", directory / "consent.sqlite", _open_states)
    keys, in_force = _look("keys", settings.keys_path, ledger_inspection.keys_in_force)
    sealing, _ = _look("secret.key", settings.sealing_path, _read_sealing, database=False)
    return Found(
        directory,
        now,
        free=free,
        users=_users(directory, path),
        log=log,
        ledger=ledger,
        keys=keys,
        consent=consent,
        sealing=sealing,
        sealing_given=bool(settings.sealing_key),
        log_state=log_state,
        ledger_state=ledger_state,
        partner_states=states or {},
        keys_in_force=in_force,
    )


def _users(directory: Path, log: Path) -> dict[str, str]:
    found = {role: inspection.holder(lock_path(directory, role)) for role in ROLES}
    # A worker may have a data directory of its own.
    found[WORKER] = found[WORKER] or inspection.owner(log, COURIERS)
    return {role: who for role, who in found.items() if who is not None}


def _look(name: str, path: Path, read: Callable[[Path], T], *, database: bool = True) -> tuple[File, T | None]:
    try:
        status = path.stat()
        waiting = path.with_name(path.name + "-wal")
        size = status.st_size + (waiting.stat().st_size if waiting.exists() else 0)
    except FileNotFoundError:
        return File(name, path), None
    except OSError as error:
        return File(name, path, 0, problem=error.strerror), None
    mode = stat.S_IMODE(status.st_mode)
    try:
        state = read(path)
    except (RescindError, OSError, sqlite3.Error) as error:
        broken = damage(path) if database and not isinstance(error, RescindError) else ()
        return File(name, path, size, mode, broken, explain(error, path)), None
    return File(name, path, size, mode, damage(path) if database else ()), state


def _read_sealing(path: Path) -> None:
    Sealer.from_file(path)


def _open_states(path: Path) -> None:
    with reading(path) as connection:
        connection.execute("SELECT COUNT(*) FROM reaches").fetchall()


# -- judging


def diagnose(found: Found) -> list[Finding]:
    """What is wrong, worst first; one finding that all is well if nothing is."""
    if found.problem is not None:
        return [Finding(Level.UNUSABLE, "directory", f"the data directory {found.directory} {found.problem}")]
    findings = [
        *_of_space(found),
        *_of_files(found),
        *_of_sealing(found),
        *_of_ledger(found),
        *_of_dead_letters(found),
        *_of_archives(found),
        *_of_lanes(found),
        *_of_partners(found),
        *_of_groups(found),
    ]
    findings.sort(key=lambda finding: -finding.level)
    return findings or [Finding(Level.FINE, "directory", f"the data directory {found.directory} is fine")]


def worst(findings: Iterable[Finding]) -> Level:
    return max((finding.level for finding in findings), default=Level.FINE)


def _of_space(found: Found) -> Iterator[Finding]:
    if found.free < NO_SPACE:
        yield Finding(Level.UNUSABLE, "disk", "the disk is full: nothing is accepted until there is room")
    elif found.free < LOW_SPACE:
        yield Finding(
            Level.ATTENTION, "disk", f"only {found.free // 1024**2} MiB are free; make room before it is full"
        )


def _of_files(found: Found) -> Iterator[Finding]:
    for file in (found.log, found.ledger, found.keys, found.consent):
        remedy = _REMEDIES[file.name]
        if file.damage:
            yield Finding(Level.UNUSABLE, file.name, f"{file.path} is damaged ({file.damage[0]}): {remedy}")
        elif file.problem is not None:
            yield Finding(Level.UNUSABLE, file.name, f"{file.path} cannot be used: {file.problem}")
    if not found.log.exists and found.ledger.exists:
        yield Finding(Level.UNUSABLE, "log", f"{found.log.path} is missing and the ledger is there: {_REMEDIES['log']}")
    for file in (found.log, found.ledger, found.keys, found.consent, found.sealing):
        if file.exists and file.problem is None and file.mode & 0o077:
            text = f"{file.path} is open to others ({file.mode:04o}): chmod 600 it"
            yield Finding(Level.ATTENTION, file.name, text)
    if found.log_state is not None and not found.log_state.gives_space_back:
        yield Finding(Level.FINE, "log", "the log's file never gets smaller: what is freed in it is used again")


_OLDER_LOG = (
    "stop the service and delete ledger.sqlite and consent.sqlite, each with its -wal and -shm; the next start "
    "rebuilds them from the log"
)
_REMEDIES = {
    "log": "stop the service and restore a backup of the whole directory",
    "ledger": "stop the service and delete it with its -wal and -shm; the next start rebuilds it from the log",
    "consent": "stop the service and delete it with its -wal and -shm; the next start takes all toggles again",
    "keys": "stop the service, restore it from a backup, or delete it and make new keys with `rescind keys create`",
}


def _of_sealing(found: Found) -> Iterator[Finding]:
    if found.sealing_given:
        return
    if found.sealing.problem is not None:
        yield Finding(Level.UNUSABLE, "secret.key", f"{found.sealing.problem}: restore it from a backup")
    elif not found.sealing.exists and found.ledger_state is not None and found.ledger_state.lanes:
        text = (
            f"{found.sealing.path} is missing: no webhook can be signed, and a start would make another key; restore "
            "it from a backup, or set RESCIND_SEALING_KEY; if it is lost, rotate each partner's secret"
        )
        yield Finding(Level.UNUSABLE, "secret.key", text)


def _of_ledger(found: Found) -> Iterator[Finding]:
    """A ledger and a log that do not belong together: one of them comes from another backup."""
    log, ledger = found.log_state, found.ledger_state
    if log is None or ledger is None:
        return
    remedy = _REMEDIES["ledger"]
    ahead = [at for at, following in ledger.offsets.items() if following > _end(log, at)]
    if ahead:
        at = ahead[0]
        text = f"the ledger knows more of {_place(at)} than the log has: the log is an older one; {_OLDER_LOG}"
        yield Finding(Level.UNUSABLE, "ledger", text)
    group = LEDGER_GROUP + ledger.ledger_id
    for each in log.waiting:
        state = log.partition(each.at)
        expected = ledger.offsets.get(each.at, 0 if state is None else state.start)
        if each.group == group and each.committed > max(expected, 0 if state is None else state.start):
            text = (
                f"the ledger ends at {_place(each.at)}@{expected}, before its own commits: it is an older one; {remedy}"
            )
            yield Finding(Level.UNUSABLE, "ledger", text)
            return
    behind = sum(max(0, _end(log, at) - ledger.offsets.get(at, 0)) for at in _projected(log))
    if behind and LEDGER not in found.users:
        yield Finding(Level.FINE, "ledger", f"the ledger has {behind} records still to read at the next start")


def _of_dead_letters(found: Found) -> Iterator[Finding]:
    """What partners do not take, though they take others. It is open: its clocks run."""
    for partner, (refused, parked) in ({} if found.ledger_state is None else found.ledger_state.held).items():
        if refused:
            text = f"{partner} refuses {refused} for good, and nobody has redriven or discarded them"
            yield Finding(Level.ATTENTION, "dead letters", f"{text}: `rescind dead-letters list`")
        if parked:
            text = f"{partner} does not take {parked}, which are tried again: `rescind dead-letters list`"
            yield Finding(Level.FINE, "dead letters", text)


def _of_archives(found: Found) -> Iterator[Finding]:
    for path in () if found.ledger_state is None else found.ledger_state.missing:
        text = (
            f"the ledger's archive {path} is missing: restore it from a backup; without it timelines of what it holds"
            " cannot be told, and the ledger stops where it is touched again"
        )
        yield Finding(Level.UNUSABLE, "archives", text)


def _of_lanes(found: Found) -> Iterator[Finding]:
    names = {} if found.ledger_state is None else found.ledger_state.lanes
    for lane in found.lanes():
        age = held_for(lane, found.now)
        if age is not None and age >= HELD_LONG:
            who = names.get(lane.at.partition, "nobody that the ledger knows")
            text = f"{lane.lag} messages wait since {age / 3600:.0f} h for {who}; see `rescind status`"
            yield Finding(Level.ATTENTION, f"lane {lane.at.partition}", text)


def _of_partners(found: Found) -> Iterator[Finding]:
    """As `rescind status` says it, and as bad as its exit code."""
    for partner, (state, reason) in found.partner_states.items():
        if state is not LagState.OK:
            level = Level.FINE if state is LagState.WARN else Level.ATTENTION
            yield Finding(level, f"partner {partner}", f"{state}: {reason}; see `rescind status --partner {partner}`")


def _of_groups(found: Found) -> Iterator[Finding]:
    if found.log_state is None or found.ledger_state is None:
        return
    own = LEDGER_GROUP + found.ledger_state.ledger_id
    gone = {each.group for each in found.log_state.waiting if each.group.startswith(LEDGER_GROUP)} - {own}
    for group in sorted(gone):
        text = f"group {group} is of another ledger; if that is gone, nothing needs what the log keeps for it"
        yield Finding(Level.FINE, "log", text)


def held_for(waiting: Waiting, now: float) -> float | None:
    """For how many seconds the first of what waits has waited."""
    return None if waiting.oldest is None else max(0.0, now - waiting.oldest / 1000)


def _end(log: LogState, at: TopicPartition) -> int:
    state = log.partition(at)
    return 0 if state is None else state.end


def _projected(log: LogState) -> list[TopicPartition]:
    ours = {spec.name for spec in ALL}
    return [
        TopicPartition(topic.name, n)
        for topic in log.topics
        if topic.name in ours
        for n in range(len(topic.partitions))
    ]


def _place(at: TopicPartition) -> str:
    return f"{at.topic}[{at.partition}]"
