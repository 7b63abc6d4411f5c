"""The whole way on the embedded log: toggles in by HTTP, deletions out to partners, acknowledged in their
replies. Prints figures with their conditions; asserts nothing, for no two machines are alike.

    python -m benchmarks.backbone [--toggles 20000] [--partners 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rescind.client import Client
from rescind.launching import Launch, ServiceProcess
from rescind.simulated import SimulatedPartner

BATCH = 1_000


async def measure(toggles: int, partners: int) -> None:
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"one service process on the embedded log; {partners} partners and the client share another process\n")
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as directory:
        launch = Launch(Path(directory))
        for words in ("first start to ready", "second start to ready"):
            began = time.perf_counter()
            service = await ServiceProcess.start(launch)
            print(f"{words:<42}{time.perf_counter() - began:>10.2f} s")
            if service.operator_key is not None:
                key = service.operator_key
                await service.stop()
        simulated = [SimulatedPartner(f"p{number}") for number in range(partners)]
        with Client(service.url, key, timeout=120) as client:
            await register(client, service.url, simulated)
            idle = memory(service.pid)
            await flow(client, toggles, partners, simulated)
        print(f"{'memory of the service, idle':<42}{idle['VmRSS']:>10.0f} MiB")
        print(f"{'memory of the service, peak':<42}{memory(service.pid)['VmHWM']:>10.0f} MiB")
        for partner in simulated:
            await partner.close()
        await service.stop()


async def flow(client: Client, toggles: int, partners: int, simulated: Sequence[SimulatedPartner]) -> None:
    """Send toggles, and print how fast they went in, and their deletions out and back."""
    began = time.perf_counter()
    for start in range(0, toggles, BATCH):
        await asyncio.to_thread(client.post_toggles, [toggle(number) for number in range(start, start + BATCH)])
    accepted = time.perf_counter() - began
    wanted = toggles * partners
    while sum(len(partner.seen.notices) for partner in simulated) < wanted:
        await asyncio.sleep(0.02)
    delivered = time.perf_counter() - began
    while client.lag()["totals"]["acknowledged"] < wanted:
        await asyncio.sleep(0.05)
    recorded = time.perf_counter() - began
    print(f"{f'{toggles} toggles accepted, {BATCH} a request':<42}{toggles / accepted:>10.0f} /s")
    print(f"{f'{wanted} deletions delivered':<42}{wanted / delivered:>10.0f} /s")
    print(f"{'... acknowledged, and in the ledger':<42}{wanted / recorded:>10.0f} /s")


async def register(client: Client, url: str, simulated: Sequence[SimulatedPartner]) -> None:
    """Partners that complete in their replies."""
    for partner in simulated:
        partner.bind()
        made = client.add_partner({"id": partner.id, "name": partner.id, "url": partner.url, "purposes": ["ai"]})
        await partner.open(url, made["signing_secret"], made["api_key"])


def toggle(number: int) -> dict[str, str]:
    return {"subject": f"user:{number}", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T00:00:00Z"}


def memory(pid: int) -> dict[str, float]:
    """MiB, by the kernel's name: VmRSS now, VmHWM at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return {name: int(kib) / 1024 for name, kib in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toggles", type=int, default=20_000)
    parser.add_argument("--partners", type=int, default=5)
    chosen = parser.parse_args()
    asyncio.run(measure(chosen.toggles, chosen.partners))


if __name__ == "__main__":
    main()
