"""What becomes of notices that were issued again, for whoever waits for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rescind.client import MOST

#: What became of it, in words, in the order in which it is told.
_WORDS = {
    "taken": "taken",
    "refused": "refused again",
    "parked": "not taken, and tried again later",
    "cancelled": "cancelled meanwhile",
    "waiting": "still waiting",
}
#: Those that an operator has to look at once more.
FAILED = frozenset({"refused", "parked"})
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0

Outcome = dict[str, Any]


def outcomes(
    ask: Callable[[Sequence[dict[str, Any]]], Sequence[Outcome]],
    issued: Sequence[dict[str, Any]],
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """What became of each, once all is known or so many seconds are over: `notice_id`, `outcome` and `words`. `ask`
    tells it of up to `MOST` of them; only those that still wait are asked for again."""
    found: dict[str, Outcome] = {place["notice_id"]: _waiting(place["notice_id"]) for place in issued}
    deadline, delay = monotonic() + seconds, _FIRST_DELAY
    while True:
        waiting = [place for place in issued if found[place["notice_id"]]["outcome"] == "waiting"]
        for start in range(0, len(waiting), MOST):
            found |= {each["notice_id"]: each for each in ask(waiting[start : start + MOST])}
        left = deadline - monotonic()
        if left <= 0 or not any(each["outcome"] == "waiting" for each in found.values()):
            return list(found.values())
        sleep(min(delay, left))
        delay = min(delay * 2, _LONGEST_DELAY)


def in_short(told: Sequence[Outcome]) -> str:
    """How many became what."""
    counts = Counter(each["outcome"] for each in told)
    return ", ".join(f"{counts[outcome]:,} {words}" for outcome, words in _WORDS.items() if counts[outcome])


def not_taken(told: Sequence[Outcome]) -> list[Outcome]:
    """Those of which there is something to read: they failed, or wait for a partner that takes nothing."""
    return [each for each in told if each["outcome"] in FAILED or (each["outcome"] == "waiting" and each.get("words"))]


def in_words(outcome: Outcome) -> str:
    """One that was not taken, on a line."""
    what = _WORDS.get(outcome["outcome"], str(outcome["outcome"]))
    return f"{outcome['notice_id']}: {what}: {outcome.get('words') or 'no reason given'}"


def _waiting(notice: str) -> Outcome:
    return {"notice_id": notice, "outcome": "waiting", "words": None, "retry_at": None}
