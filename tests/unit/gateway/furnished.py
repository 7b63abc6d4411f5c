"""A gateway with partners in every state and a month behind them, over HTTP for a browser."""

from __future__ import annotations

import base64
import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from gateway import listening
from ledger import Role
from streams.cloudevents import Envelope
from streams.events import (
    Acknowledged,
    AckStatus,
    BatchDelivered,
    BatchFailed,
    ConsentChanged,
    ConsentToggled,
    DeletionRequested,
    MessagePoisoned,
    Notice,
    NoticesIssued,
    NoticeUndeliverable,
    Outcome,
    PartnerRegistered,
    RefusalReason,
    ReplyProblem,
)
from streams.kinds import Action, Choice
from streams.records import record
from streams.sealing import Sealer
from streams.topics import (
    ACKNOWLEDGEMENTS,
    DECISIONS,
    DELIVERIES,
    NOTICES,
    PARTNERS,
    POISONED,
    TOGGLES,
    UNDELIVERABLE,
)
from tests.unit.gateway.harness import NOON, Gateway, gateway_in

HOUR = timedelta(hours=1)
SUBJECT = "blog:staff.example.com"


@dataclass(frozen=True)
class Part:
    """How a partner does. Of its notices, it answers but the last `behind` hours; `lag` is in minutes."""

    id: str
    name: str
    state: str
    lag: float = 2.0
    behind: int = 0
    takes: bool = True
    failures: int = 0
    words: str = ""
    status: str = "active"
    reason: str | None = None
    complete_within: timedelta = timedelta(days=30)
    rate: int = 6
    #: Hours that nothing came of late.
    quiet: int = 0
    #: How its reply to every seventh request, and to that of the last hour, begins, which is not understood.
    unclear: str = ""


CAST = (
    Part("aleph", "Aleph Labs", "OK", lag=0.4),
    Part("borealis", "Borealis AI", "OK", lag=11, behind=2, rate=9),
    Part("halcyon", "Halcyon Datasets", "OK", rate=0),
    Part(
        "cinder",
        "Cinder & Co <Research>",
        "WARN",
        lag=240,
        behind=5,
        failures=1,
        words="HTTP 503: busy, come again",
        unclear='{"results":{"n-cinder-0111-0":"<b>done</b>","subject":"user:77","' + "trace" * 20 + '":1}}',
    ),
    Part("delta", "Delta Corpus", "STALL", lag=95, behind=30, quiet=6, complete_within=timedelta(hours=25)),
    Part("ember", "Ember Search", "STOP", behind=9, takes=False, failures=7, words="cannot connect: refused"),
    Part("fathom", "Fathom Models", "STOP", lag=30, behind=6, status="paused"),
    Part("gale", "Gale Archive", "STOP", behind=3, takes=False, status="suspended", reason="HTTP 410: we are closed"),
)


@dataclass
class Furnished:
    """A browser may come to `url`."""

    gateway: Gateway
    url: str

    @property
    def operator_key(self) -> str:
        return self.gateway.key(Role.OPERATOR)


@asynccontextmanager
async def furnished(
    directory: Path, cast: Sequence[Part] = CAST, hours: int = 24 * 9, **changes: Any
) -> AsyncIterator[Furnished]:
    sealer = Sealer(Fernet.generate_key().decode())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with gateway_in(directory, sealer=sealer, catch_up=2.0, **changes) as gateway:
            gateway.log.projecting = False
            for lane, part in enumerate(cast):
                move_in(gateway, sealer, part, lane, hours)
            if cast:
                of_one_subject(gateway, cast[0].id)
                # Whoever has any is no longer OK.
                dead_letters(gateway, next((part for part in cast if part.state == "WARN"), cast[0]).id)
            gateway.log.project()
            gateway.log.projecting = True
            async with listening(gateway.app, listener) as url:
                yield Furnished(gateway, url)


