"""Who may ask: the HTTP interface, its keys and roles, the status page, and the metrics."""

from gateway.app import create_app
from gateway.appending import Bounded
from gateway.context import Context, Readiness, Trial
from gateway.health import create_health_app
from gateway.server import listening
from gateway.turns import Turns

__all__ = ["Bounded", "Context", "Readiness", "Trial", "Turns", "create_app", "create_health_app", "listening"]
