"""API keys and what each role may do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gateway.context import context_of
from gateway.problems import Problem
from ledger import ApiKey, Role

_bearer = HTTPBearer(auto_error=False, description="An API key, `rsk_...`")

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def allow(*roles: Role) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency: the request's key, if it has one of the roles."""

    async def check(request: Request, credentials: Bearer) -> ApiKey:
        if credentials is None:
            raise _unauthenticated("an API key is needed: Authorization: Bearer rsk_...")
        return await _authorise(request, credentials.credentials, roles)

    return check


async def _authorise(request: Request, plain: str, roles: tuple[Role, ...]) -> ApiKey:
    key = await asyncio.to_thread(context_of(request).keys.authenticate, plain)
    if key is None:
        raise _unauthenticated("the API key is unknown or revoked")
    if key.role not in roles:
        wanted = " or ".join(roles)
        raise Problem(403, "forbidden", f"this needs a key of role {wanted}; yours is {key.role}")
    return key


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail, headers={"www-authenticate": "Bearer"})


PlatformOrOperator = Annotated[ApiKey, Depends(allow(Role.PLATFORM, Role.OPERATOR))]
OperatorOnly = Annotated[ApiKey, Depends(allow(Role.OPERATOR))]
OperatorOrPartner = Annotated[ApiKey, Depends(allow(Role.OPERATOR, Role.PARTNER))]
PartnerOnly = Annotated[ApiKey, Depends(allow(Role.PARTNER))]
