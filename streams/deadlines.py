"""What travels about deadlines that come near or pass, and about operators who are told of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from streams.events import Data, Offset
from streams.moments import Moment
from streams.names import EventId, PartnerId


class Deadline(StrEnum):
    """Which of a notice's deadlines."""

    RECEIVE = "receive"
    COMPLETE = "complete"
    EXTENDED = "extended"  #: `extended_complete_by`, in the place of `complete_by`


class Step(StrEnum):
    """How near it is."""

    REMINDER_1 = "reminder_1"
    REMINDER_2 = "reminder_2"
    REMINDER_3 = "reminder_3"
    AT_RISK = "at_risk"
    BREACHED = "breached"


REMINDERS = (Step.REMINDER_1, Step.REMINDER_2, Step.REMINDER_3)


class Told(StrEnum):
    """What became of a message to operators."""

    SENT = "sent"
    FAILED = "failed"  #: nobody got it
    UNSURE = "unsure"  #: it was sent, and there was no answer


class DeadlineReached(Data):
    """Open notices of one partner have come to a step of a deadline. What several ledgers say of a notice and a step,
    the first of them says. A reminder is sent by whose word was the first, for those that were delivered."""

    TYPE: ClassVar[str] = "io.rescind.deadline.reached"
    partner: PartnerId
    deadline: Deadline
    step: Step
    notices: tuple[EventId, ...] = Field(min_length=1, max_length=1000)
    reached_at: Moment

    def key(self) -> str:
        return self.partner


class EscalationClaimed(Data):
    """Somebody is about to tell operators, and nobody else will: of all claims to an escalation the first counts.
    `claim` is by whom. It covers what was reached up to an offset of the partner's partition."""

    TYPE: ClassVar[str] = "io.rescind.escalation.claimed"
    escalation: EventId
    claim: EventId
    partner: PartnerId
    deadline: Deadline
    step: Step
    #: Seconds since the step.
    after: Annotated[int, Field(ge=0)]
    #: Which rule of the operator's, and where its messages go, without what opens the door there.
    rule: EventId
    target: Annotated[str, Field(max_length=320)]
    window: Annotated[int, Field(ge=0)]
    up_to: Offset
    notices: Annotated[int, Field(ge=0)]
    claimed_at: Moment

    def key(self) -> str:
        return self.partner


class EscalationEnded(Data):
    """What became of it. One that was claimed and never ended may have been sent, or not."""

    TYPE: ClassVar[str] = "io.rescind.escalation.ended"
    escalation: EventId
    partner: PartnerId
    outcome: Told
    error: Annotated[str, Field(max_length=1000)] | None = None
    ended_at: Moment

    def key(self) -> str:
        return self.partner
