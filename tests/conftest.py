"""For all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # A shell starts what runs in the background with SIGINT ignored, `nohup` does so with SIGHUP, and children
    # inherit that; the tests that interrupt a command need what a terminal gives.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