def move_in(gateway: Gateway, sealer: Sealer, part: Part, lane: int, hours: int) -> None:
    dice = random.Random(part.id)
    partner = PartnerRegistered.model_validate(
        {
            "id": part.id,
            "name": part.name,
            "url": f"https://hooks.{part.id}.example/rescind",
            "purposes": ("ai-training",),
            "lane": lane % 32,
            "secrets": [{"scheme": "v1", "sealed": sealer.seal("whsec_" + base64.b64encode(b"x" * 24).decode())}],
            "status": part.status,
            "status_reason": part.reason,
            "created_at": NOON - hours * HOUR,
            "updated_at": NOON - hours * HOUR,
        }
    )
    gateway.log.put([record(PARTNERS.name, Envelope(f"registered-{part.id}", partner.created_at, partner))])
    for hour in range(hours, part.quiet, -1):
        by_day = 2 if (NOON - hour * HOUR).hour in range(8, 20) else 1
        if count := dice.randint(0, part.rate) * by_day:
            answered = hour > part.behind
            an_hour(gateway, part, lane % 32, NOON - hour * HOUR, count, dice, answered=answered)
    fail(gateway, part, lane % 32)


def an_hour(
    gateway: Gateway, part: Part, lane: int, at: datetime, count: int, dice: random.Random, *, answered: bool
) -> None:
    """What comes in an hour, and what becomes of it."""
    notices = tuple(
        Notice(
            id=f"n-{part.id}-{at:%d%H}-{number}",
            cause_id=f"c-{at:%d%H}-{number}",
            toggle_id=f"t-{at:%d%H}-{number}",
            action=dice.choice((Action.ERASE, Action.ERASE, Action.STOP)),
            subject=f"user:{dice.randrange(10**6)}",
            purpose="ai-training",
            occurred_at=at,
            issued_at=at,
            receive_by=at + 24 * HOUR,
            complete_by=at + part.complete_within,
        )
        for number in range(count)
    )
    pack = NoticesIssued(partner=part.id, lane=lane, notices=notices)
    (position,) = gateway.log.put([record(NOTICES.name, Envelope(f"p-{part.id}-{at:%d%H}", at, pack), lane)])
    if not part.takes and not answered:
        return
    taken = at + timedelta(seconds=dice.uniform(0.05, 3))
    data = BatchDelivered(
        partner=part.id, lane=lane, first_offset=position.offset, last_offset=position.offset, notices=count,
        webhook_id=f"msg_{part.id}_{position.offset}", attempt=1, status_code=200, duration_ms=dice.uniform(20, 400),
        delivered_at=taken, **replied(part, count, unclear=at == NOON - HOUR or position.offset % 7 == 0),
    )  # fmt: skip
    gateway.log.put([record(DELIVERIES.name, Envelope(f"d-{part.id}-{position.offset}", taken, data))])
    if not answered:
        return
    for notice in notices:
        refuses = dice.random() < 0.04
        then = min(NOON, taken + timedelta(minutes=part.lag * dice.lognormvariate(0, 0.8)))
        said = Acknowledged(
            notice_id=notice.id, partner=part.id, subject=notice.subject, occurred_at=then, via="api",
            status=AckStatus.REFUSED if refuses else AckStatus.COMPLETED,
            outcome=None if refuses else (Outcome.DELETED if notice.action is Action.ERASE else Outcome.SUPPRESSED),
            reason=dice.choice((RefusalReason.LEGAL_HOLD, RefusalReason.EXEMPT)) if refuses else None,
        )  # fmt: skip
        gateway.log.put([record(ACKNOWLEDGEMENTS.name, Envelope(f"a-{notice.id}", then, said))])


