"""A service that answers as it is told, over real HTTP, and one in memory; both keep what they took."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from rescind.client import ApiError


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """`body` is sent as JSON, or as it stands if it is bytes. Status 0 hangs up without an answer."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class FakeService:
    """Takes toggles; everything else is answered from `answers`, and `next` comes before both."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    next: deque[Answer] = field(default_factory=deque)
    #: Called for each request, before it is answered.
    on_request: Callable[[Asked], None] = lambda asked: None

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        self.on_request(asked)
        if self.next:
            return self.next.popleft()
        if (asked.method, asked.path) == ("POST", "/v1/toggles"):
            self.taken += asked.json
            return Answer(202, {"accepted": len(asked.json), "ids": [toggle.get("id", "new") for toggle in asked.json]})
        return self.answers.get((asked.method, asked.path), Answer(404, problem("there is nothing here")))


def problem(detail: str, *errors: dict[str, Any]) -> dict[str, Any]:
    return {"type": "/problems/x", "title": "X", "detail": detail, "errors": list(errors)}


@contextmanager
def serving(service: FakeService) -> Iterator[FakeService]:
    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.answer(Asked(self.command, self.path, headers, body))
            if answer.status == 0:
                return
            raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-length": str(len(raw)), **answer.headers}.items():
                self.send_header(name, value)
            with suppress(ConnectionError):  # a client that did not wait
                self.end_headers()
                self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing: standard error belongs to the command line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Crash(BaseException):
    """As a kill would: no `except Exception` may stop it."""


@dataclass
class MemoryTarget:
    """Takes toggles in memory, refuses those that `refuse` gives a reason for, and dies when told."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    refuse: Callable[[dict[str, Any]], str | None] = lambda toggle: None
    #: Raised instead of an answer by the requests of these numbers, from 0: before or after taking it.
    before: dict[int, BaseException] = field(default_factory=dict)
    after: dict[int, BaseException] = field(default_factory=dict)

    def post_toggles(self, toggles: Sequence[dict[str, Any]]) -> list[str]:
        number, self.requests = self.requests, self.requests + 1
        if number in self.before:
            raise self.before[number]
        reasons = {index: reason for index, toggle in enumerate(toggles) if (reason := self.refuse(toggle))}
        if reasons:
            errors = [{"index": index, "pointer": "", "detail": reason} for index, reason in reasons.items()]
            raise ApiError(422, f"{len(reasons)} are not valid", errors)
        self.taken += toggles
        if number in self.after:
            raise self.after[number]
        return [toggle["id"] for toggle in toggles]

    @property
    def subjects(self) -> list[str]:
        """In the order in which each was first taken."""
        return list(dict.fromkeys(toggle["subject"] for toggle in self.taken))


@dataclass
class ManualTime:
    """Time that passes only while somebody sleeps, and what they slept."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[int], None] = lambda count: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.on_sleep(len(self.slept))
