"""Partners with habits, many beside each other in one service, and what Rescind says of each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from agents.webhooks import Answer
from streams.partitioning import partition_of
from streams.topics import SUBJECT_PARTITIONS
from streams.written import WrittenNotice
from tests.support.endpoints import Request, Says, saying
from tests.support.held_time import HeldTimeLoop
from tests.support.service import Service, started
from tests.unit.gateway.pages import Outline

#: Partners that share a service: each needs a lane of its own.
TOGETHER = 16
NOTHING, MINUTE, HOUR, DAY = timedelta(0), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_OUTCOMES = {"erase": "deleted", "stop": "suppressed", "resume": "resumed"}


# -- what users, partners and operators do


@dataclass(frozen=True, slots=True)
class Chooses:
    """Users make a choice; `users` are digits, as all numbers of users here."""

    at: timedelta
    users: str
    choice: str = "opt_out"
    retroactive: bool = True


@dataclass(frozen=True, slots=True)
class Answers:
    """The partner answers by the API: of the notices that have these names what stands in `said`."""

    at: timedelta
    notices: str
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody asks this of the API; `{partner}` in the path is the partner's id."""

    at: timedelta
    method: str
    path: str
    body: Any = None


Event = Chooses | Answers | Operator


@dataclass(frozen=True)
class Seen:
    """What is to be seen of the partner after some time.

    `became` are the notices by what became of them. `state` and `why` are what the API says, and `row` what can
    be read in the dashboard's row, in order."""

    after: timedelta
    became: str
    state: str
    why: str
    row: Sequence[str] = ()


@dataclass(frozen=True)
class Habit:
    """`does` says what the partner does and `endpoint` does it. `sent` is what was sent to it, and what it answered,
    in order; three dots stand for some more of the same kind."""

    does: str
    endpoint: Says
    seen: Sequence[Seen]
    sent: Sequence[str]
    story: Sequence[Event] = ()
    choices: Sequence[Event] = (Chooses(NOTHING, "12345678"),)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return re.sub("[^a-z0-9]+", "-", self.does.lower()).strip("-")

    @property
    def events(self) -> list[Event]:
        return sorted([*self.choices, *self.story], key=lambda event: event.at)


# -- endpoints


def results(request: Request, said: Callable[[WrittenNotice], Mapping[str, Any] | None]) -> Answer:
    """200, with what is said of each notice; None leaves one out."""
    items = [(notice.id, said(notice)) for notice in request.notices]
    return saying(request, *({"id": identity, **item} for identity, item in items if item is not None))


def done(notice: WrittenNotice) -> dict[str, str]:
    return {"status": "completed", "outcome": _OUTCOMES[notice.action]}


def completes(request: Request) -> Answer:
    return results(request, done)


def always(answer: Answer) -> Says:
    return lambda request: answer


def at_first(how_long: timedelta, before: Says, after: Says = completes) -> Says:
    return lambda request: (before if request.after < how_long else after)(request)


def refusing(answer: Answer, is_refused: Callable[[WrittenNotice], bool], otherwise: Says = completes) -> Says:
    """Answers so where such a notice is in the request."""
    return lambda request: answer if any(map(is_refused, request.notices)) else otherwise(request)


def about(users: str) -> Callable[[WrittenNotice], bool]:
    return lambda notice: notice.subject[-1] in users


# -- what is seen


@dataclass
class Sight:
    """What was seen after some time: the partner's row of the API, if it has one, and of the dashboard, in words."""

    became: str
    lag: dict[str, Any] | None
    words: str


@dataclass
class Observed:
    sights: dict[timedelta, Sight] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)


def observe(habits: Sequence[Habit], directory: Path, run: Callable[[Any], Any]) -> dict[str, Observed]:
    """Let the time of each of the habits pass. What was seen of each, by its id."""
    found: dict[str, Observed] = {}
    for start in range(0, len(habits), TOGETHER):
        own = directory / str(start)
        own.mkdir()
        some = [_Partner(habit, number) for number, habit in enumerate(habits[start : start + TOGETHER])]
        run(lambda loop, some=some, own=own: _pass(loop, some, own))
        found |= {each.habit.id: each.observed for each in some}
    return found


async def _pass(loop: HeldTimeLoop, partners: Sequence[_Partner], directory: Path) -> None:
    async with started(loop, directory) as service:
        for partner in partners:
            await partner.register(service)
        began = loop.time()
        for at in sorted({at for partner in partners for at in partner.times()}):
            await service.passed(max(0.001, began + at.total_seconds() - loop.time()))
            for partner in partners:
                await partner.happens(service, at)
            await service.settled()
            page = await service.overview()
            for partner in partners:
                await partner.look(service, at, page)


