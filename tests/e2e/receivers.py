"""Receivers that know nothing of ranks, as real HTTP servers: they drop a notice id that they know, and otherwise do
what comes, in the order in which it comes. No import of ours."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from aiohttp import web

#: A subject and a purpose.
About = tuple[str, str]
OUTCOMES = {"erase": "deleted", "stop": "suppressed", "resume": "resumed"}


@dataclass(frozen=True, slots=True)
class Word:
    """A notice, as far as a receiver cares."""

    id: str
    toggle: str
    subject: str
    purpose: str
    action: str
    rank: str | None

    @property
    def about(self) -> About:
        return self.subject, self.purpose


@dataclass(frozen=True, slots=True)
class Conduct:
    """What a receiver does with one request. With a status of None it closes the connection instead of an answer."""

    takes: bool = True
    status: int | None = 200
    #: Does its answer say what became of each notice?
    replies: bool = True
    #: Ids of notices that it takes note of, refuses and does not obey.
    refuses: frozenset[str] = frozenset()
    #: Seconds between taking and answering.
    thinks: float = 0.0


Habit = Callable[[Sequence[Word]], Conduct]


@dataclass(slots=True)
class Request:
    """One that came."""

    words: tuple[Word, ...]
    conduct: Conduct
    #: Did it carry a notice that was answered 2xx before?
    repeats: bool = False
    #: Was it answered 2xx, and something in it came once more afterwards?
    forgotten: bool = False


@dataclass(slots=True)
class Received:
    """A receiver's side of the story."""

    requests: list[Request] = field(default_factory=list)
    #: By id, in the order in which they first came.
    seen: dict[str, Word] = field(default_factory=dict)
    #: By id, in the order in which they were first taken.
    taken: dict[str, Word] = field(default_factory=dict)
    #: What was obeyed last.
    held: dict[About, Word] = field(default_factory=dict)
    #: By notice's id the last request that it came in and that was answered 2xx: the answer went out.
    answered: dict[str, Request] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        """Requests with something that was answered 2xx before."""
        return sum(request.repeats for request in self.requests)

    @property
    def forgotten(self) -> int:
        """Requests that were answered 2xx, and came once more. One may come once more as several."""
        return sum(request.forgotten for request in self.requests)

    def come(self, words: tuple[Word, ...], conduct: Conduct) -> tuple[Request, list[Word]]:
        """A request, and what of it was not taken before."""
        request = Request(words, conduct)
        self.requests.append(request)
        for word in words:
            self.seen.setdefault(word.id, word)
            if (before := self.answered.get(word.id)) is not None:
                request.repeats = before.forgotten = True
        if not conduct.takes:
            return request, []
        fresh = [word for word in words if word.id not in self.taken]
        for word in fresh:
            self.taken[word.id] = word
            if word.id not in conduct.refuses:
                self.held[word.about] = word
        return request, fresh

    def story(self, about: About) -> list[str]:
        """What came about a subject and a purpose."""
        return [
            f"request {number}: {word.action} {word.toggle} -> {'taken' if request.conduct.takes else 'not taken'},"
            f" {request.conduct.status or 'closed'}"
            for number, request in enumerate(self.requests)
            for word in request.words
            if word.about == about
        ]


