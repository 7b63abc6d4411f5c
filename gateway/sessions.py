"""Sessions of people with a browser: a sealed cookie, and nothing that a gateway would have to remember.

The cookie names an API key, never holds it, and is good for nothing without the sealing key; so any gateway of a data
directory takes it, and a key that is revoked ends its sessions at once.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.context import Context, context_of
from gateway.problems import Problem
from ledger import ApiKey, Role
from streams.moments import Moment
from streams.sealing import SealBroken

#: Browsers send it to the dashboard alone: it opens nothing of the API.
COOKIE, PATH = "rescind_session", "/dashboard"
LASTS = timedelta(hours=12)
_MOST = 4096


class _Sealed(BaseModel):
    """What the cookie says. `token` is what each form of the session must bring."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    session: str
    token: str
    expires_at: Moment


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has logged in, by the key that it was with."""

    key: ApiKey
    token: str
    expires_at: datetime

    @property
    def operator(self) -> bool:
        return self.key.role is Role.OPERATOR


def begin(context: Context, key: ApiKey, request: Request, response: Response) -> None:
    """Give a browser the cookie of a new session."""
    ends = context.clock() + LASTS
    said = _Sealed(session=key.id, token=secrets.token_urlsafe(24), expires_at=ends)
    response.set_cookie(
        COOKIE,
        context.sealer.seal(said.model_dump_json()),
        max_age=int(LASTS.total_seconds()),
        path=PATH,
        httponly=True,
        samesite="strict",
        # Behind a proxy the scheme is what it says in `x-forwarded-proto`.
        secure=request.url.scheme == "https",
    )


def end(response: Response) -> None:
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")


async def session_of(request: Request) -> Session | None:
    """Whose browser it is; None if nobody has logged in, or the session is over."""
    context, cookie = context_of(request), request.cookies.get(COOKIE)
    if not cookie or len(cookie) > _MOST:
        return None
    try:
        said = _Sealed.model_validate_json(context.sealer.open(cookie))
    except (SealBroken, ValidationError):
        return None
    if said.expires_at <= context.clock():
        return None
    key = await asyncio.to_thread(context.keys.in_force, said.session)
    return None if key is None else Session(key=key, token=said.token, expires_at=said.expires_at)


def lets_in(*roles: Role) -> Callable[[Request], Awaitable[Session]]:
    """A dependency: the session, if it is of one of the roles; and for what changes something, if the request is from
    a page of ours."""

    async def check(request: Request) -> Session:
        session = await session_of(request)
        if session is None:
            challenge = f'Cookie realm="Rescind", form-action="{PATH}/login", cookie-name="{COOKIE}"'
            raise Problem(401, "unauthenticated", "log in at /dashboard/login", headers={"www-authenticate": challenge})
        if session.key.role not in roles:
            whom = " and ".join(f"{role}s" for role in roles)
            raise Problem(403, "forbidden", f"this page is for {whom}; your key's role is {session.key.role}")
        return session

    return check


def check_origin(request: Request) -> None:
    """Raises `Problem` if another site's page made the browser ask."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    ours = site in ("same-origin", "none") if origin is None else urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise Problem(403, "cross-site", "this came from a page of another site; a proxy must pass the host on")


def check_token(session: Session, token: str) -> None:
    """Raises `Problem` unless a form is this session's own."""
    if not hmac.compare_digest(token.encode(), session.token.encode()):
        raise Problem(403, "stale-form", "this page is of another session; load it again, and repeat what you did")


OperatorSession = Annotated[Session, Depends(lets_in(Role.OPERATOR))]
PartnerSession = Annotated[Session, Depends(lets_in(Role.PARTNER))]
AnySession = Annotated[Session, Depends(lets_in(Role.OPERATOR, Role.PARTNER))]
