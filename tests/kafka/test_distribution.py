"""Machines on which Kafka cannot run, and one fetch for all who ask."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kafka.distribution import Unavailable, fetched

JAVA = """echo 'openjdk version "17.0.1" 2021-10-19'"""
#: Makes a jar, in time for another one to look, and writes down that it was called.
MAVEN = """
for last; do :; done
echo called >> "$CALLS"
sleep 0.2
mkdir "${last#-DoutputDirectory=}"
touch "${last#-DoutputDirectory=}/kafka.jar"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one directory where commands are found."""
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(commands))
    return commands


def install(machine: Path, name: str, script: str) -> None:
    command = machine / name
    command.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    command.chmod(0o755)


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ({}, "there is no java"),
        ({"java": """echo 'openjdk version "11.0.2"'"""}, "java is of version 11, and a broker needs 17"),
        ({"java": "echo broken; exit 1"}, "java failed: broken"),
        ({"java": "echo hello"}, "java does not tell its version: hello"),
        ({"java": JAVA}, "there is no mvn to fetch it with"),
        ({"java": JAVA, "mvn": "echo '[ERROR] no network'; exit 1"}, r"mvn failed: \[ERROR\] no network"),
    ],
)
def test_the_reason_is_one_line(machine: Path, commands: dict[str, str], reason: str) -> None:
    for name, script in commands.items():
        install(machine, name, script)
    with pytest.raises(Unavailable, match=f"^{reason}$"):
        fetched()


def test_it_is_fetched_once_however_many_ask(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(machine, "java", JAVA)
    install(machine, "mvn", MAVEN)
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetched(), range(4)))
    assert len(set(found)) == 1
    assert [jar.name for jar in found[0].home.iterdir()] == ["kafka.jar"]
    assert calls.read_text() == "called\n"


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize(("ci", "code", "counted"), [("", 0, "1 skipped"), ("true", 1, "1 error")])
def test_without_java_a_run_skips_loudly_and_ci_fails(
    machine: Path, ci: str, code: int, counted: str, processes: str
) -> None:
    asking = f"{Path(__file__).with_name('test_broker.py')}::test_what_is_produced_is_consumed"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", processes, asking],
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == code, ran.stdout
    assert counted in ran.stdout
    assert "!! NOT TESTED on Apache Kafka: there is no java !!" in ran.stdout
