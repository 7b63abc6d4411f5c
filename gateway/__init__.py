"""Who may ask: the HTTP interface, its keys and roles, the status page, and the metrics."""

from gateway.app import create_app
from gateway.context import Context, Readiness
from gateway.server import listening

__all__ = ["Context", "Readiness", "create_app", "listening"]
