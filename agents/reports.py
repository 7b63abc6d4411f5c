"""What is told of attempts: events for the log, and one line for people."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

import orjson

from agents.judging import AttemptVerdict
from agents.parcels import Batch, Parcel
from agents.replies import SILENT, Reply
from agents.reply_items import ReplyItem
from agents.webhooks import Answer
from streams import ids
from streams.cloudevents import Envelope, rfc3339
from streams.events import (
    AcknowledgedItem,
    AckStatus,
    BatchDelivered,
    BatchFailed,
    Failing,
    NoticeParked,
    NoticesSuperseded,
    NoticeUndeliverable,
    Partner,
    PartnerSuspended,
    RefusalReason,
    ReplyAcknowledged,
    content_of,
)
from streams.kinds import Action
from streams.plain_text import one_line
from streams.records import Record, record
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES, PARTNERS, UNDELIVERABLE
from streams.trusting import trusted
from streams.vocabulary import Meaning, read_as
from streams.written import WrittenNotice

log = logging.getLogger(__name__)
#: What they are made of was validated when it was read, or is computed here.
_delivered, _item, _acknowledged = trusted(BatchDelivered), trusted(AcknowledgedItem), trusted(ReplyAcknowledged)
#: Acknowledgements in one record, and bytes of it as JSON: Kafka takes up to 1 MiB.
_MOST_ITEMS, _MOST_BYTES = 100, 512 * 1024
#: Bytes of a letter as JSON, and of all of an item but its texts and its evidence, at the most.
_LETTER, _OTHERS = 6, 1024
#: One line an attempt, `name=value`; no payload, no subject.
attempts = logging.getLogger("rescind.attempts")


def delivered(parcel: Parcel, answer: Answer, attempt: int, now: datetime, reply: Reply) -> Record:
    """The partner took the parcel."""
    data = _delivered(
        **_common(parcel, answer, attempt),
        notices=parcel.count,
        webhook_id=parcel.webhook_id,
        status_code=answer.attempt.status or 0,
        delivered_at=now,
        undelivered=parcel.others,
        acknowledged=reply.acknowledged,
        not_understood=reply.not_understood,
        reply_problem=reply.problem,
    )
    return record(DELIVERIES.name, Envelope(ids.derive("delivered", parcel.webhook_id), now, data))


def superseded(batch: Batch, notices: Iterable[str], now: datetime) -> Record:
    """These are left out: the user chose otherwise before they were taken."""
    listed = tuple(sorted(notices))
    data = NoticesSuperseded(partner=batch.partner, lane=batch.lane, superseded=listed, superseded_at=now)
    return record(DELIVERIES.name, Envelope(ids.derive("superseded", str(batch.lane), *listed), now, data))


def failed(parcel: Parcel, answer: Answer, attempt: int, now: datetime, again: datetime | None) -> Record:
    """An attempt that did not settle the parcel. `again` is when the next one follows, if it is known."""
    data = BatchFailed(
        **_common(parcel, answer, attempt),
        notices=parcel.count,
        webhook_id=parcel.webhook_id,
        status_code=answer.attempt.status,
        error=_error(answer),
        failed_at=now,
        next_attempt_at=again,
    )
    identity = ids.derive("failed", parcel.webhook_id, str(attempt), now.isoformat())
    return record(DELIVERIES.name, Envelope(identity, now, data))


def parked(parcel: Parcel, answer: Answer, failing: Failing, now: datetime, retry_at: datetime) -> Record:
    """The lane goes on without the parcel's one notice, which is issued again from `retry_at` on."""
    status = answer.attempt.status
    data = NoticeParked(**_alone(parcel, answer), status_code=status, failing=failing, parked_at=now, retry_at=retry_at)
    return _not_taken("parked", data, now)