class _Partner:
    """One in its service. Its users' toggles stand in one partition, so that their order holds."""

    def __init__(self, habit: Habit, number: int) -> None:
        self.habit = habit
        self.name = f"p{number}"
        self.observed = Observed()
        candidates = (f"user:{self.name}-{tries}-" for tries in itertools.count())
        self._subjects = {
            digit: next(
                each + digit
                for each in candidates
                if partition_of((each + digit).encode(), SUBJECT_PARTITIONS) == number % SUBJECT_PARTITIONS
            )
            for digit in "123456789"
        }
        #: By id, as in `e1`: what is asked, and whose user.
        self._names: dict[str, str] = {}

    def times(self) -> set[timedelta]:
        return {event.at for event in self.habit.events} | {seen.after for seen in self.habit.seen}

    async def register(self, service: Service) -> None:
        service.endpoints.says[self.name] = self.habit.endpoint
        fields = {"id": self.name, "name": self.name, "url": f"https://{self.name}.example/", "linger_ms": 0}
        await service.asked("POST", "/v1/partners", fields | {"purposes": [self.name]} | dict(self.habit.fields))

    async def happens(self, service: Service, at: timedelta) -> None:
        for event in self.habit.events:
            if event.at == at:
                await self._happens(service, event)
                await service.settled()

    async def _happens(self, service: Service, event: Event) -> None:
        match event:
            case Chooses():
                now = service.clock().isoformat()
                fields = {"purpose": self.name, "choice": event.choice, "occurred_at": now}
                past = {} if event.choice == "opt_in" else {"retroactive": event.retroactive}
                await service.toggled([{"subject": self._subjects[user]} | fields | past for user in event.users])
            case Answers():
                await self._listed(service)
                ids = {name: identity for identity, name in self._names.items()}
                said = [{"notice_id": ids[name], **event.said} for name in event.notices.split()]
                await service.asked("POST", "/v1/acknowledgements", said, self.name)
            case Operator():
                path, body = event.path.format(partner=self.name), event.body
                if "dead-letters" in path:
                    body = {"partner": self.name} | body
                elif body is not None and "url" in body:
                    body = {"url": f"https://{self.name}.example{body['url']}"}
                await service.asked(event.method, path, body)

    async def look(self, service: Service, at: timedelta, page: str) -> None:
        if at not in {seen.after for seen in self.habit.seen}:
            return
        notices = await self._listed(service)
        by_word: dict[str, list[str]] = {}
        for notice in notices:
            by_word.setdefault(_word(notice), []).append(self._names[notice["id"]])
        became = ", ".join(f"{word} {_joined(sorted(names))}" for word, names in sorted(by_word.items()))
        lag = await service.asked("GET", "/v1/lag")
        row = next((row for row in lag["partners"] if row["partner"] == self.name), None)
        html = re.search(rf'<tr id="p-{self.name}".*?</tr>', page, re.DOTALL)
        self.observed.sent = self._sent(service)
        self.observed.sights[at] = Sight(became, row, "" if html is None else Outline(html[0]).words)

    async def _listed(self, service: Service) -> list[dict[str, Any]]:
        """This partner's notices, in the order in which they were issued. Gives names to those that are new."""
        page = await service.asked("GET", f"/v1/notices?partner={self.name}&limit=100")
        notices: list[dict[str, Any]] = sorted(page["notices"], key=lambda each: (each["issued_at"], each["subject"]))
        for notice in notices:
            if notice["id"] not in self._names:
                name = notice["action"][0] + notice["subject"][-1]
                while name in self._names.values():
                    name += "'"
                self._names[notice["id"]] = name
        return notices

    def _sent(self, service: Service) -> list[str]:
        return [
            _joined([self._names[notice.id] for notice in request.notices])
            + (" again" if any(notice.reminder for notice in request.notices) else "")
            + f" {_answered(answer)}"
            for request, answer in service.endpoints.came.get(self.name, [])
        ]


def _word(notice: Mapping[str, Any]) -> str:
    if notice["parked"]:
        return "parked"
    more = notice["outcome"] or notice["reason"] or notice["cancelled_because"]
    return f"{notice['status']} ({more})" if more not in (None, "deleted", "resumed") else str(notice["status"])


def _joined(names: Sequence[str]) -> str:
    """As in `e1-4 r7`.

    >>> _joined(["e1", "e2", "e3", "r7"])
    'e1-3 r7'
    """
    parts = []
    for _, run in itertools.groupby(
        enumerate(names), lambda each: (each[1][0], ord(each[1][1]) - each[0], each[1][2:])
    ):
        some = [name for _, name in run]
        parts.append(some[0] if len(some) == 1 else f"{some[0][:2]}-{some[-1][1:]}")
    return " ".join(parts)


def _answered(answer: Answer) -> str:
    attempt = answer.attempt
    return str(attempt.status or attempt.fault)


def fits(sent: Sequence[str], expected: Sequence[str]) -> bool:
    """Was that sent, and nothing else but in the place of three dots?"""
    if "..." not in expected:
        return list(sent) == list(expected)
    dots = list(expected).index("...")
    first, last = list(expected[:dots]), list(expected[dots + 1 :])
    return len(sent) > len(first) + len(last) and [*sent[:dots], *sent[len(sent) - len(last) :]] == [*first, *last]


def in_order(words: str, parts: Sequence[str]) -> Iterator[str]:
    """Those of the parts that do not stand in the words, each behind the one before."""
    place = 0
    for part in parts:
        found = words.find(part, place)
        if found < 0:
            yield part
        else:
            place = found + len(part)
