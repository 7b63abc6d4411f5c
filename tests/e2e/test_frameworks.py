"""What partners reply from real web frameworks, as their engineers write it, and what becomes of the notices."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rescind.client import Client
from rescind.launching import Launch, ServiceProcess
from tests.e2e.frameworks.servers import FRAMEWORKS, serving
from tests.e2e.world import PATIENCE, query

#: Notices that each of these partners is sent: one, and then five at once.
SENT = 6
DELETED, TAKEN, WAITING = f"{SENT} completed deleted", f"{SENT} delivered", f"{SENT} queued"


@dataclass(frozen=True, slots=True)
class Row:
    """What a server does at a path, and what is known of the notices then. Of how many the reply said something that
    we understand, and of how many something that we do not; it said nothing of the others. A reply is `unclear`, too,
    if a part of it was lost. `words` are in what is known of an attempt that failed. Notices come in batches, or each
    alone as one event."""

    framework: str
    path: str
    became: str
    acknowledged: int = 0
    not_understood: int = 0
    words: str = ""
    alone: bool = False
    unclear: bool = False

    @property
    def partner(self) -> str:
        return re.sub("[^a-z0-9]+", "-", f"{self.framework}{self.path}").strip("-")

    @property
    def known(self) -> Known:
        delivered = 0 if self.became == WAITING else SENT
        return Known(
            became=self.became,
            acknowledged=self.acknowledged,
            not_understood=self.not_understood,
            unanswered=delivered - self.acknowledged - self.not_understood,
            unclear=self.unclear or self.not_understood > 0,
            words=self.words,
        )


FLASK = [
    Row("flask", "/results", DELETED, SENT),
    Row("flask", "/notice-ids", DELETED, SENT),
    Row("flask", "/own-keys", DELETED, SENT),
    Row("flask", "/list", DELETED, SENT),
    Row("flask", "/object", DELETED, SENT, alone=True),
    Row("flask", "/umlauts", DELETED, SENT),
    Row("flask", "/pretty", DELETED, SENT),
    Row("flask", "/refused", f"{SENT} refused legal_hold", SENT),
    Row("flask", "/anonymized", TAKEN, 0, SENT),
    Row("flask", "/done", TAKEN, 0, SENT),
    Row("flask", "/drop", DELETED, SENT),
    Row("flask", "/half", "2 completed deleted, 4 delivered", 2, 1),
    Row("flask", "/evidence", DELETED, SENT),
    Row("flask", "/evidence-umlauts", "1 completed deleted, 5 delivered", 1, 5),  # each takes three times its bytes
    Row("flask", "/nan", DELETED, SENT),
    Row("flask", "/str", TAKEN, 0, SENT),
    Row("flask", "/echo", TAKEN, 0, SENT),
    Row("flask", "/status-ok", TAKEN),
    Row("flask", "/ok", TAKEN),
    Row("flask", "/nothing", TAKEN),
    Row("flask", "/page", TAKEN),
    Row("flask", "/slash", WAITING, words="HTTP 308: redirects are not followed; to http://127.0.0.1"),
    Row("flask", "/only-get", WAITING, words="HTTP 405: <!doctype html>"),
    Row("flask", "/missing", WAITING, words="HTTP 404: <!doctype html>"),
    Row("flask", "/crash", WAITING, words="HTTP 500: <!doctype html>"),
    Row("flask", "/busy", WAITING, words="HTTP 503: busy"),
]
FASTAPI = [
    Row("fastapi", "/results", DELETED, SENT),
    Row("fastapi", "/list", DELETED, SENT),
    Row("fastapi", "/object", f"{SENT} in_progress", SENT, alone=True),
    Row("fastapi", "/accepted", f"{SENT} in_progress", SENT),
    Row("fastapi", "/hex", DELETED, SENT),
    Row("fastapi", "/urn", DELETED, SENT),
    Row("fastapi", "/streamed", DELETED, SENT),
    Row("fastapi", "/gzip", DELETED, SENT),
    Row("fastapi", "/gzip-cut", TAKEN, 0, SENT),
    Row("fastapi", "/gzip-error", WAITING, words="HTTP 500: the database is away"),
    Row("fastapi", "/text-of-json", TAKEN, 0, SENT),
    Row("fastapi", "/data", TAKEN, 0, SENT),
    Row("fastapi", "/empty-results", TAKEN),
    Row("fastapi", "/received", TAKEN),
    Row("fastapi", "/text", TAKEN),
    Row("fastapi", "/null", TAKEN),
    Row("fastapi", "/nan", WAITING, words="HTTP 500: Internal Server Error"),
    Row("fastapi", "/slash", WAITING, words="HTTP 307: redirects are not followed; to http://127.0.0.1"),
    Row("fastapi", "/strict", WAITING, words="HTTP 422: "),
    Row("fastapi", "/forbidden", WAITING, words="not from here"),
    Row("fastapi", "/missing", WAITING, words='HTTP 404: {"detail":"Not Found"}'),
]
HTTP_SERVER = [
    Row("http.server", "/results", DELETED, SENT),
    Row("http.server", "/length", DELETED, SENT),
    Row("http.server", "/surrogate", DELETED, SENT),
    Row("http.server", "/nothing", TAKEN),
    Row("http.server", "/long-head", DELETED, SENT),
    Row("http.server", "/raises", WAITING, words="the connection was closed before there was an answer"),
    Row("http.server", "/missing", WAITING, words="HTTP 404: <!DOCTYPE HTML>"),
]
EXPRESS = [
    Row("express", "/tutorial", WAITING, words="HTTP 500: <!DOCTYPE html>"),
    Row("express", "/results", DELETED, SENT),
    Row("express", "/compressed", DELETED, SENT),
    Row("express", "/list", DELETED, SENT),
    Row("express", "/spread", f"{SENT} completed already_deleted", SENT),
    Row("express", "/in-progress", f"{SENT} in_progress", SENT),
    Row("express", "/braces", DELETED, SENT),
    Row("express", "/camel-case", DELETED, SENT),
    Row("express", "/by-id", TAKEN, 0, SENT),
    Row("express", "/ids", TAKEN, 0, SENT),
    Row("express", "/lambda", TAKEN, 0, SENT),
    Row("express", "/emoji", DELETED, SENT),
    Row("express", "/chunked", DELETED, SENT),
    Row("express", "/early-hints", DELETED, SENT),
    Row("express", "/no-type", DELETED, SENT),
    Row("express", "/deflate", DELETED, SENT),
    Row("express", "/deflate-raw", DELETED, SENT),
    Row("express", "/brotli", TAKEN, 0, SENT),
    Row("express", "/length", TAKEN, 0, SENT),
    Row("express", "/send-status", TAKEN),
    Row("express", "/ok", TAKEN),
    Row("express", "/page", TAKEN),
    Row("express", "/empty", TAKEN),
    Row("express", "/crash", WAITING, words="HTTP 500: <!DOCTYPE html>"),
    Row("express", "/crash-compressed", WAITING, words="HTTP 500: the database is away"),
    Row("express", "/missing", WAITING, words="HTTP 404: <!DOCTYPE html>"),
]
GO = [
    Row("go", "/zeros", DELETED, SENT),
    Row("go", "/zeros-completed", DELETED, SENT),
    Row("go", "/zeros-refused", f"{SENT} refused exempt", SENT),
    Row("go", "/upper", DELETED, SENT),
    Row("go", "/untagged", DELETED, SENT),
    Row("go", "/nil", TAKEN),
    Row("go", "/lines", DELETED, SENT),
    Row("go", "/flushed", DELETED, SENT),
    Row("go", "/trailer", DELETED, SENT),
    Row("go", "/gzip", DELETED, SENT),
    Row("go", "/gzip-unpacked", DELETED, SENT),
    Row("go", "/close", DELETED, SENT),
    Row("go", "/html-letters", DELETED, SENT),
    Row("go", "/text", TAKEN),
    Row("go", "/nothing", TAKEN),
    Row("go", "/echo", TAKEN, 0, SENT),
    Row("go", "/slash", WAITING, words=": redirects are not followed; to /slash/"),
    Row("go", "/error", WAITING, words="HTTP 500: the database is away"),
    Row("go", "/panic", WAITING, words="the connection was closed before there was an answer"),
    Row("go", "/missing", WAITING, words="HTTP 404: 404 page not found"),
]
PHP = [
    Row("php", "/results.php", DELETED, SENT),
    Row("php", "/bom.php", DELETED, SENT),
    Row("php", "/pretty.php", DELETED, SENT),
    Row("php", "/list.php", DELETED, SENT),
    Row("php", "/object.php", DELETED, SENT, alone=True),
    Row("php", "/filtered.php", "4 completed deleted, 2 delivered", 4),
    Row("php", "/evidence.php", DELETED, SENT),
    Row("php", "/evidence-large.php", "1 completed deleted, 5 delivered", 1, 5),
    Row("php", "/warning.php", TAKEN, 0, SENT),
    Row("php", "/fatal.php", TAKEN),
    Row("php", "/by-hand.php", TAKEN, 0, SENT),
    Row("php", "/latin-1.php", DELETED, SENT, unclear=True),
    Row("php", "/invalid.php", TAKEN),
    Row("php", "/flushed.php", DELETED, SENT),
    Row("php", "/gzip.php", DELETED, SENT),
    Row("php", "/handler.php", DELETED, SENT),
    Row("php", "/nothing.php", TAKEN),
    Row("php", "/ok.php", TAKEN),
    Row("php", "/unavailable.php", WAITING, words="HTTP 503: maintenance"),
    Row("php", "/missing.php", WAITING, words="HTTP 404: <!doctype html>"),
]
JAVA = [
    Row("java", "/enum", DELETED, SENT),
    Row("java", "/upper", DELETED, SENT),
    Row("java", "/chunked", DELETED, SENT),
    Row("java", "/printed-map", TAKEN, 0, SENT),
    Row("java", "/length", WAITING, words="the answer ended before it was complete"),
    Row("java", "/latin-1", DELETED, SENT, unclear=True),
    Row("java", "/utf-16", DELETED, SENT),
    Row("java", "/content-encoding", DELETED, SENT),
    Row("java", "/gzip", DELETED, SENT),
    Row("java", "/nothing", TAKEN),
    Row("java", "/text", TAKEN),
    Row("java", "/error", WAITING, words="HTTP 500: the database is away"),
    Row("java", "/throws", WAITING, words="the connection was closed before there was an answer"),
    Row("java", "/missing", WAITING, words="HTTP 404: <h1>404 Not Found</h1>"),
]
ROWS = [*FLASK, *FASTAPI, *HTTP_SERVER, *EXPRESS, *GO, *PHP, *JAVA]


class Known(NamedTuple):
    """What the service says of a partner's notices, and of the attempts at them."""

    became: str
    acknowledged: int
    not_understood: int
    unanswered: int
    unclear: bool
    words: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceProcess, Path]]:
    """A service, and its data."""
    directory = tmp_path_factory.mktemp("data")
    with asyncio.Runner() as runner:
        service = runner.run(ServiceProcess.start(Launch(directory)))
        try:
            yield service, directory
        finally:
            assert runner.run(service.stop()) == 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_becomes_of_replies(framework: str, running: tuple[ServiceProcess, Path], tmp_path: Path) -> None:
    rows = [row for row in ROWS if row.framework == framework]
    service, directory = running
    with (
        serving(framework, tmp_path) as url,
        Client(service.url, service.operator_key) as operator,
        Client(service.url, service.platform_key) as platform,
        ExitStack() as stack,
    ):
        purpose = framework.replace(".", "-")
        for row in rows:
            wanted = {"id": row.partner, "name": row.partner, "url": url + row.path, "purposes": [purpose]}
            operator.add_partner(wanted | {"batch_size": 1 if row.alone else 100})
            stack.callback(operator.remove_partner, row.partner)  # its lane is for others then
            operator.change_partner(row.partner, {"status": "paused"})
        choice = {"purpose": purpose, "choice": "opt_out", "occurred_at": "2026-01-01T12:00:00Z"}
        # What comes behind the first one waits together.
        for first, end in ((0, 1), (1, SENT)):
            platform.post_toggles([{"subject": f"user:{number}"} | choice for number in range(first, end)])
            until(partial(has_waiting, operator, rows, end), service)
        for row in rows:
            operator.change_partner(row.partner, {"status": "active"})
        until(lambda: all(was_tried(directory, row) for row in rows), service)
        until(lambda: is_up_to_date(directory), service)
        known = {row.path: known_of(operator, directory, row) for row in rows}
    expected = {row.path: row.known for row in rows}
    wrong = [f"{path}: {known[path]}, not {expected[path]}" for path in expected if known[path] != expected[path]]
    assert not wrong, "\n".join(wrong)


