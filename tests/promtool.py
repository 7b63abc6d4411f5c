"""Prometheus's own checker, for any test. Where it is missing these tests are skipped, which the last lines of the run
say loudly; in CI they fail."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

_MISSING = "promtool is missing (Debian: prometheus)"
_missing = pytest.StashKey[bool]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash.get(_missing, False):
        terminalreporter.write_sep("!", f"NOT TESTED by Prometheus: {_MISSING}", red=True, bold=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Where several processes run tests, tell it to the one that prints the last lines."""
    if getattr(node, "workeroutput", {}).get("promtool"):
        node.config.stash[_missing] = True


@pytest.fixture(scope="session")
def promtool(pytestconfig: pytest.Config) -> str:
    """Where it is."""
    found = shutil.which("promtool")
    if found is not None:
        return found
    pytestconfig.stash[_missing] = True
    if hasattr(pytestconfig, "workeroutput"):
        pytestconfig.workeroutput["promtool"] = "missing"
    if os.environ.get("CI") == "true":
        pytest.fail(_MISSING)
    pytest.skip(_MISSING)
