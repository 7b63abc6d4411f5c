"""`rescind demo`: the real service, four simulated partners, real opt-outs, and what becomes of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from rescind.client import Client
from rescind.importing import Import, Options, Summary
from rescind.launching import Launch, ServiceProcess
from rescind.output import out, seconds, state, table
from rescind.reading import csv_parser, toggle_of
from rescind.simulated import Behaviour, SimulatedPartner
from streams.errors import InvalidInput, RescindError

EXAMPLE = Path(__file__).parent.parent / "examples" / "ai-crawler-choices.csv"

#: Toggles a second, so that there is something to watch.
_PACE = 60
_BATCH = 20
_REFRESH_SECONDS = 0.25
#: So that whoever comes back is noticed within the demo's minute.
_ENVIRONMENT = {"RESCIND_RETRY_BASE": "0.5", "RESCIND_RETRY_CAP": "4"}


@dataclass(frozen=True, slots=True)
class Part:
    """A partner's part in the demo. Everybody is registered for `ccbot`, whose crawl many use."""

    id: str
    words: str
    behaviour: Behaviour
    purposes: tuple[str, ...]


CAST = (
    Part("prompt", "answers at once", Behaviour(), ("ccbot", "gptbot", "chatgpt-user", "oai-searchbot", "cohere-ai")),
    Part(
        "slow",
        "completes 15 s later",
        Behaviour(complete_after=15.0),
        ("ccbot", "google-extended", "applebot-extended", "amazonbot", "petalbot", "bytespider", "pangubot"),
    ),
    Part(
        "flaky",
        "503 to every third",
        Behaviour(refuse_one_of=3),
        ("ccbot", "anthropic-ai", "claudebot", "claude-web", "perplexitybot", "youbot", "timpibot", "diffbot"),
    ),
    Part(
        "away",
        "down for 30 s",
        Behaviour(away_for=30.0),
        (
            "ccbot",
            "facebookbot",
            "meta-externalagent",
            "omgili",
            "omgilibot",
            "webzio-extended",
            "ai2bot",
            "ai2bot-dolma",
        ),
    ),
)


class DemoFailed(RescindError):
    """Something did not become what it must."""


