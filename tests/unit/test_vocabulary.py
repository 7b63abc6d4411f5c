"""Public vocabularies and ours: one table in code, the same in the docs, and one to one where they have a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.events import AckStatus, Outcome, RefusalReason, Vocabulary
from streams.kinds import Action
from streams.vocabulary import ALSO, TABLE, Meaning, meaning, read_as

DOCS = Path(__file__).parents[2] / "docs" / "vocabulary.md"


def words(said: Meaning) -> str:
    return " ".join(part for part in said if part is not None)


def documented() -> list[list[str]]:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_docs_have_the_same_table() -> None:
    rows = [[words(row.ours), *(row.code(vocabulary) or "" for vocabulary in Vocabulary)] for row in TABLE]
    also = [[f"`{vocabulary}` {code}", words(said)] for (vocabulary, code), said in ALSO.items()]
    heads = [["ours", *(f"`{vocabulary}`" for vocabulary in Vocabulary)], ["theirs", "ours"]]
    assert documented() == [heads[0], *rows, heads[1], *also]


def test_it_has_every_word_of_ours_once() -> None:
    ours = [row.ours for row in TABLE]
    wanted = [
        *(Meaning(status) for status in AckStatus if status is not AckStatus.REFUSED),
        *(Meaning(AckStatus.COMPLETED, outcome) for outcome in Outcome if outcome is not Outcome.UNKNOWN),
        *(Meaning(AckStatus.REFUSED, None, reason) for reason in RefusalReason),
    ]
    assert sorted(map(words, ours)) == sorted(map(words, wanted))


CODES = [
    (Vocabulary.OPENDSR, "pending", "received"),
    (Vocabulary.OPENDSR, "in_progress", "in_progress"),
    (Vocabulary.OPENDSR, "completed", "completed"),
    (Vocabulary.OPENDSR, "cancelled", "refused other"),
    (Vocabulary.DRP, "open", "received"),
    (Vocabulary.DRP, "in_progress", "in_progress"),
    (Vocabulary.DRP, "in_progress/need_user_verification", "in_progress"),
    (Vocabulary.DRP, "fulfilled", "completed"),
    (Vocabulary.DRP, "denied/no_match", "completed not_found"),
    (Vocabulary.DRP, "denied/claim_not_covered", "refused exempt"),
    (Vocabulary.DRP, "denied/insuf_verification", "refused identity_not_verified"),
    (Vocabulary.DRP, "denied/outside_jurisdiction", "refused outside_jurisdiction"),
    (Vocabulary.DRP, "denied/suspected_fraud", "refused other"),
    (Vocabulary.DRP, "denied/too_many_requests", "refused other"),
    (Vocabulary.DRP, "denied/other", "refused other"),
    (Vocabulary.DROP, "2", "refused exempt"),
    (Vocabulary.DROP, "3", "completed deleted"),
    (Vocabulary.DROP, "4", "refused identity_not_verified"),
    (Vocabulary.DROP, "5", "completed not_found"),
]


@pytest.mark.parametrize(("vocabulary", "code", "ours"), CODES)
def test_what_a_code_means(vocabulary: Vocabulary, code: str, ours: str) -> None:
    assert words(meaning(vocabulary, code)) == ours


def test_every_code_of_the_table_is_read_back_as_itself() -> None:
    """What we read, written again, is what we read: nothing changes its meaning on the way there and back."""
    written = {(vocabulary, row.ours): row.code(vocabulary) for row in TABLE for vocabulary in Vocabulary}
    codes = {(vocabulary, code) for (vocabulary, _), code in written.items() if code is not None}
    assert codes | ALSO.keys() == {(vocabulary, code) for vocabulary, code, _ in CODES}
    for vocabulary, code in codes - ALSO.keys():
        assert written[vocabulary, meaning(vocabulary, code)] == code


@pytest.mark.parametrize(
    ("vocabulary", "code"),
    [*((each, "") for each in Vocabulary), (Vocabulary.DRP, "revoked"), (Vocabulary.DROP, "1"), (Vocabulary.DRP, "3")],
)
def test_what_is_no_code_of_a_vocabulary_is_refused_with_those_that_are(vocabulary: Vocabulary, code: str) -> None:
    with pytest.raises(ValueError, match=f"^not a code of vocabulary {vocabulary}, which has: .*[a-z5]"):
        meaning(vocabulary, code)


def test_another_vocabulary_is_refused_and_not_quoted() -> None:
    with pytest.raises(ValueError, match=r"^not a vocabulary, which are: opendsr, drp, drop$"):
        meaning("user:1", "3")


@pytest.mark.parametrize("action", Action)
def test_completed_alone_means_as_asked(action: Action) -> None:
    wanted = {Action.ERASE: Outcome.DELETED, Action.STOP: Outcome.SUPPRESSED, Action.RESUME: Outcome.RESUMED}
    assert Meaning(AckStatus.COMPLETED).asked(action).outcome is wanted[action]
    for said in (row.ours for row in TABLE if row.ours != Meaning(AckStatus.COMPLETED)):
        assert said.asked(action) == said


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        # Several people share the identifier, and all were opted out: nothing was deleted, since nobody knew whose.
        (Action.ERASE, Meaning(AckStatus.REFUSED, None, RefusalReason.IDENTITY_NOT_VERIFIED)),
        (Action.STOP, Meaning(AckStatus.COMPLETED, Outcome.SUPPRESSED)),
        (Action.RESUME, Meaning(AckStatus.REFUSED, None, RefusalReason.IDENTITY_NOT_VERIFIED)),
    ],
)
def test_whom_drop_opted_out_it_stopped_and_did_not_delete(action: Action, wanted: Meaning) -> None:
    said = meaning(Vocabulary.DROP, "4")
    assert read_as(said, Vocabulary.DROP, "4", action) == wanted
    # The same code of somebody's own is no word of DROP's.
    assert read_as(Meaning(AckStatus.COMPLETED), None, "4", action) == Meaning(AckStatus.COMPLETED).asked(action)
