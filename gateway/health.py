"""Health, for whoever restarts processes and routes requests to them. Needs no key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from gateway.context import Context, Readiness
from gateway.problems import Problem, install, problems, respond
from streams.errors import LogUnavailable, StorageUnusable
from streams.topics import TOGGLES

router = APIRouter(tags=["operators"])
Ready = Callable[[], Awaitable[Readiness]]
Check = Callable[[], Awaitable[None]]
#: Seconds after which a log that does not answer is as good as away: whoever asks is not patient either.
_PATIENCE = 2.0


# HEAD too, because that is what many load balancers ask.
@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="Does it do its work?", responses={503: problems()[503]})
async def ready(request: Request) -> Response:
    """503, with reasons, while tables recover, while the log is away or its disk is full, or after a part has failed.
    `notes` say what it cannot do though it does its main work: answer questions, or reach partners."""
    asked: Ready = request.app.state.ready
    readiness = await asked()
    if readiness.ready:
        notes = {"notes": list(readiness.notes)} if readiness.notes else {}
        return JSONResponse({"status": "ready"} | notes)
    errors = [{"detail": reason} for reason in readiness.reasons]
    detail = "; ".join(readiness.reasons) or "the service does not do its work yet"
    return respond(Problem(503, "not-ready", detail, errors=errors, headers={"retry-after": "1"}))


def create_health_app(ready: Callable[[], Readiness], check_log: Check | None = None) -> FastAPI:
    """An application that answers nothing else, for processes without a gateway. `check_log` raises `LogUnavailable`
    where the log would take nothing."""

    async def asked() -> Readiness:
        process = ready()
        reasons = [*process.reasons, *([] if check_log is None else await _refused(check_log))]
        return Readiness(ready=process.ready and not reasons, reasons=tuple(reasons), notes=process.notes)

    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.ready = asked
    app.include_router(router)
    install(app)
    return app


async def readiness_of(context: Context) -> Readiness:
    """That of the process, and whether its gateway can accept anything. Toggles need no ledger."""
    process = context.ready()
    notes = list(process.notes)

    async def check() -> None:
        await context.appender.end_offsets(TOGGLES.name)
        await context.check_log()

    reasons = [*process.reasons, *await _refused(check)]
    try:
        await asyncio.to_thread(context.ledger.check)
    except StorageUnusable as error:
        notes.append(f"{error}; until then toggles are accepted, and questions are not answered")
    return Readiness(ready=process.ready and not reasons, reasons=tuple(reasons), notes=tuple(notes))


async def _refused(check: Check) -> list[str]:
    """Why the log does not do its work, if it does not."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await check()
    except TimeoutError:
        return ["the log does not answer"]
    except LogUnavailable as error:
        return [str(error)]
    return []