class Receiver:
    """`open`, register its `url`, let it know its `service` with its `key` if it acknowledges later, `close`."""

    def __init__(self, habit: Habit, *, answers_after: float | None = None) -> None:
        self.received = Received()
        #: May be changed at any time.
        self.habit = habit
        #: What to do, once, at the next such moment of a request: when it was read and taken, if it is, and when the
        #: answer went out.
        self.at: dict[Literal["read", "answered"], Callable[[], None]] = {}
        self.url = ""
        self._answers_after = answers_after
        self._runner: web.AppRunner | None = None
        self._due: asyncio.Queue[tuple[float, list[Word]]] = asyncio.Queue()
        self._answering: asyncio.Task[None] | None = None

    async def open(self) -> None:
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_post("/", self._request)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    def know(self, service: str, key: str) -> None:
        if self._answers_after is not None:
            self._answering = asyncio.create_task(self._answer_later(service, key))

    async def close(self) -> None:
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait([self._answering])
        if self._runner is not None:
            await self._runner.cleanup()

    async def _request(self, request: web.Request) -> web.StreamResponse:
        words = _words(await request.read())
        conduct = self.habit(words)
        came, fresh = self.received.come(words, conduct)
        if self._answers_after is not None and fresh:
            self._due.put_nowait((asyncio.get_running_loop().time() + self._answers_after, fresh))
        self.at.pop("read", _nothing)()
        await asyncio.sleep(conduct.thinks)
        if conduct.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        response = web.Response(status=conduct.status)
        if conduct.replies and conduct.status < 300:
            response.text = json.dumps({"results": [_result(word, conduct) for word in words]})
            response.content_type = "application/json"
        # By hand, to know that it went out: whoever asked may be dead by now.
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            return response
        if conduct.status < 300:
            self.received.answered |= {word.id: came for word in words}
        self.at.pop("answered", _nothing)()
        return response

    async def _answer_later(self, service: str, key: str) -> None:
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as client:
            while True:
                due, words = await self._due.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                said = [
                    {"notice_id": word.id, "status": "completed", "outcome": OUTCOMES[word.action]} for word in words
                ]
                await _until_taken(client, f"{service}/v1/acknowledgements", said)


async def _until_taken(client: httpx.AsyncClient, url: str, said: list[dict[str, str]]) -> None:
    while True:
        try:
            answer = await client.post(url, json=said)
        except httpx.TransportError:
            pass  # it is dead just now
        else:
            if answer.is_success:
                return
            assert answer.status_code >= 500, answer.text
        await asyncio.sleep(0.2)


def _nothing() -> None: ...


def _words(body: bytes) -> tuple[Word, ...]:
    events: Any = json.loads(body)
    return tuple(
        Word(event["id"], data["toggle_id"], data["subject"], data["purpose"], data["action"], data.get("rank"))
        for event in (events if isinstance(events, list) else [events])
        for data in [event["data"]]
    )


def _result(word: Word, conduct: Conduct) -> dict[str, str]:
    if word.id in conduct.refuses:
        return {"id": word.id, "status": "refused", "reason": "legal_hold"}
    return {"id": word.id, "status": "completed", "outcome": OUTCOMES[word.action]}


# -- habits


def honest(words: Sequence[Word]) -> Conduct:
    return Conduct()


def acknowledges_later(words: Sequence[Word]) -> Conduct:
    return Conduct(replies=False)


def slow(words: Sequence[Word]) -> Conduct:
    return Conduct(thinks=0.7)


def busy(chance: random.Random, share: float = 0.5) -> Habit:
    """It answers 503 for that share of requests, in fits, as whoever is overloaded does."""
    fit = 0

    def habit(words: Sequence[Word]) -> Conduct:
        nonlocal fit
        if fit == 0 and chance.random() < share:
            fit = chance.randint(1, 4)
        if fit:
            fit -= 1
            return Conduct(takes=False, status=503)
        return Conduct()

    return habit


def closes(chance: random.Random, share: float = 0.4) -> Habit:
    """It closes the connection, that often, after it took what came."""

    def habit(words: Sequence[Word]) -> Conduct:
        return Conduct(status=None) if chance.random() < share else Conduct()

    return habit


def refuses(cannot: Callable[[str], bool], will_not: Callable[[str], bool]) -> Habit:
    """A request with a subject that it cannot read it answers 400, or 422 if it is that one alone; a subject that it
    will not delete is refused in the reply."""

    def habit(words: Sequence[Word]) -> Conduct:
        if any(cannot(word.subject) for word in words):
            return Conduct(takes=False, status=422 if len(words) == 1 else 400)
        return Conduct(refuses=frozenset(word.id for word in words if will_not(word.subject)))

    return habit