def replied(part: Part, count: int, *, unclear: bool) -> dict[str, Any]:
    """What a reply to so many notices said; `unclear` where its partner ever is."""
    if not (unclear and part.unclear):
        return {"acknowledged": count - count // 5}
    problem = ReplyProblem(reason="`results` is an object, and not a list", excerpt=part.unclear)
    return {"acknowledged": 0, "not_understood": count, "reply_problem": problem}


def fail(gateway: Gateway, part: Part, lane: int) -> None:
    for attempt in range(1, part.failures + 1):
        at = NOON - timedelta(minutes=2 ** (part.failures - attempt))
        data = BatchFailed(
            partner=part.id, lane=lane, first_offset=900, last_offset=900, notices=40, webhook_id=f"msg_{part.id}_900",
            attempt=attempt, status_code=503 if "503" in part.words else None, error=part.words,
            duration_ms=12, failed_at=at, next_attempt_at=NOON + timedelta(minutes=4),
        )  # fmt: skip
        gateway.log.put([record(DELIVERIES.name, Envelope(f"f-{part.id}-{attempt}", at, data))])


def of_one_subject(gateway: Gateway, partner: str) -> None:
    """A story of which all can be seen on the subject's page."""
    at = NOON - 3 * HOUR
    toggled = ConsentToggled(
        subject=SUBJECT, purpose="ai-training", choice=Choice.OPT_OUT, occurred_at=at, source="/blogs", retroactive=True
    )
    decided: dict[str, Any] = {
        "subject": SUBJECT, "purpose": "ai-training", "toggle_id": "t-story", "occurred_at": at, "accepted_at": at,
    }  # fmt: skip
    changed = ConsentChanged(**decided, choice=Choice.OPT_OUT, retroactive=True)
    wanted = DeletionRequested(**decided)
    notice = Notice(
        id="n-story", cause_id="r-story", toggle_id="t-story", action=Action.ERASE, subject=SUBJECT,
        purpose="ai-training", occurred_at=at, issued_at=at, receive_by=at + 24 * HOUR, complete_by=at + 720 * HOUR,
    )  # fmt: skip
    pack = NoticesIssued(partner=partner, lane=0, notices=(notice,))
    said = Acknowledged(
        notice_id="n-story", partner=partner, subject=SUBJECT, status=AckStatus.COMPLETED, outcome=Outcome.DELETED,
        occurred_at=at + HOUR, via="callback",
    )  # fmt: skip
    for topic, identity, after, data, lane in (
        (TOGGLES, "t-story", 0, toggled, None),
        (DECISIONS, "c-story", 0, changed, None),
        (DECISIONS, "r-story", 0, wanted, None),
        (NOTICES, "p-story", 0, pack, 0),
        (ACKNOWLEDGEMENTS, "a-story", 60, said, None),
    ):
        gateway.clock.now = at + timedelta(minutes=after)
        gateway.log.put([record(topic.name, Envelope(identity, gateway.clock.now, data), lane)])
    gateway.clock.now = NOON


def dead_letters(gateway: Gateway, partner: str) -> None:
    """Two of theirs, and two of ours."""
    at = NOON - 2 * HOUR
    notices = tuple(
        Notice(
            id=f"n-dead-{number}", cause_id="c", toggle_id="t", action=Action.ERASE, subject=f"user:dead-{number}",
            purpose="ai-training", occurred_at=at, issued_at=at, receive_by=at + 24 * HOUR, complete_by=at + 720 * HOUR,
        )
        for number in (1, 2)
    )  # fmt: skip
    pack = NoticesIssued(partner=partner, lane=0, notices=notices)
    (position,) = gateway.log.put([record(NOTICES.name, Envelope("p-dead", at, pack), 0)])
    for notice in notices:
        data = NoticeUndeliverable(
            partner=partner, lane=0, offset=position.offset, notice_id=notice.id, subject=notice.subject,
            status_code=422, detail="HTTP 422: <b>who</b> is that?", refused_at=at,
        )  # fmt: skip
        gateway.log.put([record(UNDELIVERABLE.name, Envelope(f"u-{notice.id}", at, data))])
    for number in (1, 2):
        value = base64.b64encode(b'{"specversion": "0.3", "subject": "user:%d"}' % number).decode()
        poison = MessagePoisoned(
            topic=TOGGLES.name, partition=0, offset=number, reason="specversion: must be 1.0", value_base64=value,
            poisoned_at=at,
        )  # fmt: skip
        gateway.log.put([record(POISONED.name, Envelope(f"x-{number}", at, poison))])
