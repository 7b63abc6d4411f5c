"""API keys and what each role may do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from gateway.context import context_of
from gateway.problems import Problem
from ledger import ApiKey, Role

_bearer = HTTPBearer(auto_error=False, description="An API key, `rsk_...`")
_REALM = "Rescind"
_basic = HTTPBasic(auto_error=False, realm=_REALM)

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
Basic = Annotated[HTTPBasicCredentials | None, Depends(_basic)]


def allow(*roles: Role) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency: the request's key, if it has one of the roles."""

    async def check(request: Request, credentials: Bearer) -> ApiKey:
        if credentials is None:
            raise _unauthenticated("Bearer", "an API key is needed: Authorization: Bearer rsk_...")
        return await _authorise(request, credentials.credentials, roles, "Bearer")

    return check


async def dashboard_user(request: Request, credentials: Basic) -> ApiKey:
    """Browsers ask for HTTP Basic by themselves: the password is an operator's key."""
    scheme = f'Basic realm="{_REALM}"'
    if credentials is None:
        raise _unauthenticated(scheme, "log in with any user name, and an operator key as password")
    return await _authorise(request, credentials.password, (Role.OPERATOR,), scheme)


async def _authorise(request: Request, plain: str, roles: tuple[Role, ...], scheme: str) -> ApiKey:
    key = await asyncio.to_thread(context_of(request).keys.authenticate, plain)
    if key is None:
        raise _unauthenticated(scheme, "the API key is unknown or revoked")
    if key.role not in roles:
        wanted = " or ".join(roles)
        raise Problem(403, "forbidden", f"this needs a key of role {wanted}; yours is {key.role}")
    return key


def _unauthenticated(scheme: str, detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail, headers={"www-authenticate": scheme})


PlatformOrOperator = Annotated[ApiKey, Depends(allow(Role.PLATFORM, Role.OPERATOR))]
OperatorOnly = Annotated[ApiKey, Depends(allow(Role.OPERATOR))]
OperatorOrPartner = Annotated[ApiKey, Depends(allow(Role.OPERATOR, Role.PARTNER))]
PartnerOnly = Annotated[ApiKey, Depends(allow(Role.PARTNER))]
DashboardUser = Annotated[ApiKey, Depends(dashboard_user)]
