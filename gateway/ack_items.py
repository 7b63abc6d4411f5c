"""One item of an acknowledgement at the API: read by itself, with words for what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.problems import pointer
from streams.ack_items import DETAIL_CAP, kept
from streams.events import AckStatus, Code, Outcome, RefusalReason, Vocabulary
from streams.explaining import in_words
from streams.kinds import Action
from streams.moments import Moment
from streams.names import EventId
from streams.variants import as_written, is_unset, our_word
from streams.vocabulary import FINAL, Meaning, meaning, read_as


class AcknowledgementIn(BaseModel):
    """`completed` needs an `outcome`, `refused` a `reason`. In the place of `status` may stand a `code` of a public
    `vocabulary` (`opendsr`, `drp`, `drop`); beside it, `code` is a word of the partner's own. With `amends` a final
    answer takes the place of an earlier one; `detail` says why, in words that were not used for that notice before.

    An id may be written in any usual form of a UUID, and a word in any letter case. A longer `detail` or `code` is cut,
    larger `evidence` is left out, and the item's result says so. An unknown `reason` counts as `other`. An unknown
    `outcome` is recorded and completes nothing. Any other field makes the item invalid: a misspelt `expected_by` would
    be lost without a word."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    notice_id: Annotated[EventId, Field(description="The `id` of the notice's event. The field may be called `id`.")]
    status: AckStatus | None = None
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: Annotated[str, Field(max_length=DETAIL_CAP)] | None = None
    expected_by: Moment | None = None
    extend: bool = False
    occurred_at: Moment | None = None
    evidence: dict[str, Any] | None = None
    vocabulary: Vocabulary | None = None
    code: Code | None = None
    amends: bool = False

    @property
    def said(self) -> Meaning:
        """In our words. Raises `ValueError` if there are none."""
        if self.vocabulary is not None:
            return meaning(self.vocabulary, self.code or "")
        if self.status is None:
            raise ValueError("status is missing, or a vocabulary and a code of it")
        return Meaning(self.status, self.outcome, self.reason)

    @model_validator(mode="after")
    def _fits(self) -> AcknowledgementIn:
        if self.vocabulary is None:
            if (self.status is AckStatus.COMPLETED) != (self.outcome is not None):
                raise ValueError("an outcome belongs to status completed, and completed needs one")
            if (self.status is AckStatus.REFUSED) != (self.reason is not None):
                raise ValueError("a reason belongs to status refused, and refused needs one")
        elif (self.status, self.outcome, self.reason) != (None, None, None):
            raise ValueError("a code of a vocabulary stands in the place of status, outcome and reason")
        said = self.said
        if self.expected_by is not None and said.status is not AckStatus.IN_PROGRESS:
            raise ValueError("expected_by belongs to status in_progress")
        if self.extend and not (self.status is AckStatus.IN_PROGRESS and (self.detail or "").strip()):
            raise ValueError("extend belongs to status in_progress, with a detail that says why")
        if self.amends and not (said.status in FINAL and (self.detail or "").strip()):
            raise ValueError("amends belongs to status completed or refused, with a detail that says why")
        return self

    def answer(self, action: Action) -> Meaning:
        """In our words, to what was asked."""
        return read_as(self.said, self.vocabulary, self.code, action)


Result = Literal[
    "accepted",
    "suppressed",
    "contradiction",
    "not_extended",
    "not_understood",
    "invalid",
    "unknown_notice",
    "not_yours",
    "wrong_outcome",
    "unexplained",
]


class ItemResult(BaseModel):
    """What became of an item. `notice_id` is as we write it; null if the item names none."""

    notice_id: str | None
    result: Result
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """An item that can be taken, and in words what of it is not kept as it was written."""

    said: AcknowledgementIn
    notes: tuple[str, ...] = ()


class Fault(NamedTuple):
    """`pointer` is a JSON Pointer (RFC 6901) into the item."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """An item that cannot be taken. `notice_id` is None if it names none."""

    notice_id: str | None
    faults: tuple[Fault, ...]

    @property
    def result(self) -> ItemResult:
        words = "; ".join(fault.detail for fault in self.faults)
        return ItemResult(notice_id=self.notice_id, result="invalid", detail=words)


#: Faults of an item that are reported, and characters of a field's name or an id that are quoted.
_FAULTS_CAP, _QUOTE_CAP = 5, 128


def read_item(raw: Any) -> Item | Invalid:
    """An item of a body, which may be anything that `streams.json_text.read` gives."""
    if not isinstance(raw, dict):
        return Invalid(None, (Fault("", "an acknowledgement must be a JSON object"),))
    item, notes = kept(raw)
    said = {name: value for name, value in item.items() if not is_unset(value)}
    try:
        read = AcknowledgementIn.model_validate_json(orjson.dumps(said), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:_FAULTS_CAP]
        identity = said.get("notice_id")
        known = identity[:_QUOTE_CAP] if isinstance(identity, str) else None
        return Invalid(known, tuple(_fault(each, raw) for each in found))
    return Item(read, (*notes, *_other_reason(raw, read)))


def _fault(found: Mapping[str, Any], raw: Mapping[str, Any]) -> Fault:
    words = in_words(found)
    if not found["loc"]:
        return Fault("", words)
    name, *inner = found["loc"]
    if found["type"] == "extra_forbidden" and (meant := get_close_matches(name, AcknowledgementIn.model_fields, n=1)):
        words += f"; did you mean {meant[0]}?"
    identity = as_written("id", raw) if name == "notice_id" else None
    written = as_written(name, raw) or identity or name
    return Fault(pointer((written, *inner)), f"{written[:_QUOTE_CAP]}: {words}")


def _other_reason(raw: Mapping[str, Any], read: AcknowledgementIn) -> list[str]:
    if read.reason is not RefusalReason.OTHER:
        return []
    given = raw.get(as_written("reason", raw) or "reason")
    if not isinstance(given, str) or our_word(RefusalReason, given):
        return []
    return [f"its reason is none of {', '.join(RefusalReason)}, so it counts as other, with your word in its code"]
