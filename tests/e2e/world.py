"""A whole world: the service as a process, partners as real HTTP servers, and both sides' stories."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rescind.client import Client
from rescind.launching import Launch, ServiceProcess
from rescind.simulated import Behaviour, SimulatedPartner
from tests.support.ports import free_ports

#: So that a partner that was down is tried again soon.
ENVIRONMENT = {"RESCIND_RETRY_BASE": "0.2", "RESCIND_RETRY_CAP": "1"}
#: Seconds after which something that must happen counts as never happening.
PATIENCE = 90.0


@dataclass(frozen=True, slots=True)
class Cast:
    """A partner to register."""

    purposes: tuple[str, ...]
    behaviour: Behaviour = field(default_factory=Behaviour)
    batch_size: int = 100


class World:
    """The service may be killed and started again; the partners stay."""

    def __init__(self, data_dir: Path, *, verbose: bool = False, environment: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self._verbose = verbose
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self.partners: dict[str, SimulatedPartner] = {}
        self.operator_key = ""
        self.platform_key = ""
        self.url = ""
        self._service: ServiceProcess | None = None

    async def start(self) -> ServiceProcess:
        """Start the service; always at the same address, once it has one."""
        port = int(self.url.rpartition(":")[2]) if self.url else free_ports(1)[0]
        launch = Launch(self.data_dir, port, environment=self._environment, verbose=self._verbose)
        self._service = await ServiceProcess.start(launch)
        self.url = self._service.url
        self.operator_key = self._service.operator_key or self.operator_key
        self.platform_key = self._service.platform_key or self.platform_key
        return self._service

    async def die_while_starting(self, after: float) -> None:
        """Start the service, and kill it so many seconds later, whether it is ready by then or not."""
        starting = asyncio.create_task(self.start())
        await asyncio.wait([starting], timeout=after)
        if starting.done():
            await (await starting).kill()
        else:
            starting.cancel()  # kills the process
            await asyncio.wait([starting])

    @property
    def service(self) -> ServiceProcess:
        assert self._service is not None
        return self._service

    def operator(self) -> Client:
        return Client(self.url, self.operator_key)

    def platform(self) -> Client:
        return Client(self.url, self.platform_key)

    async def register(self, cast: Mapping[str, Cast]) -> None:
        for identity, part in cast.items():
            partner = self.partners[identity] = SimulatedPartner(identity, part.behaviour)
            partner.bind()
            wanted = {"id": identity, "name": identity, "url": partner.url, "purposes": part.purposes}
            made = await self.add(wanted | {"batch_size": part.batch_size})
            await partner.open(self.url, made["signing_secret"], made["api_key"])

    async def add(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Register a partner. What that gave."""

        def add() -> dict[str, Any]:
            with self.operator() as client:
                return client.add_partner(wanted)

        return await asyncio.to_thread(add)

    async def until(self, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the service's own account of its lag says so. The account."""
        lag: dict[str, Any] = {}
        with self.operator() as client:
            try:
                async with asyncio.timeout(PATIENCE):
                    while not reached(lag := await asyncio.to_thread(client.lag)):
                        await asyncio.sleep(0.1)
            except TimeoutError:
                raise AssertionError(f"not reached; {self.service.last_words()}; {lag}") from None
        return lag

    async def close(self) -> None:
        for partner in self.partners.values():
            await partner.close()
        if self._service is not None:
            await self._service.stop()


@asynccontextmanager
async def world(
    data_dir: Path, *, verbose: bool = False, environment: Mapping[str, str] | None = None
) -> AsyncIterator[World]:
    """`environment` adds to the settings that all worlds have."""
    made = World(data_dir, verbose=verbose, environment=environment)
    try:
        await made.start()
        yield made
    finally:
        await made.close()


def all_acknowledged(notices: Counter[str]) -> Callable[[dict[str, Any]], bool]:
    """Each partner has answered for as many notices as it must get."""

    def reached(lag: dict[str, Any]) -> bool:
        acknowledged = {row["partner"]: row["acknowledged"] for row in lag["partners"]}
        return all(acknowledged.get(partner, 0) >= count for partner, count in notices.items())

    return reached


def all_settled(notices: Counter[str]) -> Callable[[dict[str, Any]], bool]:
    """All notices were issued, and none of them is open: some may have been superseded before they were taken."""

    def reached(lag: dict[str, Any]) -> bool:
        totals: dict[str, int] = lag["totals"]
        return totals["notices"] >= notices.total() and totals["open"] == 0

    return reached


def query(path: Path, sql: str) -> Sequence[tuple[Any, ...]]:
    """Ask a SQLite file, past all of our own code."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
