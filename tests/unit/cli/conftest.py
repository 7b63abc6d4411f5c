"""The command line in this process, against a service that answers as it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from rescind.cli import main
from tests.unit.cli.fakes import FakeService, serving


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RESCIND_")]:
        monkeypatch.delenv(name)
    # Help is as wide as this.
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def service() -> Iterator[FakeService]:
    with serving(FakeService()) as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, shown.out, shown.err)

    return run_it


@pytest.fixture
def ask(run: Run, service: FakeService) -> Run:
    """As `run`, with the address of the service and a key."""
    return lambda *arguments: run(*arguments, "--url", service.url, "--key", "rsk_operator_1_x")
