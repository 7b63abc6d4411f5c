"""The application: routes, errors, limits, metrics."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

from gateway import (
    acknowledgements,
    actions,
    callbacks,
    contradictions,
    dashboard,
    dead_letter_room,
    dead_letters,
    disclosures,
    door,
    exports,
    files,
    gate,
    health,
    lag,
    notices,
    openapi,
    own_room,
    partner_acts,
    partner_room,
    partners,
    replaying,
    replies,
    reports,
    subject_room,
    subjects,
    testing,
    toggles,
    tries,
    undeliverable,
)
from gateway.behind import LedgerBehind
from gateway.context import Context
from gateway.counting import Counting
from gateway.limits import BodyLimit, TrailingSlash, WholePath
from gateway.live import Live
from gateway.metrics import registry_for
from gateway.problems import install
from gateway.tracing import Traced

_DESCRIPTION = """Rescind carries a user's opt-out to every registered data partner and tracks each
acknowledgement against a clock. **Authorize** with an API key. Every error is an RFC 9457 problem."""


def create_app(context: Context) -> FastAPI:
    """The ASGI application over a context."""
    app = FastAPIOffline(
        title="Rescind",
        version=version("rescind"),
        description=_DESCRIPTION,
        redoc_url=None,
        # A redirect would be to http:// behind a proxy, and carry the client's key there.
        redirect_slashes=False,
    )
    app.state.context = context
    app.state.live = Live(context.ledger, context.clock)
    app.state.ready = partial(health.readiness_of, context)
    registry = registry_for(context.ledger, context.clock, context.held_records)
    behind = LedgerBehind(context.ledger, context.disclosures, context.appender, context.clock)
    registry.register(behind)
    app.state.toggles_accepted = Counter(
        "rescind_toggles_accepted", "Toggles answered 202 by this process", registry=registry
    )
    requests = Counter("rescind_http_requests", "Requests answered", ["method", "route", "status"], registry=registry)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        await behind.look()
        # In asyncio's own threads, which stay: the ledger keeps a connection for each thread that asked.
        return Response(await asyncio.to_thread(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(BodyLimit, most=context.settings.max_body_bytes)
    app.add_middleware(WholePath)
    app.add_middleware(TrailingSlash)  # first, so that the path that it leaves is seen
    app.add_middleware(Counting, requests=requests)
    if context.tracing.enabled:
        app.add_middleware(Traced, tracing=context.tracing)
    app.include_router(gate.router)  # before the consents of one subject: `snapshot` is none
    for module in (toggles, subjects, partners, testing, tries, acknowledgements, callbacks, lag, health):
        app.include_router(module.router)
    for module in (replaying, undeliverable, dead_letters, contradictions, replies, actions, notices, reports):
        app.include_router(module.router)
    for module in (exports, disclosures):
        app.include_router(module.router)
    for module in (door, files, dashboard, partner_room, partner_acts, subject_room, dead_letter_room, own_room):
        app.include_router(module.router)
    install(app)
    openapi.install(app)
    return app
