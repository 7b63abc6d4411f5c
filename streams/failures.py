"""When a partner counts as down: delivery goes by it, and metrics say so."""

from __future__ import annotations

#: Failures in a row after which attempts go one at a time.
THRESHOLD = 5
