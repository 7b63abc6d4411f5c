"""Two processes that run tests side by side, and tests that nothing runs beside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFTEST = "from tests.conftest import pytest_configure"
#: Both processes have one such file, and meet in its first test.
TESTS = """
import os, pathlib, time
import pytest

here = pathlib.Path(__file__)

@pytest.fixture(autouse=True)
def inside():
    file = here.with_suffix(".inside")
    file.touch()
    yield
    file.unlink()

def others():
    return [file for file in here.parent.glob("*.inside") if file.stem != here.stem]

def test_side_by_side():
    here.with_suffix(".met").touch()
    deadline = time.monotonic() + 30
    while len(list(here.parent.glob("*.met"))) < 2:
        assert time.monotonic() < deadline

@pytest.mark.alone
@pytest.mark.parametrize("number", range(3))
def test_alone(number):
    for _ in range(10):
        assert not others()
        time.sleep(0.01)

@pytest.mark.parametrize("number", range(3))
def test_in_company(number):
    time.sleep(0.1)
"""


def test_what_is_marked_alone_has_no_other_test_beside_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(TESTS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    assert "14 passed" in ran.stdout