def undeliverable(parcel: Parcel, answer: Answer, now: datetime) -> Record:
    """The partner refused the parcel's one notice."""
    status = answer.attempt.status or 0
    data = NoticeUndeliverable(**_alone(parcel, answer), status_code=status, refused_at=now)
    return _not_taken("undeliverable", data, now)


def _not_taken(kind: str, data: NoticeParked | NoticeUndeliverable, now: datetime) -> Record:
    # Issued again, it may not be taken again, at another place.
    identity = ids.derive(kind, data.notice_id, str(data.lane), str(data.offset))
    return record(UNDELIVERABLE.name, Envelope(identity, now, data))


def suspended(partner: Partner, answer: Answer, reason: str, now: datetime) -> Record:
    """The partner gets nothing until an operator has had a look."""
    data = PartnerSuspended(
        partner=partner.id,
        revision=partner.revision,
        reason=reason[:500],
        status_code=answer.attempt.status,
        suspended_at=now,
    )
    identity = ids.derive("suspended", partner.id, str(partner.revision))
    return record(PARTNERS.name, Envelope(identity, now, data))


def acknowledged(parcel: Parcel, items: Sequence[ReplyItem], now: datetime) -> list[Record]:
    """What a reply says of the parcel's notices, each thing once."""
    if not items:
        return []
    sent = {notice.id: notice for notice in parcel.notices}
    partner = parcel.batch.partner
    said = {meant.id: meant for item in items for meant in (_meant(partner, sent[item.id], item),)}
    return [_replied(partner, part, now) for part in _in_parts(said.values())]


def _in_parts(items: Iterable[AcknowledgedItem]) -> Iterator[tuple[AcknowledgedItem, ...]]:
    """In order, no more in one record than it may hold."""
    part: list[AcknowledgedItem] = []
    size = 0
    for item in items:
        weight = _weight(item)
        if part and (len(part) == _MOST_ITEMS or size + weight > _MOST_BYTES):
            yield tuple(part)
            part, size = [], 0
        part.append(item)
        size += weight
    if part:
        yield tuple(part)


def _weight(item: AcknowledgedItem) -> int:
    """Bytes of it as JSON, at the most."""
    texts = len(item.subject) + len(item.detail or "") + len(item.code or "")
    return _OTHERS + _LETTER * texts + (0 if item.evidence is None else len(orjson.dumps(item.evidence)))


def _replied(partner: str, items: tuple[AcknowledgedItem, ...], now: datetime) -> Record:
    data = _acknowledged(partner=partner, occurred_at=now, items=items)
    identity = ids.derive("replied", *(item.id for item in items))
    return record(ACKNOWLEDGEMENTS.name, Envelope(identity, now, data))


def complain(parcel: Parcel, reply: Reply, count: int) -> None:
    """Log that replies of this partner were not understood: `count` since the last such line. `reply` is the newest."""
    assert reply.problem is not None  # noqa: S101 - that is why
    which = "a reply was" if count == 1 else f"{count} replies since the last such line were"
    log.warning(
        "partner %s: %s not wholly understood (webhook_id=%s): %s",
        parcel.batch.partner, which, parcel.webhook_id, discreet(reply.problem.reason, parcel),
    )  # fmt: skip


def tell(
    parcel: Parcel,
    answer: Answer,
    attempt: int,
    verdict: AttemptVerdict,
    again: datetime | None,
    reply: Reply = SILENT,
) -> None:
    """The one line."""
    if not attempts.isEnabledFor(logging.INFO):
        return
    batch = parcel.batch
    words = None if answer.attempt.error is None else discreet(answer.attempt.error, parcel)
    attempts.info(
        "partner=%s lane=%d offsets=%d-%d notices=%d webhook_id=%s attempt=%d status=%s outcome=%s duration_ms=%.1f"
        " acknowledged=%d not_understood=%d address=%s next_attempt=%s error=%s",
        batch.partner, batch.lane, parcel.first, parcel.last, parcel.count, parcel.webhook_id, attempt,
        answer.attempt.status or "-", verdict, answer.duration_ms, reply.acknowledged,
        reply.not_understood, answer.address or "-", "-" if again is None else rfc3339(again), _quoted(words),
    )  # fmt: skip


