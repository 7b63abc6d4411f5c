"""One log and several programs: they may write beside the service, and a second service is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from rescind.client import Client
from rescind.launching import Launch, ServiceProcess
from tests.e2e.test_lifecycle import one_line, rescind
from tests.e2e.world import Cast, world

_IMPORT = """
import asyncio, sys
from datetime import UTC, datetime
from streams.cloudevents import Envelope
from streams.events import ConsentToggled
from streams.kinds import Choice
from streams.embedded.log import EmbeddedLog
from streams.records import record
from streams.topics import TOGGLES
log = EmbeddedLog(f"sqlite://{sys.argv[1]}")
now = datetime.now(UTC)
for number in range(10):
    data = ConsentToggled(subject=f"user:{number}", purpose="ai", choice=Choice.OPT_OUT, occurred_at=now)
    asyncio.run(log.append([record(TOGGLES.name, Envelope(f"t{number}", now, data))]))
log.close()
"""


async def test_what_another_program_appends_is_carried_to_the_partners(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.register({"p": Cast(("ai",))})
        command = [sys.executable, "-c", _IMPORT, str(tmp_path / "log.sqlite")]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
        lag = await here.until(lambda lag: lag["partners"][0]["acknowledged"] == 10)
        assert lag["totals"]["toggles"] == 10


async def test_two_services_with_one_log_and_two_directories_are_refused(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/shared.sqlite"
    service = await ServiceProcess.start(Launch(tmp_path / "first", environment={"RESCIND_LOG": url}))
    try:
        words = ("up", "--data", str(tmp_path / "second"), "--port", "0")
        said = one_line(await asyncio.to_thread(rescind, *words, RESCIND_LOG=url))
        assert str(tmp_path / "shared.sqlite") in said
        assert f"(process {service.pid})" in said
        assert "as group rescind" in said
        with Client(service.url, service.operator_key) as client:
            assert client.partners() == [], "the first one goes on"
    finally:
        await service.stop()
    second = await ServiceProcess.start(Launch(tmp_path / "second", environment={"RESCIND_LOG": url}))
    assert second.operator_key is not None, "the start that failed made keys that nobody saw"
    assert await second.stop() == 0
