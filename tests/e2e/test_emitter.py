"""The platform's emitter by HTTP, against the service itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rescind.client import Client
from rescind.emitter import HttpEmitter, Refused
from rescind.launching import ServiceProcess

PATIENCE = 60.0
ROOT = Path(__file__).parents[2]


def platform(service: ServiceProcess) -> HttpEmitter:
    assert service.platform_key is not None
    return HttpEmitter(service.url, service.platform_key)


def test_what_is_emitted_is_known(service: ServiceProcess) -> None:
    with platform(service) as emitter:
        futures = [
            emitter.emit(f"blog:{number}", "ai", "opt_out", source="settings", id=f"e2e-{number}")
            for number in range(2500)
        ]
        again = emitter.emit("blog:0", "ai", "opt_out", source="settings", id="e2e-0")
        changed = emitter.emit("blog:1", "ai", "opt_in", retroactive=False)
        assert [future.result(PATIENCE).id for future in futures] == [f"e2e-{number}" for number in range(2500)]
        again.result(PATIENCE)
        changed.result(PATIENCE)
    expected = {"blog:0": ["opt_out"], "blog:1": ["opt_in"], "blog:2499": ["opt_out"]}
    with Client(service.url, service.operator_key) as client:
        until(lambda: {each: [row["choice"] for row in client.consents(each)] for each in expected} == expected)


def test_the_examples_choices_arrive(service: ServiceProcess) -> None:
    done = subprocess.run(
        [sys.executable, "examples/outbox.py", service.url],
        cwd=ROOT,
        env=os.environ | {"RESCIND_KEY": str(service.platform_key), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("is in the log") == 3
    expected = {"blog:staff.example.com": ["opt_in"], "blog:photos.example.com": ["opt_out"]}
    with Client(service.url, service.operator_key) as client:
        until(lambda: {each: [row["choice"] for row in client.consents(each)] for each in expected} == expected)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "not reached"
        time.sleep(0.05)


def test_what_the_service_refuses_fails_in_its_words(service: ServiceProcess) -> None:
    # Only the emitter's own clock is fooled.
    late = datetime.now(UTC) + timedelta(days=1)
    assert service.platform_key is not None
    with HttpEmitter(service.url, service.platform_key, clock=lambda: late) as emitter:
        good = emitter.emit("blog:3", "ai", "opt_out", occurred_at=datetime.now(UTC))
        bad = emitter.emit("blog:4", "ai", "opt_out")
        good.result(PATIENCE)
        with pytest.raises(Refused, match="occurred_at lies too far in the future"):
            bad.result(PATIENCE)


def test_a_key_that_is_none_is_told(service: ServiceProcess) -> None:
    with HttpEmitter(service.url, "rsk_platform_1_x") as emitter, pytest.raises(Refused, match=r"^401: "):
        emitter.emit("blog:5", "ai", "opt_out").result(PATIENCE)
