"""For all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # A shell starts what runs in the background with SIGINT ignored, and children inherit that; the tests
    # that interrupt a command need what a terminal gives.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
