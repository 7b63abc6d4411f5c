"""The service as processes of their own: a worker, a ledger and two gateways over one data directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from cryptography.fernet import Fernet

from rescind.launching import Launch, ServiceProcess
from streams.log import provision
from streams.provisioning import Choices
from streams.settings import Settings
from tests.e2e.world import World
from tests.support.ports import free_ports

Part = Literal["worker", "ledger", "gateway"]


class Parts(World):
    """Each part may be started, killed and stopped by its name (`worker`, `worker-2`, `ledger`, `gateway`,
    `gateway-2`), and comes back to the same port. `url` is the first gateway's."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, environment=environment)
        self.running: dict[str, ServiceProcess] = {}
        self._ports: dict[str, int] = {}

    async def start_part(self, name: str) -> ServiceProcess:
        kind: Any = name.partition("-")[0]
        # Workers have a directory each, gateways share the ledger's.
        directory = self.data_dir / name if name.startswith("worker-") else self.data_dir
        port = self._ports.setdefault(name, free_ports(1)[0])
        launch = Launch(directory, port, environment=self._environment, process=kind)
        started = self.running[name] = await ServiceProcess.start(launch)
        self.operator_key = started.operator_key or self.operator_key
        self.platform_key = started.platform_key or self.platform_key
        if name == "gateway":
            self.url = started.url
            self._service = started
        return started

    async def start_parts(self, *names: str) -> None:
        await asyncio.gather(*(self.start_part(name) for name in names))

    async def kill_part(self, name: str) -> None:
        await self.running.pop(name).kill()

    async def stop_part(self, name: str) -> int:
        return await self.running.pop(name).stop()

    async def close(self) -> None:
        for partner in self.partners.values():
            await partner.close()
        self._service = None
        codes = await asyncio.gather(*(self.stop_part(name) for name in list(self.running)))
        assert set(codes) <= {0}, codes


@asynccontextmanager
async def parts(data_dir: Path, environment: Mapping[str, str] | None = None) -> AsyncIterator[Parts]:
    """Nothing is started yet."""
    made = Parts(data_dir, environment)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def on_kafka(directory: Path, address: str, **more: str) -> AsyncIterator[Parts]:
    """The same on a Kafka whose topics are made first. `more` are settings by their names."""
    log = f"kafka://{address}"
    await asyncio.to_thread(provision, Settings(log=log), Choices(), change=True)
    settings = {"RESCIND_LOG": log, "RESCIND_SEALING_KEY": Fernet.generate_key().decode(), **more}
    async with parts(directory / "data", settings) as here:
        yield here