def known_of(operator: Client, directory: Path, row: Row) -> Known:
    notices = operator.notices({"partner": row.partner})["notices"]
    partner = lag(operator)[row.partner]
    words, replies = partner["last_error"] or "", partner["replies"]
    # Nothing of a request vanishes.
    requests = query(
        directory / "ledger.sqlite",
        f"""SELECT notices, acknowledged, not_understood FROM deliveries
        WHERE partner = '{row.partner}' AND delivered""",
    )
    unanswered = [notices - acknowledged - not_understood for notices, acknowledged, not_understood in requests]
    assert min(unanswered, default=0) >= 0, requests
    assert sum(unanswered) == replies["notices"]["unanswered"]
    became = Counter(" ".join(filter(None, (each["status"], each["outcome"] or each["reason"]))) for each in notices)
    return Known(
        became=", ".join(f"{count} {what}" for what, count in sorted(became.items())),
        **replies["notices"],
        unclear=replies["last_not_understood"] is not None,
        words=row.words if row.words and row.words in words else words,
    )


def lag(operator: Client) -> dict[str, Any]:
    return {row["partner"]: row for row in operator.lag()["partners"]}


def has_waiting(operator: Client, rows: Sequence[Row], count: int) -> bool:
    known = lag(operator)
    return all(known[row.partner]["backlog"] == count for row in rows)


def was_tried(directory: Path, row: Row) -> bool:
    """Has the partner taken all, or once failed?"""
    sql = f"SELECT SUM(notices * delivered), SUM(NOT delivered) FROM deliveries WHERE partner = '{row.partner}'"
    ((delivered, failed),) = query(directory / "ledger.sqlite", sql)
    return delivered == SENT or bool(failed)


def is_up_to_date(directory: Path) -> bool:
    """What a reply says of notices is in the log as soon as its delivery is. Does the ledger have it, too?"""
    topic = "rescind.acknowledgements"
    ends = query(
        directory / "log.sqlite",
        f"""SELECT r.tp & 0xffff, MAX(r.offset) + 1 FROM records r JOIN topics t ON t.id = r.tp >> 16
        WHERE t.name = '{topic}' GROUP BY r.tp""",
    )
    read = query(directory / "ledger.sqlite", f"SELECT partition, next FROM offsets WHERE topic = '{topic}'")
    return all(dict(read).get(partition, 0) >= end for partition, end in ends)


def until(reached: Callable[[], bool], service: ServiceProcess) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"not reached; {service.last_words()}"
        time.sleep(0.05)
