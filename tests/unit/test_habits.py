"""What becomes of notices whose partner has a habit, and what Rescind says of the partner: a table.

Each row runs through the whole service, in held time: the platform's toggles come in by the API, the agents act, the
partner's endpoint answers as the row says. `e1` is the notice that asks to erase user 1, `s1` to stop, `r1` to resume;
`e1'` is a second one about the same user. Partners have 24 hours to take a notice and 30 days to complete it, except
where a row says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rescind.cli import main
from tests.support.endpoints import CLOSED, NOT_CONNECTED, TAKEN, TIMED_OUT, Request, status
from tests.support.habits import (
    DAY,
    HOUR,
    MINUTE,
    NOTHING,
    Answers,
    Chooses,
    Habit,
    Observed,
    Operator,
    Seen,
    about,
    always,
    at_first,
    completes,
    done,
    fits,
    in_order,
    observe,
    refusing,
    results,
)
from tests.support.held_time import run
from tests.unit.cli.fakes import Answer as HttpAnswer
from tests.unit.cli.fakes import FakeService, serving

DELETED = {"status": "completed", "outcome": "deleted"}
SUPPRESSED = {"status": "completed", "outcome": "suppressed"}
EXEMPT = {"status": "refused", "reason": "exempt"}
#: One hour to take a notice, and ten to complete it.
HASTY = {"receive_within": "PT1H", "complete_within": "PT10H"}


def patch(at: Any, **fields: Any) -> Operator:
    return Operator(at, "PATCH", "/v1/partners/{partner}", fields)


def no_larger(most: int, answer: Any) -> Any:
    return lambda request: completes(request) if len(request.notices) <= most else answer


def at_new_url(request: Request) -> Any:
    return completes(request) if request.url.endswith("/new") else status(400)


ALL = "e1 e2 e3 e4 e5 e6 e7 e8"
FINE, EMPTY = "nothing is late, at risk or failing", "nothing is open"
ALL_WAIT = "attempts in a row failed, and 8 notices wait"
ALL_LATE = "8 erase notices are past complete-by"
ONE_UNDELIVERABLE = "1 notice is undeliverable"
#: What a partner's row says where no attempt failed that tells anything of the partner.
WELL = "no failures"
#: The exit codes of `rescind status` and of `rescind status --strict` where a partner is in this state; empty where it
#: stands on no board.
EXITS = {"": (0, 0), "OK": (0, 0), "WARN": (0, 1), "STALL": (1, 1), "STOP": (1, 1)}

# fmt: off
HABITS = (
    # -- well
    Habit(
        "takes everything and answers at once",
        completes,
        sent=("e1-8 200",),
        seen=(
            Seen(
                MINUTE, "completed e1-8", "OK", EMPTY,
                ("OK", WELL, "answers: 100 % in time"),
            ),
        ),
    ),
    Habit(
        "takes everything with 202 and answers by the API the next day",
        always(status(202)),
        story=(Answers(DAY, ALL, DELETED),),
        sent=("e1-8 202",),
        seen=(
            Seen(HOUR, "delivered e1-8", "OK", FINE, ("OK", "8", "of 30 d to complete")),
            Seen(2 * DAY, "completed e1-8", "OK", EMPTY, ("OK", "answers: 100 % in time")),
        ),
    ),
    Habit(
        "is slow, and done in time",
        always(TAKEN),
        story=(Answers(29 * DAY, ALL, DELETED),),
        sent=("e1-8 200", "e1-8 again 200", "e1-8 again 200"),
        seen=(
            Seen(23 * DAY, "delivered e1-8", "OK", FINE, ("OK", "of 30 d to complete")),
            Seen(
                25 * DAY, "delivered e1-8", "WARN",
                "8 erase notices are at risk: 83 % of the time to complete is gone, and nothing was answered",
                ("WARN", "83 % of the time to complete is gone", "8 at risk", WELL),
            ),
            Seen(29 * DAY + HOUR, "completed e1-8", "OK", EMPTY, ("OK", "answers: 100 % in time")),
        ),
    ),
    Habit(
        "refuses one of eight with a reason",
        lambda request: results(request, lambda notice: EXEMPT if about("3")(notice) else done(notice)),
        sent=("e1-8 200",),
        seen=(
            Seen(
                MINUTE, "completed e1-2 e4-8, refused (exempt) e3", "OK", EMPTY,
                ("OK", "answers: 100 % in time, 12 % refused"),
            ),
        ),
    ),
    # -- answers
    Habit(
        "answers 200 with an empty body and never says more",
        always(TAKEN),
        sent=("e1-8 200", "e1-8 again 200", "e1-8 again 200"),
        seen=(
            Seen(23 * DAY, "delivered e1-8", "OK", FINE, ("OK", "8", WELL)),
            Seen(
                0.86 * 30 * DAY, "delivered e1-8", "WARN",
                "8 erase notices are at risk: 86 % of the time to complete is gone, and nothing was answered",
                ("WARN", "86 % of the time", "8 at risk"),
            ),
            Seen(
                31 * DAY, "delivered e1-8", "STALL",
                "8 erase notices are past complete-by, and no overdue one was answered in the last 36 hours",
                ("STALL", ALL_LATE, "of 30 d to complete", WELL),
            ),
        ),
    ),
    Habit(
        "answers 200 with an empty body, has short clocks, and goes on to be asked",
        always(TAKEN),
        fields={"receive_within": "PT5S", "complete_within": "PT10S"},
        story=(Chooses(30 * MINUTE, "9"),),
        sent=("e1-8 200", "e9 200"),
        seen=(
            Seen(
                30 * MINUTE, "delivered e1-9", "STALL",
                "8 erase notices are past complete-by, and no overdue one was answered in the last hour",
                ("STALL", "of 10 s to complete"),
            ),
        ),
    ),
    Habit(
        "says received, and no more",
        lambda request: results(request, lambda notice: {"status": "received"}),
        sent=("e1-8 200", "e1-8 again 200", "..."),
        seen=(
            Seen(MINUTE, "received e1-8", "OK", FINE, ("OK", "8")),
            Seen(31 * DAY, "received e1-8", "STALL", ALL_LATE, ("STALL", "of 30 d")),
        ),
    ),
    Habit(
        "promises a day, and lets it pass",
        lambda request: results(
            request, lambda notice: {"status": "in_progress", "expected_by": "2026-01-10T00:00:00Z"}
        ),
        sent=("e1-8 200", "e1-8 again 200", "..."),
        seen=(
            Seen(10 * DAY, "in_progress e1-8", "OK", FINE, ("OK", "8")),
            Seen(31 * DAY, "in_progress e1-8", "STALL", ALL_LATE, ("STALL", "of 30 d")),
        ),
    ),
    Habit(
        "answers late",
        always(TAKEN),
        story=(Answers(32 * DAY, ALL, DELETED),),
        sent=("e1-8 200", "e1-8 again 200", "..."),
        seen=(
            Seen(31 * DAY, "delivered e1-8", "STALL", ALL_LATE, ("STALL", "of 30 d")),
            Seen(
                32 * DAY + HOUR, "completed e1-8", "WARN", "100 % late, of 8 answers to erase notices in the last day",
                ("WARN", "100 % late", "answers: 0 % in time, 100 % late"),
            ),
            Seen(34 * DAY, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "answers a few late, and then none",
        always(TAKEN),
        story=(Answers(DAY, "e1 e2 e3", DELETED), Answers(31 * DAY, "e4 e5", DELETED)),
        sent=("e1-8 200", "e4-8 again 200", "..."),
        seen=(
            Seen(
                31 * DAY + HOUR, "completed e1-5, delivered e6-8", "WARN",
                "3 erase notices are past complete-by; overdue ones were answered in the last 36 hours",
                ("WARN", "3 erase notices are past complete-by", "answers: 0 % in time, 100 % late"),
            ),
            Seen(
                33 * DAY, "completed e1-5, delivered e6-8", "STALL",
                "3 erase notices are past complete-by, and no overdue one was answered in the last 36 hours",
                ("STALL", "of 30 d to complete"),
            ),
        ),
    ),
    Habit(
        "refuses half of what it is asked",
        lambda request: results(request, lambda notice: EXEMPT if about("1234")(notice) else done(notice)),
        sent=("e1-8 200",),
        seen=(
            Seen(
                MINUTE, "completed e5-8, refused (exempt) e1-4", "WARN",
                "50 % refused, of 8 answers to erase notices in the last day",
                ("WARN", "50 % refused", "answers: 100 % in time, 50 % refused"),
            ),
        ),
    ),
    Habit(
        "answers half of a batch",
        lambda request: results(request, lambda notice: done(notice) if about("1234")(notice) else None),
        sent=("e1-8 200", "e5-8 again 200", "..."),
        seen=(
            Seen(
                MINUTE, "completed e1-4, delivered e5-8", "OK", FINE,
                ("OK", "4", "answers: 100 % in time"),
            ),
            Seen(
                31 * DAY, "completed e1-4, delivered e5-8", "STALL", "4 erase notices are past complete-by",
                ("STALL", "4 erase notices"),
            ),
        ),
    ),
    Habit(
        "answers what is fresh while an older notice is overdue",
        refusing(TAKEN, about("1")),
        fields=HASTY,
        choices=tuple(Chooses(hour * HOUR, str(hour + 1)) for hour in range(8)),
        story=(Chooses(11.5 * HOUR, "9"), Answers(12.5 * HOUR, "e1", DELETED)),
        sent=("e1 200", "e2 200", "...", "e9 200"),
        seen=(
            Seen(
                12 * HOUR, "completed e2-9, delivered e1", "STALL",
                "1 erase notice is past complete-by, and no overdue one was answered in the last hour",
                ("STALL", "of 10 h to complete", "answers: 100 % in time"),
            ),
            Seen(
                13 * HOUR, "completed e1-9", "WARN", "11 % late, of 9 answers to erase notices in the last day",
                ("WARN", "answers: 89 % in time, 11 % late"),
            ),
        ),
    ),
    Habit(
        "answers resumed where deletion was asked",
        lambda request: results(request, lambda notice: {"status": "completed", "outcome": "resumed"}),
        sent=("e1-8 200", "e1-8 again 200", "..."),
        seen=(
            Seen(
                MINUTE, "delivered e1-8", "WARN",
                "1 reply was not fully understood: Item 1 says resumed, which is no answer to action erase; 7 more"
                " items cannot be understood either",
                ("WARN", "8"),
            ),
            Seen(31 * DAY, "delivered e1-8", "STALL", ALL_LATE, ("STALL",)),
        ),
    ),
    Habit(
        "contradicts itself",
        completes,
        story=(Answers(HOUR, "e1", EXEMPT),),
        sent=("e1-8 200",),
        seen=(
            Seen(2 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", "1 contradictory answer")),
        ),
    ),
    Habit(
        "says suppressed where deletion was asked",
        lambda request: results(request, lambda notice: SUPPRESSED),
        sent=("e1-8 200", "e1-8 again 200", "..."),
        seen=(
            Seen(MINUTE, "in_progress (suppressed) e1-8", "OK", FINE, ("OK", "8")),
            Seen(31 * DAY, "in_progress (suppressed) e1-8", "STALL", ALL_LATE, ("STALL", "of 30 d to complete")),
        ),
    ),
    Habit(
        "says suppressed where deletion was asked, as its contract lets it",
        lambda request: results(request, lambda notice: SUPPRESSED),
        fields={"suppression_completes": True},
        sent=("e1-8 200",),
        seen=(Seen(MINUTE, "completed (suppressed) e1-8", "OK", EMPTY, ("OK", "answers: 100 % in time")),),
    ),
    Habit(
        "says suppressed where it is asked to stop",
        lambda request: results(request, lambda notice: SUPPRESSED),
        choices=(Chooses(NOTHING, "12345678", retroactive=False),),
        sent=("s1-8 200",),
        seen=(Seen(MINUTE, "completed (suppressed) s1-8", "OK", EMPTY, ("OK", "answers: 100 % in time")),),
    ),
    Habit(
        "says suppressed, and deletes later",
        lambda request: results(request, lambda notice: SUPPRESSED),
        story=(Answers(DAY, ALL, DELETED),),
        sent=("e1-8 200",),
        seen=(Seen(DAY + HOUR, "completed e1-8", "OK", EMPTY, ("OK", "answers: 100 % in time")),),
    ),
    Habit(
        "amends what it said",
        completes,
        story=(Answers(HOUR, "e1", EXEMPT | {"amends": True, "detail": "a legal hold was found"}),),
        sent=("e1-8 200",),
        seen=(Seen(2 * HOUR, "completed e2-8, refused (exempt) e1", "OK", EMPTY, ("OK", WELL)),),
    ),
    Habit(
        "says already deleted, and then deleted",
        lambda request: results(request, lambda notice: DELETED | {"outcome": "already_deleted"}),
        story=(Answers(HOUR, ALL, DELETED),),
        sent=("e1-8 200",),
        seen=(Seen(2 * HOUR, "completed (already_deleted) e1-8", "OK", EMPTY, ("OK", WELL)),),
    ),
    # -- refusals
    Habit(
        "answers 400 to everything",
        always(status(400)),
        sent=("e1-8 400", *(f"e{user} 400" for user in range(1, 9)), "e1 400", "..."),
        seen=(
            Seen(
                MINUTE, "queued e1-8", "STOP", ALL_WAIT,
                ("STOP", "8 notices wait", "of 1 d to receive", "never", "HTTP 400", "in a row, next attempt in"),
            ),
            Seen(2 * DAY, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "of 1 d to receive")),
        ),
    ),
    Habit(
        "answers 400 to everything until it is mended",
        at_first(HOUR, always(status(400))),
        sent=("e1-8 400", "e1 400", "e2 400", "...", "e7 200", "e8 200"),
        seen=(
            Seen(30 * MINUTE, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "HTTP 400")),
            Seen(4 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "answers 400 until its URL is mended",
        at_new_url,
        story=(patch(HOUR, url="/new"),),
        sent=("e1-8 400", "e1 400", "e2 400", "...", "e1-8 200"),
        seen=(
            Seen(30 * MINUTE, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "HTTP 400")),
            Seen(HOUR + MINUTE, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "answers 422 about one user",
        refusing(status(422), about("3")),
        sent=(
            "e1-8 422", "e1 200", "e2-8 422", "e2-5 422", "e2-3 422", "e2 200", "e3 422", "e4-5 200", "e6-8 200",
            *("e3 422",) * 4,
        ),
        seen=(
            Seen(
                5 * MINUTE, "completed e1-2 e4-8, parked e3", "WARN",
                "1 notice is parked, failing while others are taken", ("WARN", "1 notice is parked", WELL, "1 parked"),
            ),
            Seen(
                4 * HOUR, "completed e1-2 e4-8, undeliverable e3", "WARN", ONE_UNDELIVERABLE,
                ("WARN", ONE_UNDELIVERABLE, WELL, "1 undeliverable"),
            ),
            Seen(
                2 * DAY, "completed e1-2 e4-8, undeliverable e3", "STALL",
                "1 erase notice is past receive-by, and no overdue one was taken in the last hour",
                ("STALL", "of 1 d to receive", "1 undeliverable"),
            ),
        ),
    ),
    Habit(
        "answers 422 about one user until it is redriven",
        at_first(5 * HOUR, refusing(status(422), about("3"))),
        story=(Operator(6 * HOUR, "POST", "/v1/dead-letters/undeliverable/redrive", {"all": True}),),
        sent=("e1-8 422", "...", "e3 422", "e3 200"),
        seen=(
            Seen(4 * HOUR, "completed e1-2 e4-8, undeliverable e3", "WARN", ONE_UNDELIVERABLE, ("1 undeliverable",)),
            Seen(7 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", "answers: 100 % in time")),
        ),
    ),
    Habit(
        "answers 422 about one user, who opts in again",
        refusing(status(422), lambda notice: about("3")(notice) and notice.action == "erase"),
        story=(Chooses(5 * HOUR, "3", "opt_in"),),
        sent=("e1-8 422", "...", "e3 422", "r3 200"),
        seen=(
            Seen(4 * HOUR, "completed e1-2 e4-8, undeliverable e3", "WARN", ONE_UNDELIVERABLE, ("1 undeliverable",)),
            Seen(
                6 * HOUR, "cancelled (reversed) e3, completed e1-2 e4-8 r3", "OK", EMPTY,
                ("OK", "answers: 100 % in time"),
            ),
        ),
    ),
    Habit(
        "answers 422 about one user, whom an operator discards",
        refusing(status(422), about("3")),
        story=(
            Operator(5 * HOUR, "POST", "/v1/dead-letters/undeliverable/discard", {"all": True, "reason": "not theirs"}),
        ),
        sent=("e1-8 422", "...", "e3 422"),
        seen=(
            Seen(4 * HOUR, "completed e1-2 e4-8, undeliverable e3", "WARN", ONE_UNDELIVERABLE, ("1 undeliverable",)),
            Seen(6 * HOUR, "cancelled (discarded) e3, completed e1-2 e4-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "answers 422 to resume only",
        refusing(status(422), lambda notice: notice.action == "resume"),
        story=(Chooses(HOUR, "12", "opt_in"), Chooses(2 * HOUR, "9")),
        sent=("e1-8 200", "r1-2 422", "r1 422", "r2 422", "..."),
        seen=(
            # Nothing tells yet whether the endpoint is broken.
            Seen(
                90 * MINUTE, "completed e1-8, queued r1-2", "STOP", "attempts in a row failed, and 2 notices wait",
                ("STOP", "2 notices wait", "HTTP 422"),
            ),
            # Erasures are taken, which does not put the notices at fault.
            Seen(
                3 * HOUR, "completed e1-9, parked r1-2", "WARN", "2 notices are parked, failing while others are taken",
                ("WARN", "2 notices are parked", WELL, "2 parked"),
            ),
            Seen(12 * HOUR, "completed e1-9, parked r1-2", "WARN", "2 notices are parked", ("2 parked",)),
        ),
    ),
    Habit(
        "answers 413 to more than two notices",
        no_larger(2, status(413)),
        sent=("e1-8 413", "e1 200", "e2-8 413", "e2-5 413", "e2-3 200", "e4-5 200", "e6-8 413", "e6-7 200", "e8 200"),
        seen=(Seen(MINUTE, "completed e1-8", "OK", EMPTY, ("OK", WELL)),),
    ),
    # -- one notice at fault
    Habit(
        "answers 404 about one user",
        refusing(status(404), about("3")),
        sent=(
            *("e1-8 404",) * 3, "e1 200", "e2-8 404", "e2-5 404", "e2-3 404", "e2 200", "e3 404", "e4 200",
            "e3 404", "e3 404", "e5 200", "e6-8 200", "e3 404", "...",
        ),
        seen=(
            Seen(
                5 * MINUTE, "completed e1-2 e4-8, parked e3", "WARN",
                "1 notice is parked, failing while others are taken", ("WARN", WELL, "1 parked"),
            ),
            Seen(
                2 * DAY, "completed e1-2 e4-8, parked e3", "STALL",
                "1 erase notice is past receive-by, and no overdue one was taken in the last hour",
                ("STALL", "of 1 d to receive", "1 parked"),
            ),
        ),
    ),
    Habit(
        "answers 500 about one user until it is mended",
        at_first(HOUR, refusing(status(500), about("3"))),
        sent=(
            *("e1-8 500",) * 3, "e1 200", "e2-8 500", "e2-5 500", "e2-3 500", "e2 200", "e3 500", "e4 200",
            "e3 500", "e3 500", "e5 200", "e6-8 200", "...", "e3 200",
        ),
        seen=(
            Seen(30 * MINUTE, "completed e1-2 e4-8, parked e3", "WARN", "1 notice is parked", ("WARN", "1 parked")),
            Seen(4 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "does not answer in time about one user",
        refusing(TIMED_OUT, about("3")),
        sent=(
            *("e1-8 timeout",) * 3, "e1 200", "e2-8 timeout", "e2-5 timeout", "e2-3 timeout", "e2 200", "e3 timeout",
            "e4 200", "e3 timeout", "e3 timeout", "e5 200", "e6-8 200", "...",
        ),
        seen=(
            Seen(
                5 * MINUTE, "completed e1-2 e4-8, parked e3", "WARN",
                "1 notice is parked, failing while others are taken", ("WARN", WELL, "1 parked"),
            ),
        ),
    ),
    Habit(
        "does not answer in time about more than two notices",
        no_larger(2, TIMED_OUT),
        sent=(
            *("e1-8 timeout",) * 3, "e1 200", "e2-8 timeout", "e2-5 timeout", "e2-3 200", "e4-5 200",
            "e6-8 timeout", "e6-7 200", "e8 200",
        ),
        seen=(Seen(5 * MINUTE, "completed e1-8", "OK", EMPTY, ("OK", WELL)),),
    ),
    # -- away
    Habit(
        "is down for an hour, and then well",
        at_first(HOUR, always(status(503))),
        sent=("e1-8 503", "e1-8 503", "e1-8 503", "e1 503", "...", "e7 200", "e8 200"),
        seen=(
            Seen(30 * MINUTE, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "HTTP 503")),
            Seen(3 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "answers 503 and asks for an hour",
        at_first(HOUR, always(status(503, "3600"))),
        sent=("e1-8 503", "e1-8 200"),
        seen=(
            Seen(
                30 * MINUTE, "queued e1-8", "WARN", "the last attempt failed",
                ("WARN", "HTTP 503", "1 in a row, next attempt in"),
            ),
            Seen(3 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "answers 429 and asks for a minute",
        at_first(MINUTE, always(status(429, "60"))),
        sent=("e1-8 429", "e1-8 200"),
        seen=(
            Seen(0.5 * MINUTE, "queued e1-8", "WARN", "the last attempt failed", ("WARN", "HTTP 429")),
            Seen(5 * MINUTE, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "is down until an operator has it tried",
        at_first(HOUR, always(status(503))),
        story=(Operator(61 * MINUTE, "POST", "/v1/partners/{partner}/try"),),
        sent=("e1-8 503", "e1-8 503", "e1-8 503", "e1 503", "...", "e7 200", "e8 200"),
        seen=(
            Seen(59 * MINUTE, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "try now")),
            Seen(61 * MINUTE, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "is down for good",
        always(NOT_CONNECTED),
        sent=("e1-8 connect", "e1-8 connect", "...", "e1-8 connect"),
        seen=(
            Seen(
                MINUTE, "queued e1-8", "STOP", ALL_WAIT,
                ("STOP", "never", "connection refused", "try now"),
            ),
            Seen(31 * DAY, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "of 1 d to receive")),
        ),
    ),
    Habit(
        "answers 302",
        always(status(302)),
        sent=("e1-8 302", "e1-8 302", "...", "e1-8 302"),
        seen=(Seen(HOUR, "queued e1-8", "STOP", ALL_WAIT, ("STOP", "HTTP 302")),),
    ),
    Habit(
        "is away while a user opts out and in again",
        at_first(HOUR, always(status(503))),
        choices=(Chooses(NOTHING, "1"),),
        story=(Chooses(10 * MINUTE, "1", "opt_in"),),
        sent=("e1 503", "...", "r1 503", "r1 200"),
        seen=(
            Seen(
                30 * MINUTE, "cancelled (reversed) e1, queued r1", "STOP",
                "attempts in a row failed, and 1 notice waits",
                ("STOP", "HTTP 503"),
            ),
            Seen(3 * HOUR, "cancelled (reversed) e1, completed r1", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "closes the connection after it took everything, once",
        lambda request: CLOSED if request.number == 1 else completes(request),
        sent=("e1-8 broken", "e1-8 200"),
        seen=(Seen(MINUTE, "completed e1-8", "OK", EMPTY, ("OK", WELL)),),
    ),
    Habit(
        "closes the connection after it took everything, and answers by the API",
        always(CLOSED),
        story=(Answers(2 * HOUR, ALL, DELETED),),
        sent=("e1-8 broken", "e1-8 broken", "...", "e1-8 broken"),
        seen=(
            Seen(
                HOUR, "queued e1-8", "STOP", ALL_WAIT,
                ("STOP", "closed without an answer"),
            ),
            # Nothing is open; but its endpoint would not take the next one.
            Seen(3 * HOUR, "completed e1-8", "WARN", "attempts in a row failed", ("WARN", "answers: 100 % in time")),
        ),
    ),
    # -- not asked
    Habit(
        "answers 410, until an operator resumes it",
        at_first(HOUR, always(status(410))),
        story=(patch(2 * HOUR, status="active"),),
        sent=("e1-8 410", "e1-8 200"),
        seen=(
            Seen(
                30 * MINUTE, "queued e1-8", "STOP", "8 notices are open, and it is suspended",
                ("STOP", "suspended", "HTTP 410"),
            ),
            Seen(3 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", WELL)),
        ),
    ),
    Habit(
        "is paused with work left",
        always(TAKEN),
        story=(patch(HOUR, status="paused"), Chooses(1.5 * HOUR, "9"), patch(3 * HOUR, status="active")),
        sent=("e1-8 200", "e9 200"),
        seen=(
            Seen(
                2 * HOUR, "delivered e1-8, queued e9", "STOP", "9 notices are open, and it is paused",
                ("STOP", "paused", "9 notices are open, and it is paused"),
            ),
            Seen(4 * HOUR, "delivered e1-9", "OK", FINE, ("OK", "9")),
        ),
    ),
    Habit(
        "is paused with nothing left",
        completes,
        story=(patch(HOUR, status="paused"),),
        sent=("e1-8 200",),
        seen=(Seen(2 * HOUR, "completed e1-8", "OK", EMPTY, ("OK", "paused")),),
    ),
    Habit(
        "is suspended by an operator",
        always(TAKEN),
        story=(patch(HOUR, status="suspended", status_reason="under audit"),),
        sent=("e1-8 200",),
        seen=(
            Seen(
                2 * HOUR, "delivered e1-8", "STOP", "8 notices are open, and it is suspended",
                ("STOP", "suspended", "8 notices are open"),
            ),
        ),
    ),
    Habit(
        "is removed with work left",
        always(TAKEN),
        story=(Operator(HOUR, "DELETE", "/v1/partners/{partner}"),),
        sent=("e1-8 200",),
        # What an operator gave up is owed no more, and the partner stands on no board.
        seen=(Seen(2 * HOUR, "cancelled (removed) e1-8", "", ""),),
    ),
)
# fmt: on


ROWS = pytest.mark.parametrize("habit", [pytest.param(habit, id=habit.id) for habit in HABITS])


@pytest.fixture(scope="module")
def observed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Observed]:
    """Of the rows that are to be run."""
    items: list[Any] = request.session.items
    rows = {item.callspec.params["habit"].id: item.callspec.params["habit"] for item in items if _is_row(item)}
    return observe(list(rows.values()), tmp_path_factory.mktemp("habits"), run)


def _is_row(item: Any) -> bool:
    return item.path == Path(__file__) and hasattr(item, "callspec")


@ROWS
def test_what_becomes_of_notices_and_what_is_said_of_the_partner(habit: Habit, observed: dict[str, Observed]) -> None:
    found = observed[habit.id]
    assert fits(found.sent, habit.sent), found.sent
    for seen in habit.seen:
        sight = found.sights[seen.after]
        assert sight.became == seen.became, seen.after
        state, why = ("", "") if sight.lag is None else (sight.lag["state"], sight.lag["reason"])
        assert state == seen.state, (seen.after, why)
        assert seen.why in why
        assert list(in_order(sight.words, seen.row)) == [], sight.words
        # An amended answer is no contradiction.
        assert ("contradictory" in sight.words) == ("contradictory" in "".join(seen.row))


@ROWS
def test_exit_codes_of_status(habit: Habit, observed: dict[str, Observed], capsys: pytest.CaptureFixture[str]) -> None:
    """Where this partner is the only one."""
    service = FakeService()
    with serving(service):
        for seen in habit.seen:
            row = observed[habit.id].sights[seen.after].lag
            lag = {"partners": [] if row is None else [row], "totals": None}
            service.answers["GET", "/v1/lag"] = HttpAnswer(200, lag)
            assert tuple(_exit_code(service, *more) for more in ((), ("--strict",))) == EXITS[seen.state], seen.after
            assert seen.state in capsys.readouterr().out


def _exit_code(service: FakeService, *more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["status", *more, "--url", service.url, "--key", "rsk_operator_1_x"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_rows_have_names_of_their_own() -> None:
    assert len({habit.id for habit in HABITS}) == len(HABITS)
