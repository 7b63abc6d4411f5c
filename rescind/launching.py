"""Running the service as a process of its own: for the demo, for tests, for benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streams.errors import RescindError

#: Seconds that a start may take before it counts as failed; a large log takes a while to recover.
START_TIMEOUT = 60.0

#: What `rescind up` says last, when everything else is said.
LAST_LINE = "Ctrl-C stops it."
_ANNOUNCED = {
    "url": re.compile(r"^Rescind is ready at (\S+)$"),
    "operator_key": re.compile(r"^Operator key: (\S+)$"),
    "platform_key": re.compile(r"^Platform key: (\S+)$"),
}


class NotStarted(RescindError):
    """The service ended, or was not ready in time; the text holds its own last words."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run. `environment` adds to this process's own; `port` 0 takes a free one."""

    data_dir: Path
    port: int = 0
    allow_private_partners: bool = True
    environment: Mapping[str, str] | None = None

    def command(self) -> list[str]:
        words = [sys.executable, "-m", "rescind", "up", "--data", str(self.data_dir), "--port", str(self.port)]
        # We hold the other end of its standard input, and nobody but us: so it ends however we end.
        words.append("--until-stdin-ends")
        return [*words, "--allow-private-partners"] if self.allow_private_partners else words


class ServiceProcess:
    """A running service. The keys are None unless this was the data directory's first start."""

    def __init__(self, process: asyncio.subprocess.Process, announced: Mapping[str, str], errors: Path) -> None:
        self._process = process
        self._errors = errors
        self.url = announced["url"]
        self.operator_key = announced.get("operator_key")
        self.platform_key = announced.get("platform_key")

    @classmethod
    async def start(cls, launch: Launch, timeout: float = START_TIMEOUT) -> ServiceProcess:
        """Return when it is ready. What it writes to stderr goes to `service.log` in the data directory.

        Raises `NotStarted`.
        """
        launch.data_dir.mkdir(parents=True, exist_ok=True)
        errors = launch.data_dir / "service.log"
        with errors.open("ab") as log:
            process = await _spawn(launch, log)
        try:
            async with asyncio.timeout(timeout):
                announced = await _announcement(process)
        except BaseException as error:
            _send(process, signal.SIGKILL)
            await process.wait()
            if isinstance(error, TimeoutError | EOFError):
                raise NotStarted(f"the service did not start: {last_words(errors)}") from None
            raise
        return cls(process, announced, errors)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def last_words(self) -> str:
        return last_words(self._errors)

    async def stop(self) -> int:
        """End it as an operator would (SIGTERM). The exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> int:
        _send(self._process, number)
        # Reads what is left of stdout too, so that a full pipe cannot keep it from ending.
        await self._process.communicate()
        return await self._process.wait()


def last_words(errors: Path) -> str:
    """The last line that a service wrote to stderr."""
    lines = errors.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not by asyncio, whose `send_signal` may reap the process itself, and then reports 255 for it.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _spawn(launch: Launch, log: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *launch.command(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        env={**os.environ, **(launch.environment or {})},
        # A Ctrl-C in the terminal is for whoever runs this one; it stops the service itself.
        start_new_session=True,
    )


async def _announcement(process: asyncio.subprocess.Process) -> dict[str, str]:
    """Read stdout up to the last line of the announcement. Raises `EOFError` if it ends before."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    announced: dict[str, str] = {}
    while line := (await process.stdout.readline()).decode().strip():
        for name, pattern in _ANNOUNCED.items():
            if match := pattern.match(line):
                announced[name] = match[1]
        if line == LAST_LINE:
            return announced
    raise EOFError