async def run_demo(file: Path | None, time_limit: float, *, stay: bool = False, port: int = 0) -> None:
    """Run it, and return when everything is acknowledged as it must be; with `stay`, on Ctrl-C only.

    Raises `RescindError`.
    """
    source = file or EXAMPLE
    expected = expectation(source)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rescind-demo-") as directory:
        async with _stage(Launch(Path(directory), port, environment=_ENVIRONMENT)) as stage:
            _introduce(stage, source, expected)
            importing = asyncio.create_task(asyncio.to_thread(_import, source, stage))
            try:
                lag = await _watch(stage, expected, importing, began + time_limit)
            finally:
                stage.target.stopped = True
                await asyncio.gather(importing, return_exceptions=True)
            _summarise(lag, importing.result(), stage, expected, time.monotonic() - began)
            if stay:
                out.print("It stays running. Ctrl-C ends it.")
                await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of a file: notices by partner, and the opt-outs that stand at its end."""

    notices: Counter[str]
    opted_out: int


def expectation(source: Path) -> Expected:
    """By the simplest reading of the file: in its own order, a site's first opt-out and every change of
    mind after it counts."""
    choices: dict[tuple[str, str], str] = {}
    notices: Counter[str] = Counter()
    try:
        lines = source.read_bytes().splitlines()
        parse = csv_parser(lines[0].decode("utf-8-sig"))
        toggles = [toggle_of(line, parse) for line in lines[1:] if line.strip()]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise InvalidInput(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from None
    for toggle in toggles:
        key = (toggle["subject"], toggle["purpose"])
        if toggle["choice"] != choices.get(key, "opt_in"):
            notices.update(part.id for part in CAST if toggle["purpose"] in part.purposes)
        choices[key] = toggle["choice"]
    return Expected(notices, sum(choice == "opt_out" for choice in choices.values()))


@dataclass(slots=True)
class _Paced:
    """Sends toggles, but not all at once."""

    client: Client
    stopped: bool = False

    def post_toggles(self, toggles: Sequence[dict[str, Any]]) -> list[str]:
        time.sleep(len(toggles) / _PACE)
        if self.stopped:
            raise DemoFailed("the import was stopped")
        return self.client.post_toggles(toggles)


@dataclass(frozen=True, slots=True)
class _Stage:
    service: ServiceProcess
    client: Client
    partners: Mapping[str, SimulatedPartner]
    target: _Paced


@asynccontextmanager
async def _stage(launch: Launch) -> AsyncIterator[_Stage]:
    """The service and its partners, registered and running."""
    async with AsyncExitStack() as stack:
        service = await ServiceProcess.start(launch)
        stack.push_async_callback(service.stop)
        client = stack.enter_context(Client(service.url, service.operator_key))
        target = _Paced(stack.enter_context(Client(service.url, service.platform_key)))
        partners = {}
        for part in CAST:
            partner = partners[part.id] = SimulatedPartner(part.id, part.behaviour)
            stack.push_async_callback(partner.close)
            partner.bind()
            wanted = {"id": part.id, "name": part.id, "url": partner.url, "purposes": part.purposes}
            made = await asyncio.to_thread(client.add_partner, wanted)
            await partner.open(service.url, made["signing_secret"], made["api_key"])
        yield _Stage(service, client, partners, target)


def _import(source: Path, stage: _Stage) -> Summary:
    with tempfile.TemporaryDirectory(prefix="rescind-demo-") as directory:
        # A copy: the import keeps its progress beside the file, and the example is not ours to litter.
        copy = Path(directory) / source.name
        copy.write_bytes(source.read_bytes())
        return Import(copy, stage.target, Options(batch=_BATCH)).run()


async def _watch(
    stage: _Stage, expected: Expected, importing: asyncio.Task[Summary], deadline: float
) -> dict[str, Any]:
    """Show each partner until nothing is open. The last figures."""
    lag = await asyncio.to_thread(stage.client.lag)
    with Live(_picture(lag), console=out, auto_refresh=False, transient=False) as live:
        while not (importing.done() and _settled(lag, expected)):
            if importing.done():
                importing.result()
            if time.monotonic() > deadline:
                raise DemoFailed("not everything was acknowledged within the time limit")
            if not stage.service.running:
                raise DemoFailed(f"the service ended: {stage.service.last_words()}")
            await asyncio.sleep(_REFRESH_SECONDS)
            lag = await asyncio.to_thread(stage.client.lag)
            live.update(_picture(lag), refresh=out.is_terminal)
        live.update(_picture(lag), refresh=True)
    return lag


def _settled(lag: Mapping[str, Any], expected: Expected) -> bool:
    totals: Mapping[str, int] = lag["totals"]
    return totals["notices"] >= expected.notices.total() and totals["open"] == 0


def _picture(lag: Mapping[str, Any]) -> Table:
    rows = {row["partner"]: row for row in lag["partners"]}
    columns = ["partner", "behaviour", "state", "delivered", "acknowledged", "open", "oldest"]
    widths = [7, 20, 5, 9, 12, 5, 8]  # steady while the figures grow, and within 80 columns
    lines: list[list[str | Text]] = [
        [
            part.id,
            part.words,
            state(rows[part.id]["state"]),
            str(rows[part.id]["delivered"]),
            str(rows[part.id]["acknowledged"]),
            str(rows[part.id]["open"]),
            seconds(rows[part.id]["oldest_open_seconds"]),
        ]
        for part in CAST
    ]
    made = table(columns, lines, right=columns[3:])
    made.caption = f"{lag['totals']['toggles']} toggles received, {lag['totals']['opted_out']} standing opt-outs"
    made.caption_justify = "left"
    for column, width in zip(made.columns, widths, strict=True):
        column.min_width = width
    return made


def _introduce(stage: _Stage, source: Path, expected: Expected) -> None:
    # Nothing is wider than 80 columns: a terminal would break it anywhere, and the key is there to be copied.
    out.print(f"{source.name}: what sites said to AI crawlers becomes toggles,")
    out.print(
        f"{_PACE} a second. They must cause {expected.notices.total()} notices to four partners, each a web server."
    )
    out.print(f"Dashboard: {stage.service.url}/dashboard")
    out.print(f"Log in with {stage.service.operator_key}\n")


def _summarise(lag: Mapping[str, Any], summary: Summary, stage: _Stage, expected: Expected, took: float) -> None:
    """Say what happened, and check both sides' stories against each other. Raises `DemoFailed`."""
    totals = lag["totals"]
    seen = {identity: partner.seen for identity, partner in stage.partners.items()}
    faults = [f"{identity}: {fault}" for identity, story in seen.items() for fault in story.faults]
    for row in lag["partners"]:
        held = len(seen[row["partner"]].notices)
        if not row["acknowledged"] == row["delivered"] == held:
            faults.append(f"{row['partner']} holds {held} notices, and the ledger says {row['acknowledged']}")
    if totals["poisoned"]:
        faults.append(f"{totals['poisoned']} messages could not be processed")
    if totals["opted_out"] != expected.opted_out:
        faults.append(f"{expected.opted_out} opt-outs stand in the file, and {totals['opted_out']} in the ledger")
    if faults:
        raise DemoFailed("; ".join(faults[:3]))
    turned_away = sum(story.turned_away for story in seen.values())
    reversed_before = totals["notices"] - totals["acknowledged"]
    out.print(
        f"\n{summary.accepted} toggles became {totals['requests']} deletion requests and {totals['notices']} notices.\n"
        f"{totals['acknowledged']} were delivered, signed, and acknowledged, although {turned_away} requests were\n"
        f"turned away and one partner was down; {reversed_before} were reversed before they were taken.\n"
        f"Each partner holds what the ledger says.\n"
        f"It took {took:.0f} s."
    )
