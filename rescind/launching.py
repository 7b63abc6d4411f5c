"""Running the service, or a part of it, as a process of its own: for the demo, for tests, for benchmarks."""

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
from typing import IO, Literal

from streams.errors import RescindError

#: Seconds that a start may take before it counts as failed; a large log takes a while to recover.
START_TIMEOUT = 60.0

#: What a process says last, when everything else is said.
LAST_LINE = "Ctrl-C stops it."
_ANNOUNCED = {
    "url": re.compile(r"^Rescind is ready at (\S+)$"),
    "health_url": re.compile(r"^Health: (\S+)/health/ready$"),
    "operator_key": re.compile(r"^Operator key: (\S+)$"),
    "platform_key": re.compile(r"^Platform key: (\S+)$"),
}


class NotStarted(RescindError):
    """The service ended, or was not ready in time; the text holds its own last words."""


#: What to run: all in one process, or a part of the service.
Process = Literal["up", "worker", "ledger", "gateway"]


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run. `environment` adds to this process's own; `port` 0 takes a free one. A worker and a ledger have
    only their health there."""

    data_dir: Path
    port: int = 0
    allow_private_partners: bool = True
    environment: Mapping[str, str] | None = None
    process: Process = "up"
    verbose: bool = False

    def command(self) -> list[str]:
        port = "--port" if self.process in ("up", "gateway") else "--health-port"
        words = [sys.executable, "-m", "rescind", self.process, "--data", str(self.data_dir), port, str(self.port)]
        # We hold the other end of its standard input, and nobody but us: so it ends however we end.
        words.append("--until-stdin-ends")
        if self.verbose:
            words.append("--verbose")
        private = self.allow_private_partners and self.process != "ledger"
        return [*words, "--allow-private-partners"] if private else words


class ServiceProcess:
    """A running service. The keys are None unless this was the data directory's first start."""

    def __init__(self, process: asyncio.subprocess.Process, announced: Mapping[str, str], errors: Path) -> None:
        self._process = process
        self._errors = errors
        self.url = announced.get("url") or announced["health_url"]
        self.operator_key = announced.get("operator_key")
        self.platform_key = announced.get("platform_key")

    @classmethod
    async def start(cls, launch: Launch, timeout: float = START_TIMEOUT) -> ServiceProcess:
        """Return when it is ready. What it writes to stderr goes to `service.log` in the data directory, for a part
        of the service to `worker.log` and so on.

        Raises `NotStarted`.
        """
        launch.data_dir.mkdir(parents=True, exist_ok=True)
        errors = launch.data_dir / f"{'service' if launch.process == 'up' else launch.process}.log"
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

    async def ended(self) -> int:
        """Wait until it ends. The exit code."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        # A full pipe must not keep it from ending.
        await self._process.stdout.read()
        return await self._process.wait()

    async def _end(self, number: signal.Signals) -> int:
        _send(self._process, number)
        return await self.ended()


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
