"""The garbage collector, as a busy service wants it."""

from __future__ import annotations

import gc


def tune_collector() -> None:
    """What start-up made stays, so the collector need not look at it again and again; and messages leave
    few cycles behind. Measured: a tenth of the time of a busy service."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
