"""The application: routes, errors, limits, metrics."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import RequestResponseEndpoint

from gateway import acknowledgements, dashboard, lag, partners, subjects, toggles
from gateway.context import Context
from gateway.limits import BodyLimit
from gateway.metrics import registry_for
from gateway.problems import install

_DESCRIPTION = """Rescind carries a user's opt-out to every registered data partner and tracks each
acknowledgement against a clock. **Authorize** with an API key. Every error is an RFC 9457 problem."""


def create_app(context: Context) -> FastAPI:
    """The ASGI application over a context."""
    app = FastAPI(title="Rescind", version=version("rescind"), description=_DESCRIPTION, redoc_url=None)
    app.state.context = context
    registry = registry_for(context.ledger, context.clock)
    app.state.toggles_accepted = Counter(
        "rescind_toggles_accepted", "Toggles answered 202 by this process", registry=registry
    )
    requests = Counter("rescind_http_requests", "Requests answered", ["method", "route", "status"], registry=registry)

    @app.middleware("http")
    async def count(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        route = request.scope.get("route")
        # The route's pattern, never the path: a label must stay bounded.
        pattern = getattr(route, "path", "none")
        method = request.method if route is not None else "none"
        requests.labels(method, pattern, str(response.status_code)).inc()
        return response

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(await run_in_threadpool(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(BodyLimit, most=context.settings.max_body_bytes)
    for module in (toggles, subjects, partners, acknowledgements, lag, dashboard):
        app.include_router(module.router)
    install(app)
    return app
