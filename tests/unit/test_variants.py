"""What partners write, read as what we would write."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events import AckStatus, Outcome, RefusalReason
from streams.variants import in_our_words, our_word, plain_id

ID = "6f1c0a34-7d2c-5b7e-9d0a-7d2c6c1f4e11"


@pytest.mark.parametrize(
    "written",
    [
        ID,
        ID.upper(),
        f"{{{ID}}}",
        f"{{{ID.upper()}}}",
        f"({ID})",
        ID.replace("-", ""),
        f"urn:uuid:{ID}",
        f"  {ID} ",
    ],
)
def test_an_id_in_any_usual_form_is_ours(written: str) -> None:
    assert plain_id(written) == ID


@pytest.mark.parametrize("written", ["", "msg_1", "toggle:7", ID[:-1], ID + "0", "Ä" * 32])
def test_what_is_no_uuid_stays_as_it_is(written: str) -> None:
    assert plain_id(written) == written


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("completed", AckStatus.COMPLETED),
        ("COMPLETED", AckStatus.COMPLETED),
        (" Completed ", AckStatus.COMPLETED),
        ("in-progress", AckStatus.IN_PROGRESS),
        ("inProgress", AckStatus.IN_PROGRESS),
        ("IN PROGRESS", AckStatus.IN_PROGRESS),
        ("done", None),
        ("", None),
    ],
)
def test_a_word_in_any_letter_case_is_ours(written: str, word: AckStatus | None) -> None:
    assert our_word(AckStatus, written) is word


@pytest.mark.parametrize(
    ("item", "read"),
    [
        ({"id": ID.upper(), "status": "Refused"}, {"notice_id": ID, "status": AckStatus.REFUSED}),
        ({"id": "msg_9", "notice_id": ID}, {"notice_id": ID}),
        ({"id": ID, "notice_id": None}, {"notice_id": ID}),
        ({"outcome": "NotFound"}, {"outcome": Outcome.NOT_FOUND}),
        ({"outcome": "anonymized"}, {"outcome": Outcome.UNKNOWN, "code": "anonymized"}),
        ({"outcome": "unknown"}, {"outcome": Outcome.UNKNOWN}),
        ({"outcome": "x" * 300}, {"outcome": Outcome.UNKNOWN, "code": "x" * 200}),
        ({"reason": "Legal-Hold"}, {"reason": RefusalReason.LEGAL_HOLD}),
        ({"reason": "backup"}, {"reason": RefusalReason.OTHER, "code": "backup"}),
        ({"reason": "backup", "code": "B7"}, {"reason": RefusalReason.OTHER, "code": "backup (B7)"}),
        # What is not set, by Go.
        ({"reason": "", "outcome": " ", "detail": ""}, {"reason": None, "outcome": None, "detail": None}),
        ({"reason": "backup", "code": ""}, {"reason": RefusalReason.OTHER, "code": "backup"}),
        # Fields in the ways of other languages; as we write it counts, if both are there.
        ({"NoticeId": ID, "Status": "Received"}, {"notice_id": ID, "status": AckStatus.RECEIVED}),
        ({"ID": ID, "expectedBy": "x", "more": 1}, {"notice_id": ID, "expected_by": "x", "more": 1}),
        ({"Status": "refused", "status": "Received"}, {"Status": "refused", "status": AckStatus.RECEIVED}),
        ({"code": 3, "vocabulary": "DROP"}, {"code": 3, "vocabulary": "drop"}),
        ({"status": "done", "detail": "x"}, {"status": "done", "detail": "x"}),
        ({"status": "completed", "status_2": "refused"}, {"status": AckStatus.COMPLETED, "status_2": "refused"}),
        ({"status": 1, "outcome": [], "reason": {}}, {"status": 1, "outcome": [], "reason": {}}),
    ],
)
def test_an_item_is_read_in_our_words(item: dict[str, Any], read: dict[str, Any]) -> None:
    assert in_our_words(item) == read
