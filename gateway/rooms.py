"""How the dashboard answers people: in pages, also where it cannot do what they ask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from gateway.context import context_of
from gateway.files import accepts_gzip, address
from gateway.pages import room_page
from gateway.problems import Problem
from gateway.sessions import PATH, Session
from streams.errors import LedgerBehind, LogUnavailable, StorageUnusable

log = logging.getLogger(__name__)


class Room(APIRoute):
    """A route for people. Who does not ask for a page gets a problem, as everywhere."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            if "text/html" not in request.headers.get("accept", ""):
                return await handle(request)
            try:
                return await handle(request)
            except Problem as problem:
                return _sorry(request, problem)
            except RequestValidationError:
                return _sorry(request, Problem(422, "invalid", "the address of this page is not one of ours"))
            except (LogUnavailable, LedgerBehind, StorageUnusable) as error:
                # The route, not the path, as `gateway.problems` does.
                log.warning("%s %s: %s", request.method, self.path, error)
                return _sorry(request, Problem(503, "unavailable", str(error), headers={"retry-after": "1"}))

        return answer


def room(request: Request, session: Session | None, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page as its session sees it."""
    now = context_of(request).clock()
    packed = accepts_gzip(request)
    shown = {"session": session, "now": now, "address": address, "place": request.url.path}
    return room_page(template, status, packed, **shown, **values)


def ask(
    request: Request, session: Session, question: str, verb: str, kept: Sequence[tuple[str, str]], back: str
) -> HTMLResponse:
    """The page that asks whether somebody is sure, and then sends the same form again. Where there is a script, a
    dialog has asked already."""
    return room(
        request, session, "ask.html", question=question, verb=verb, kept=kept, back=back, action=request.url.path
    )


def done(request: Request, session: Session, title: str, lines: Sequence[str], back: str, **more: Any) -> HTMLResponse:
    """The page that says what became of it. `secret` is shown on it, and nowhere ever after."""
    shown = {"secret": None, "following": None, "bad": False} | more
    return room(request, session, "done.html", title=title, lines=lines, back=back, **shown)


def to(path: str) -> RedirectResponse:
    """Whoever loads the next page again repeats nothing."""
    return RedirectResponse(path, 303)


def _sorry(request: Request, problem: Problem) -> Response:
    if problem.status == 401:
        after = request.url.path if request.method == "GET" else PATH
        return to(f"{PATH}/login?next={quote(after)}")
    answer = room(request, None, "sorry.html", problem.status, problem=problem)
    answer.headers.update(problem.headers)
    return answer
