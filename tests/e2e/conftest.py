"""Services for tests that are not about starting and stopping."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rescind.launching import Launch, ServiceProcess


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A running service of the module's own."""
    with asyncio.Runner() as runner:
        started = runner.run(ServiceProcess.start(Launch(tmp_path_factory.mktemp("data"))))
        try:
            yield started
        finally:
            assert runner.run(started.stop()) == 0