#: Of the id alone, without its kind: what is shorter may be any word.
_SHORTEST_ID = 3
#: Characters of a name whose beginning alone is quoted: what is shorter names nobody.
_SHORTEST_CUT = 8


def discreet(words: str, parcel: Parcel) -> str:
    """What a partner says, for a log, without the subjects that it was asked about: who may read logs may not always
    know them. Partners write them in another letter case, and what they say is quoted on one line and in part."""
    for notice in parcel.notices:
        subject = one_line(notice.subject)
        for name in (subject, subject.partition(":")[2]):
            if len(name) >= _SHORTEST_ID:
                words = _without(words, name)
    return words


def _without(words: str, name: str) -> str:
    """Without a name, be it whole, or cut where a quotation, or all, ends."""
    low, name = _lower(words), _lower(name)
    start = low.find(name[:_SHORTEST_CUT])
    while start >= 0:
        alike = takewhile(lambda letters: letters[0] == letters[1], zip(name, low[start:], strict=False))
        end = start + sum(1 for _ in alike)
        if end - start == len(name) or low[end : end + 1] in ("", "'"):
            words = f"{words[:start]}[subject]{words[end:]}"
            low, end = _lower(words), start + len("[subject]")
        start = low.find(name[:_SHORTEST_CUT], end)
    return words


def _lower(text: str) -> str:
    """In lower case, letter by letter, so that all stays in its place."""
    low = text.lower()
    return low if len(low) == len(text) else text


def _alone(parcel: Parcel, answer: Answer) -> dict[str, Any]:
    """Which notice it was that was sent alone, where it stands, and the partner's words."""
    (notice,) = parcel.notices
    return {
        "partner": parcel.batch.partner,
        "lane": parcel.batch.lane,
        "offset": parcel.first,
        "notice_id": notice.id,
        "subject": notice.subject,
        "detail": _error(answer),
    }


def _common(parcel: Parcel, answer: Answer, attempt: int) -> dict[str, Any]:
    return {
        "partner": parcel.batch.partner,
        "lane": parcel.batch.lane,
        "first_offset": parcel.first,
        "last_offset": parcel.last,
        "attempt": attempt,
        "duration_ms": round(answer.duration_ms, 3),
    }


def _error(answer: Answer) -> str:
    return (answer.attempt.error or "no reason given")[:1000]


def _quoted(text: str | None) -> str:
    if text is None:
        return "-"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")[:300] + '"'


def _meant(partner: str, notice: WrittenNotice, item: ReplyItem) -> AcknowledgedItem:
    status, outcome, reason = _meaning(item, Action(notice.action))
    said: dict[str, Any] = {
        "status": status,
        "outcome": outcome,
        "reason": reason,
        "detail": item.detail,
        "extend": item.extend or None,
        "expected_by": item.expected_by,
        "evidence": item.evidence,
        "vocabulary": item.vocabulary,
        "code": item.code,
        "amends": item.amends or None,
    }
    identity = ids.acknowledgement_id(item.id, partner, *content_of(**said))
    return _item(id=identity, notice_id=item.id, subject=notice.subject, **said)


def _meaning(item: ReplyItem, action: Action) -> Meaning:
    """What a reply means to what was asked. Its short forms, `completed` and `refused` alone, are answers; and an
    outcome of what is not completed, or a reason of what is not refused, says nothing."""
    said = read_as(Meaning(item.status, item.outcome, item.reason), item.vocabulary, item.code, action)
    if said.status is AckStatus.COMPLETED:
        return said._replace(reason=None)
    if said.status is AckStatus.REFUSED:
        return Meaning(said.status, None, said.reason or RefusalReason.OTHER)
    return Meaning(said.status)
