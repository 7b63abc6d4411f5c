"""Java processes of Kafka's: brokers, which end no later than this process, and tools, which are waited for."""

from __future__ import annotations

import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HOST = "127.0.0.1"
#: Seconds that a tool may take.
PATIENCE = 60.0


class KafkaFailed(Exception):
    """A broker or a tool ended badly, or did not do in time what it should. The text holds its last words."""


# The kernel ends a broker with the *thread* that started it, so it is one that lives as long as this process.
_starter = ThreadPoolExecutor(1, "kafka")


def spawned(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A process that dies with this one, however this one dies, and that the terminal's Ctrl-C does not reach.

    All it says goes to the end of a file. Where there is no `setpriv`, off Linux, only the caller ends it.
    """
    tie = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [*tie, *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    return _starter.submit(start).result()


def said(command: list[str], stdin: str = "") -> str:
    """What a command prints to stdout. Raises `KafkaFailed`."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as late:
        raise KafkaFailed(f"it did not end within {PATIENCE:.0f} s: {late.stdout!r} {late.stderr!r}") from None
    if done.returncode != 0:
        raise KafkaFailed(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((HOST, port)) == 0
