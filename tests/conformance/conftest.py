"""The engines that must pass the suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.embedded import Embedded
from tests.conformance.harness import Engine


@pytest.fixture(params=["embedded"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    assert request.param == "embedded"
    embedded = Embedded(tmp_path)
    yield embedded
    embedded.close()
