"""A ledger that says nothing of subjects to who has only its file, and the same as any other to who asks it."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from ledger import Entry, Ledger, LedgerReader, Span, Wanted, Window
from ledger.veiling import MARK, PLAIN, SECRET_BYTES, Plain, Sealed, Veil
from rescind.running.credentials import veils_of
from rescind.running.rebuilding import rebuild
from streams.cloudevents import Envelope
from streams.embedded.log import EmbeddedLog
from streams.errors import StorageUnusable
from streams.events import (
    Acknowledged,
    AckStatus,
    BatchFailed,
    ConsentToggled,
    MessagePoisoned,
    NoticeUndeliverable,
    StatementReceived,
)
from streams.kinds import Choice
from streams.records import record
from streams.settings import Settings
from streams.topics import TOGGLES
from tests.month import END, START, Month, simulated
from tests.unit.test_ledger import NOON, at, entry, issued, partner, toggled

SEALED = Sealed(bytes(range(SECRET_BYTES)))
OTHER = Sealed(bytes(range(1, SECRET_BYTES + 1)))
#: What a partner or a platform says in its own words: it may name a subject.
NAME = "mata-hari"
ENCODED = base64.b64encode(NAME.encode()).decode()


def bytes_of(path: Path) -> bytes:
    """The file, its WAL, and whatever else lies beside it."""
    return b"".join(each.read_bytes() for each in path.parent.glob(path.name + "*"))


def asked(reader: LedgerReader, month: Month) -> Iterator[Any]:
    """Whatever a ledger can be asked."""
    subjects = sorted({each.toggle.subject for each in month.toggled})
    for choice in Choice:
        yield reader.who_chose("purpose-0", choice, subjects)
        with reader.all_who_chose("purpose-0", choice) as (watermark, pages):
            yield watermark, list(chain.from_iterable(pages))
    for name in month.partners:
        yield reader.owed(name, "purpose-0", subjects)
        yield reader.closeup(name, END, Window.MONTH)
    yield reader.board(END, 24)
    for subject in subjects:
        yield reader.consents(subject)
        yield reader.timeline(subject)
        yield reader.listed(Wanted(subject=subject), END, None, 100)
        yield reader.reversed_since([(subject, "purpose-0", True, START)])
    yield reader.notices(sorted(month.issued))
    yield reader.askable(sorted(month.issued))
    yield sorted(map(str, reader.overtaking(sorted(month.issued))))
    yield reader.lag(END, Window.MONTH, tuple(Window))
    yield reader.totals()
    for name in month.partners:
        span = Span(name, START, END)
        yield reader.issued(span, None, 1000)
        yield reader.amount(span, 10)
        yield reader.report_page(span, END, None, 1000)
        yield reader.report_summary(span, END)
    yield reader.refused(None, None, 1000)
    yield reader.contradictions(None, None, 1000)
    yield reader.due(END, None, 1000)
    yield reader.offsets()


def filled(path: Path, batches: Iterable[list[Entry]], veil: Veil) -> Ledger:
    ledger = Ledger.open(path, veils=(veil,))
    for batch in batches:
        ledger.apply(batch)
    return ledger


def test_it_answers_as_any_other_and_its_file_names_nobody(tmp_path: Path) -> None:
    month = simulated(5, partners=10, subjects=40, toggles=80)
    names = re.compile(rb"(user|blog):\d|toggle-\d")
    batches = list(month.read(random.Random(5), 200))
    with (
        closing(filled(tmp_path / "plain.sqlite", batches, PLAIN)) as plain,
        closing(filled(tmp_path / "sealed.sqlite", batches, SEALED)) as sealed,
    ):
        found = list(asked(plain, month))
        assert list(asked(sealed, month)) == found
        assert any(found[1]), "a timeline tells something"
        assert names.search(bytes_of(plain.path))
        assert not names.search(bytes_of(sealed.path))
        assert not names.search(b"".join(sealed.export()))


def test_it_exports_the_same_whichever_it_read_first(tmp_path: Path) -> None:
    month = simulated(6, partners=5, subjects=20, toggles=40)
    exports = set()
    for seed in (1, 2):
        path = tmp_path / f"{seed}.sqlite"
        with closing(filled(path, month.read(random.Random(seed), 40), SEALED)) as ledger:
            exports.add(b"".join(ledger.export()))
    assert len(exports) == 1


def words() -> list[Entry]:
    """Everything that somebody says in words of his own."""
    source = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON, source=NAME)
    answer = Acknowledged(
        notice_id="n-p-1", partner="p", subject="user:1", status=AckStatus.RECEIVED, detail=f"who is {NAME}?",
        evidence={"who": [NAME]}, vocabulary="opendsr", code=f"{NAME}!", occurred_at=NOON, via="callback",
        statement="s-1",
    )  # fmt: skip
    signed = StatementReceived(
        partner="p", webhook_id=f"cb-{NAME}", webhook_timestamp="1", webhook_signature="v1,x", body_base64=ENCODED,
        received_at=NOON,
    )  # fmt: skip
    no = NoticeUndeliverable(
        partner="p", lane=0, offset=0, notice_id="n-p-1", subject="user:1", status_code=422, detail=NAME,
        refused_at=NOON,
    )  # fmt: skip
    failed = BatchFailed(
        partner="p", lane=0, first_offset=0, last_offset=0, notices=1, webhook_id="m", attempt=1, status_code=503,
        error=f"busy with {NAME}", duration_ms=1, failed_at=NOON, next_attempt_at=None,
    )  # fmt: skip
    bad = MessagePoisoned(
        topic="rescind.toggles", partition=0, offset=9, reason=f"no toggle: {NAME}", key_base64=ENCODED,
        value_base64=ENCODED, headers=(("ce_subject", ENCODED),), poisoned_at=NOON,
    )  # fmt: skip
    return [
        entry("partners", 0, "r", partner()),
        entry("toggles", 0, "t1", source),
        issued(0, 1),
        entry("acknowledgements", 0, "s-1", signed),
        entry("acknowledgements", 1, "a-1", answer),
        entry("undeliverable", 0, "u-1", no),
        entry("deliveries", 0, "f-1", failed),
        entry("poisoned", 0, "p-1", bad),
    ]


@pytest.mark.parametrize("veil", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_what_is_said_in_words_is_told_again_and_sealed(tmp_path: Path, veil: Plain | Sealed) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(filled(path, [words()], veil)) as ledger:
        told = {entry.kind: entry for entry in ledger.timeline("user:1")}
        assert told["toggled"].detail["source"] == NAME
        assert told["acknowledged"].detail["detail"] == f"who is {NAME}?"
        assert told["acknowledged"].detail["evidence"] == {"who": [NAME]}
        assert told["acknowledged"].detail["code"] == f"{NAME}!"
        (refused,) = ledger.refused(None, None, 10)
        assert refused.detail == NAME
        (lag,) = ledger.lag(at(5))
        assert lag.last_error == f"busy with {NAME}"
        (poisoned,) = ledger.poisoned(None, 10)
        assert (poisoned.reason, poisoned.key_base64, poisoned.value_base64) == (f"no toggle: {NAME}", ENCODED, ENCODED)
        assert poisoned.headers == (("ce_subject", ENCODED),)
        statement = ledger.statement("s-1")
        assert statement is not None
        assert (statement.webhook_id, statement.body_base64) == (f"cb-{NAME}", ENCODED)
        raw = bytes_of(path)
        there = [name for name in (NAME, ENCODED, "user:1") if name.encode() in raw]
        assert there == ([NAME, ENCODED, "user:1"] if veil is PLAIN else [])
        assert b'"statements"' in b"".join(ledger.export())


def test_equal_names_look_equal_and_another_key_makes_others_of_them() -> None:
    assert SEALED.text("user:1") == SEALED.text("user:1") != SEALED.text("user:2")
    assert SEALED.text("user:1") != OTHER.text("user:1")
    assert SEALED.text("") == ""
    assert SEALED.opened(SEALED.blob(b"")) == b""


@pytest.mark.parametrize("text", ["user:1", MARK, MARK + "AAAA", OTHER.text("user:1"), MARK + "ü", 5, None])
def test_what_only_looks_sealed_stays_as_it_is(text: Any) -> None:
    assert SEALED.opened(text) == text


@pytest.mark.parametrize(
    ("made", "wanted", "why"),
    [
        (PLAIN, SEALED, "keeps subjects plain, and RESCIND_LEDGER_SUBJECTS asks for sealed"),
        (SEALED, PLAIN, "keeps subjects sealed, and RESCIND_LEDGER_SUBJECTS asks for plain"),
        (SEALED, OTHER, "was sealed with another key than there is now"),
    ],
)
def test_one_that_was_made_otherwise_is_refused(tmp_path: Path, made: Veil, wanted: Veil, why: str) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger.open(path, veils=(made,)).close()
    for opening in (lambda: Ledger.open(path, veils=(wanted,)), LedgerReader(path, veils=(wanted,)).check):
        with pytest.raises(StorageUnusable, match=rf"{why}.*`rescind ledger rebuild`") as refused:
            opening()
        assert "\n" not in str(refused.value)


def test_an_older_key_opens_what_was_sealed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    filled(path, [toggled(0, 1)], SEALED).close()
    with closing(Ledger.open(path, veils=(OTHER, SEALED))) as ledger:
        assert [consent.subject for consent in ledger.consents("user:1")] == ["user:1"]


async def test_a_rebuild_makes_it_the_other_way(tmp_path: Path) -> None:
    plain = Settings(data_dir=tmp_path)
    sealed = Settings(data_dir=tmp_path, ledger_subjects="sealed")
    log = EmbeddedLog(plain.log_url)
    choice = ConsentToggled(subject="user:1", purpose="ai", choice=Choice.OPT_OUT, occurred_at=NOON)
    await log.append([record(TOGGLES.name, Envelope(f"t{n}", NOON, choice)) for n in range(3)])
    log.close()
    exports = []
    for settings in (plain, sealed, sealed):
        await rebuild(settings, lambda: NOON + timedelta(days=1), lambda topic, count: None)
        with closing(LedgerReader(settings.ledger_path, veils=veils_of(settings))) as reader:
            assert [entry.event_id for entry in reader.timeline("user:1")] == ["t0", "t1", "t2"]
            exports.append(b"".join(reader.export()))
    assert exports[0] != exports[1] == exports[2]
    sealed.sealing_path.unlink()
    with pytest.raises(StorageUnusable, match="needs the sealing key"):
        veils_of(sealed, make=False)
    assert not sealed.sealing_path.exists(), "a new key would open nothing"
    assert b"user:1" not in bytes_of(sealed.ledger_path)
