"""`POST /v1/acknowledgements`: what partners say about their notices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from gateway.ack_items import AcknowledgementIn, Invalid, Item, ItemResult, read_item
from gateway.auth import PartnerOnly
from gateway.bodies import items_of, read_tolerantly
from gateway.context import Context, context_of
from gateway.openapi import body_of
from gateway.problems import Problem, problems
from gateway.tracing import acknowledged
from ledger import NoticeRow, NoticeStatus, fits
from ledger.extending import WORDS, Asked, Extended, judged
from ledger.times import maybe_micros
from ledger.transitions import Progress, Verdict, completes, judge, progress_of
from streams import ids
from streams.cloudevents import Envelope, rfc3339
from streams.events import Acknowledged, Outcome
from streams.records import record
from streams.topics import ACKNOWLEDGEMENTS, NOTICES

router = APIRouter(tags=["partners"])
#: What is recorded, and counts for what it says, though maybe not for all that was meant.
TAKEN = frozenset({"accepted", "suppressed", "contradiction", "not_extended", "not_understood"})


class Results(BaseModel):
    """In the order of the request."""

    results: list[ItemResult]


EXAMPLE = [{"notice_id": "6f1c0a34-...", "status": "completed", "outcome": "deleted"}]


@router.post(
    "/v1/acknowledgements",
    status_code=202,
    summary="Acknowledge notices",
    responses=problems(400, 413, 415, 422),
    openapi_extra=body_of(AcknowledgementIn, many=True, example=EXAMPLE),
)
async def post_acknowledgements(request: Request, key: PartnerOnly) -> Results:
    """One acknowledgement, or up to 1,000. Each is judged by itself; what is accepted is durable. So is one whose
    result is `not_extended`: it counts for what it says but for that; `suppressed`: the data is still there, so the
    notice stays open; `not_understood`: its outcome is unknown, so the notice stays open; or `contradiction`:
    an earlier answer stands, since this one does not say that it amends it. An equal one may be repeated and changes
    nothing. An item that is wrong is `invalid`; the others are taken. 422, with every error, if nothing is recorded.

    `expected_by` is the partner's own estimate, and moves no deadline. `extend` does, once, to the notice's
    `extended_complete_by`, if it has one and `complete_by` has not passed."""
    return await take(context_of(request), await read_tolerantly(request), key.partner or "", "api")


async def take(
    context: Context, body: Any, partner: str, via: Literal["api", "callback"], statement: Envelope | None = None
) -> Results:
    """What a partner says in a body, and has signed in a statement. Raises `Problem` if nothing of it can be taken."""
    items = [read_item(raw) for raw in items_of(body, "acknowledgements", "results")]
    valid = [item for item in items if isinstance(item, Item)]
    said = [item.said for item in valid]
    known = await _notices(context, [item.notice_id for item in said])
    now = context.clock()
    signed = None if statement is None else statement.id
    tracing = context.tracing
    traces = await asyncio.to_thread(context.ledger.traces, [*known]) if tracing.enabled else {}
    answers = [_result(item, known.get(item.notice_id), partner, now) for item in said]
    answers = await _anew(context, said, answers, known, now)
    records = [
        record(
            ACKNOWLEDGEMENTS.name,
            acknowledged(tracing, _event(now, item, known[item.notice_id], via, signed), traces.get(item.notice_id)),
        )
        for item, result in zip(said, answers, strict=True)
        if result.result in TAKEN
    ]
    told = iter(map(_noted, valid, answers))
    results = [item.result if isinstance(item, Invalid) else next(told) for item in items]
    if not records:
        detail = "none of the acknowledgements can be taken"
        raise Problem(422, "not-accepted", detail, errors=_errors(items, results))
    if statement is not None:
        records.insert(0, record(ACKNOWLEDGEMENTS.name, statement))
    await context.appender.append(records)
    return Results(results=results)


def _noted(item: Item, result: ItemResult) -> ItemResult:
    """The result of an item that is recorded, with what of it was not kept."""
    if result.result not in TAKEN or not item.notes:
        return result
    notes = f"recorded; {'; '.join(item.notes)}"
    detail = notes if result.detail is None else f"{result.detail}; {notes}"
    return result.model_copy(update={"detail": detail})


def _errors(items: Sequence[Item | Invalid], results: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """Everything that is wrong, by item."""
    errors: list[dict[str, Any]] = []
    for index, (item, result) in enumerate(zip(items, results, strict=True)):
        told = {"index": index, **result.model_dump()}
        faults = item.faults if isinstance(item, Invalid) else ()
        errors += [told | fault._asdict() for fault in faults] or [told]
    return errors


async def _notices(context: Context, wanted: list[str]) -> dict[str, NoticeRow]:
    """The notices by id. A partner may be faster than our ledger: an id is unknown only when the ledger
    has read everything that was issued up to now."""
    found = await asyncio.to_thread(context.ledger.notices, wanted)
    if len(found) < len(set(wanted)):
        await context.caught_up(NOTICES.name)
        found = await asyncio.to_thread(context.ledger.notices, wanted)
    return found


def _result(item: AcknowledgementIn, notice: NoticeRow | None, partner: str, now: datetime) -> ItemResult:
    if notice is None:
        detail = "there is no such notice"
        return ItemResult(notice_id=item.notice_id, result="unknown_notice", detail=detail)
    if notice.partner != partner:
        detail = "this notice is for another partner"
        return ItemResult(notice_id=item.notice_id, result="not_yours", detail=detail)
    outcome = item.answer(notice.action).outcome
    if outcome is Outcome.UNKNOWN:
        return ItemResult(notice_id=item.notice_id, result="not_understood", detail=_not_understood(item, notice))
    if outcome is not None and not fits(outcome, notice.action):
        detail = f"{outcome} is no outcome of what was asked, which is {notice.action}"
        return ItemResult(notice_id=item.notice_id, result="wrong_outcome", detail=detail)
    if _moves(item, notice) and item.detail is None:
        detail = "this moves what you promised, so say in `detail` why"
        return ItemResult(notice_id=item.notice_id, result="unexplained", detail=detail)
    return _extended(item, notice, now) if item.extend else _counted(item, notice)


def _not_understood(item: AcknowledgementIn, notice: NoticeRow) -> str:
    ours = ", ".join(outcome for outcome in Outcome if fits(outcome, notice.action))
    word = "the outcome" if item.code is None else f"the outcome {item.code}"
    return f"recorded; {word} is unknown, so it changes nothing and an open notice stays open: use one of {ours}"


def _counted(item: AcknowledgementIn, notice: NoticeRow) -> ItemResult:
    """What the partner is told of an answer that is recorded."""
    answer, verdict = item.answer(notice.action), _verdict(item, notice)
    open_still = answer.outcome is Outcome.SUPPRESSED and not completes(
        Progress(answer.status, answer.outcome), notice.action, suppression_completes=notice.suppression_completes
    )
    if verdict is Verdict.CONTRADICTION:
        detail = f"{_words(notice)} stands: to take that back, say so with `amends`, and why in `detail`"
        return ItemResult(notice_id=item.notice_id, result="contradiction", detail=detail)
    if open_still:
        detail = (
            "recorded; the notice asks for deletion and the data is still there, so it stays open and its clock runs on"
            f" until {rfc3339(notice.due_by)}: no contract that lets suppression complete it is set for you"
        )
        return ItemResult(notice_id=item.notice_id, result="suppressed", detail=detail)
    detail_of = {Verdict.AMENDED: f"it takes the place of {_words(notice)}"}
    return ItemResult(notice_id=item.notice_id, result="accepted", detail=detail_of.get(verdict))


def _verdict(item: AcknowledgementIn, notice: NoticeRow) -> Verdict:
    """As the ledger will judge it, unless another answer is on its way."""
    answer = item.answer(notice.action)
    return judge(
        progress_of(notice),
        Progress(answer.status, answer.outcome, answer.reason, maybe_micros(item.expected_by)),
        owner=True,
        action=notice.action,
        explained=item.detail is not None,
        amends=item.amends,
        suppression_completes=notice.suppression_completes,
    )


async def _anew(
    context: Context,
    said: Sequence[AcknowledgementIn],
    results: list[ItemResult],
    known: Mapping[str, NoticeRow],
    now: datetime,
) -> list[ItemResult]:
    """Who takes an answer back a second time, in the words of the first, would say nothing new: that is told, and not
    dropped."""
    taken = [item.amends and result.result in TAKEN for item, result in zip(said, results, strict=True)]
    if not any(taken):
        return results
    ids_of = [
        (item.notice_id, _event(now, item, known[item.notice_id], "api", None).id) if amends else ("", "")
        for item, amends in zip(said, taken, strict=True)
    ]
    before = await asyncio.to_thread(context.ledger.said_before, filter(any, ids_of))
    detail = "you gave this very answer before, in the same words, and took it back since; say in `detail` why anew"
    return [
        ItemResult(notice_id=item.notice_id, result="unexplained", detail=detail)
        if identity in before and _verdict(item, known[item.notice_id]) in (Verdict.AMENDED, Verdict.REOPENED)
        else result
        for item, result, (_, identity) in zip(said, results, ids_of, strict=True)
    ]


def _words(notice: NoticeRow) -> str:
    """What stands."""
    because = notice.outcome or notice.reason
    return f"your earlier answer, {notice.status}" + (f" ({because})" if because else "")


def _moves(item: AcknowledgementIn, notice: NoticeRow) -> bool:
    """The ledger judges again, in the order of the log. This only tells the partner."""
    promised = notice.status is NoticeStatus.IN_PROGRESS and notice.expected_by is not None
    return promised and item.expected_by is not None and item.expected_by != notice.expected_by


def _extended(item: AcknowledgementIn, notice: NoticeRow, now: datetime) -> ItemResult:
    """As the ledger will judge it, unless another request is on its way."""
    final = notice.status in (NoticeStatus.COMPLETED, NoticeStatus.REFUSED)
    repeated = notice.extended_by == _event(now, item, notice, "api", None).id
    asked = Asked(
        now, True, True, final, notice.complete_by, notice.extended_complete_by, notice.extended_by is not None
    )
    verdict = Extended.GRANTED if repeated else judged(asked)
    if verdict is Extended.GRANTED and notice.extended_complete_by is not None:
        detail = f"{WORDS[verdict]} until {rfc3339(notice.extended_complete_by)}"
        return ItemResult(notice_id=item.notice_id, result="accepted", detail=detail)
    return ItemResult(notice_id=item.notice_id, result="not_extended", detail=WORDS[verdict])


def _event(
    now: datetime,
    item: AcknowledgementIn,
    notice: NoticeRow,
    via: Literal["api", "callback"],
    statement: str | None,
) -> Envelope:
    said = item.answer(notice.action)
    data = Acknowledged(
        notice_id=item.notice_id,
        partner=notice.partner,
        subject=notice.subject,
        status=said.status,
        outcome=said.outcome,
        reason=said.reason,
        detail=item.detail,
        expected_by=item.expected_by,
        extend=item.extend or None,
        # A partner's clock is its own; what it says cannot lie after now.
        occurred_at=min(item.occurred_at or now, now),
        evidence=item.evidence,
        via=via,
        statement=statement,
        vocabulary=item.vocabulary,
        code=item.code,
        amends=item.amends or None,
    )
    return Envelope(ids.acknowledgement_id(item.notice_id, notice.partner, *data.content), now, data)
