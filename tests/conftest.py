"""For all tests."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rescind.running.collecting import collector_at_rest
from tests.turns import Turns

# How long an example takes says how busy the machine is; what must be quick is measured by tests of its own.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = ["tests.kafka.fixtures", "tests.promtool"]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # One of several processes, whose temporary directories lie in one of the whole run.
        config.pluginmanager.register(Turns(Path(config.getoption("basetemp")).parent))
    # A shell starts what runs in the background with SIGINT ignored, `nohup` does so with SIGHUP, and children
    # inherit that; the tests that interrupt a command need what a terminal gives.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Thousands of tests stay as long as the run does: the collector need not go through all of them again and again,
    which would be a tenth of the time."""
    with collector_at_rest():
        collected = yield
    gc.freeze()
    return collected
