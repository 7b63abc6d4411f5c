"""Every command of the README works, as written, in the order of the page."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rescind.client import Client
from streams.settings import KafkaSettings, Settings, SmtpSettings
from tests.e2e.world import PATIENCE
from tests.kafka.broker import Broker
from tests.support.ports import free_ports

ROOT = Path(__file__).parents[2]
README, KAFKA = re.split(r"^(?=## Kafka)", (ROOT / "README.md").read_text(), maxsplit=1, flags=re.MULTILINE)
#: Run by tests of their own: in the foreground, or for a minute.
ELSEWHERE = {"make up", "make demo"}


def blocks(text: str) -> list[str]:
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if block.strip() not in ELSEWHERE]


def headings(text: str) -> set[str]:
    """The fragments by which links name the headings of a page."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A directory as a newcomer has it, the service as the README starts it, and the environment."""
    here = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", here / "examples")
    (here / ".venv").symlink_to(ROOT / ".venv")
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), "-C", str(ROOT), "up", f"DATA={here}/data"]
    environment = os.environ | {"RESCIND_ALLOW_PRIVATE_PARTNERS": "1", "RESCIND_PORT": "0"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        yield here, _announced(process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)


def _announced(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    said = ""
    while not said.endswith("Ctrl-C stops it.\n"):
        line = process.stdout.readline()
        assert line, said
        said += line
    names = {
        "Rescind is ready at": "RESCIND_URL",
        "Operator key:": "OPERATOR_KEY",
        "Platform key:": "PLATFORM_KEY",
    }
    return {variable: re.findall(rf"^{words} (\S+)$", said, re.MULTILINE)[0] for words, variable in names.items()}


def test_every_command_works(place: tuple[Path, dict[str, str]]) -> None:
    here, announced = place
    given = [line for block in blocks(README) for line in block.splitlines() if line.startswith("export ")]
    assert {line.split("=")[0].removeprefix("export ") for line in given} == {*announced, "PATH"}
    # All blocks in one shell, as a reader would; what is exported is what the service has just said.
    lines = [line for block in blocks(README) for line in block.splitlines() if line not in given or "PATH" in line]
    script = "set -euo pipefail\n" + "\n".join(lines) + "\nkill $!\n"
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=here,
        capture_output=True,
        text=True,
        env=os.environ | announced | {"RESCIND_DATA_DIR": str(here / "data")},
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert '"accepted":1' in finished.stdout
    assert "952 toggles accepted" in finished.stdout
    assert "partner acme is removed" in finished.stdout
    assert "rsk_operator_" in finished.stdout


def test_the_example_partner_obeys_and_acknowledges(place: tuple[Path, dict[str, str]]) -> None:
    here, announced = place
    registered = here / "acme2.json"
    noon = "2026-01-01T12:00:00Z"
    with Client(announced["RESCIND_URL"], announced["OPERATOR_KEY"]) as client:
        wanted = {"id": "acme2", "name": "acme2", "url": f"http://127.0.0.1:{free_ports(1)[0]}/", "purposes": ["p2"]}
        registered.write_text(json.dumps(client.add_partner(wanted)))
        client.post_toggles([{"subject": "user:1", "purpose": "p2", "choice": "opt_out", "occurred_at": noon}])
        command = [str(here / ".venv/bin/python"), "examples/partner.py", str(registered)]
        with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) as partner:
            assert partner.stdout is not None
            assert partner.stdout.readline() == "erase user:1 for p2\n"
            deadline = time.monotonic() + PATIENCE
            while not any("completed (deleted)" in entry["summary"] for entry in client.timeline("user:1")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            partner.terminate()


def test_make_demo_shows_everything_acknowledged() -> None:
    finished = subprocess.run(
        ["make", "--no-print-directory", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "952 toggles became 851 deletion requests and 1183 notices." in finished.stdout
    assert " were delivered, signed, and acknowledged" in finished.stdout
    assert "Traceback" not in finished.stderr


def test_every_file_and_setting_that_it_names_exists() -> None:
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not heading or heading in headings(target.read_text()), link
    known = {f"RESCIND_{name.upper()}" for name in Settings.model_fields}
    known |= {f"RESCIND_KAFKA_{name.upper()}" for name in KafkaSettings.model_fields}
    known |= {f"RESCIND_SMTP_{name.upper()}" for name in SmtpSettings.model_fields}
    known |= {"RESCIND_URL", "RESCIND_KEY", "RESCIND_HEALTH_PORT"}
    assert set(re.findall(r"RESCIND_[A-Z_]+[A-Z]", README + KAFKA)) <= known


def test_the_commands_for_kafka_work(kafka: Broker, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(blocks(KAFKA))
    script = script.replace("localhost:9092", kafka.address)
    ports = dict(zip(("8330", "8331", "8332", "8321"), map(str, free_ports(4)), strict=True))
    for port, free in ports.items():
        script = script.replace(f"port {port}", f"port {free}")
    script += "rescind topics check > check.txt\nwait\n"
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not all(_ready(port) for port in ports.values()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while "Nothing to do." not in (tmp_path / "check.txt").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert "Traceback" not in said, said


def _ready(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
