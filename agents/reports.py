"""What is told of attempts: events for the log, and one line for people."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from agents.judging import AttemptVerdict
from agents.parcels import Batch, Parcel
from agents.webhooks import Answer, ReplyItem
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
from streams.records import Record, record
from streams.topics import ACKNOWLEDGEMENTS, DELIVERIES, PARTNERS, UNDELIVERABLE
from streams.trusting import trusted
from streams.vocabulary import FINAL, Meaning, read_as
from streams.written import WrittenNotice

log = logging.getLogger(__name__)
#: What they are made of was validated when it was read, or is computed here.
_delivered, _item, _acknowledged = trusted(BatchDelivered), trusted(AcknowledgedItem), trusted(ReplyAcknowledged)
#: Acknowledgements in one record, so that it does not grow too large whatever they say.
_MOST_ITEMS = 100
#: One line an attempt, `name=value`; no payload, no subject.
attempts = logging.getLogger("rescind.attempts")


def delivered(parcel: Parcel, answer: Answer, attempt: int, now: datetime) -> Record:
    """The partner took the parcel."""
    data = _delivered(
        **_common(parcel, answer, attempt),
        notices=parcel.count,
        webhook_id=parcel.webhook_id,
        status_code=answer.attempt.status or 0,
        delivered_at=now,
        undelivered=parcel.others,
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
    """What the reply says of the parcel's notices, each thing once."""
    if not items:
        return []
    sent = {notice.id: notice for notice in parcel.notices}
    said: dict[str, AcknowledgedItem] = {}
    foreign = 0
    partner = parcel.batch.partner
    for item in items:
        notice = sent.get(item.id)
        if notice is None:
            # A reply speaks for its own batch only; anything else comes by the API, where it is checked.
            foreign += 1
        else:
            meant = _meant(partner, notice, item)
            said[meant.id] = meant
    if foreign:
        log.warning("partner %s acknowledged %d notices that were not in the batch", partner, foreign)
    each = list(said.values())
    return [
        _replied(partner, tuple(each[start : start + _MOST_ITEMS]), now) for start in range(0, len(each), _MOST_ITEMS)
    ]


def _replied(partner: str, items: tuple[AcknowledgedItem, ...], now: datetime) -> Record:
    data = _acknowledged(partner=partner, occurred_at=now, items=items)
    identity = ids.derive("replied", *(item.id for item in items))
    return record(ACKNOWLEDGEMENTS.name, Envelope(identity, now, data))


def tell(parcel: Parcel, answer: Answer, attempt: int, verdict: AttemptVerdict, again: datetime | None) -> None:
    """The one line."""
    if not attempts.isEnabledFor(logging.INFO):
        return
    batch = parcel.batch
    words = None if answer.attempt.error is None else discreet(answer.attempt.error, parcel)
    attempts.info(
        "partner=%s lane=%d offsets=%d-%d notices=%d webhook_id=%s attempt=%d status=%s outcome=%s duration_ms=%.1f"
        " address=%s next_attempt=%s error=%s",
        batch.partner, batch.lane, parcel.first, parcel.last, parcel.count, parcel.webhook_id, attempt,
        answer.attempt.status or "-", verdict, answer.duration_ms, answer.address or "-",
        "-" if again is None else rfc3339(again), _quoted(words),
    )  # fmt: skip


#: Of the id alone, without its kind: what is shorter may be any word.
_SHORTEST_ID = 3


def discreet(words: str, parcel: Parcel) -> str:
    """What a partner says, for a log, without the subjects that it was asked about: who may read logs may not always
    know them."""
    for notice in parcel.notices:
        words = words.replace(notice.subject, "[subject]")
        bare = notice.subject.partition(":")[2]
        if len(bare) >= _SHORTEST_ID:
            words = words.replace(bare, "[subject]")
    return words


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
    working = status is AckStatus.IN_PROGRESS
    said: dict[str, Any] = {
        "status": status,
        "outcome": outcome,
        "reason": reason,
        "detail": item.detail,
        "extend": True if item.extend and working else None,
        "expected_by": item.expected_by if working else None,
        "evidence": item.evidence,
        "vocabulary": item.vocabulary,
        "code": item.code,
        # Without a word why it is an answer like any other: if it differs from the one before, a contradiction.
        "amends": True if item.amends and status in FINAL and (item.detail or "").strip() else None,
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
