"""Simulated partners: real HTTP servers that behave as partners do, for the demo, tests and benchmarks."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from rescind.client import ApiError, Client, Unreachable
from rescind.partner import Delivery, ReceivedNotice, completed, receive, reply
from streams.clock import Clock, utc_now
from streams.errors import InvalidInput
from streams.signing import InvalidSignature

log = logging.getLogger(__name__)

#: Acknowledgements of one request at most.
_MOST = 1000
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 2.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a partner behaves. Times are in seconds."""

    #: None completes in the webhook's reply; otherwise by the API, so long after the webhook.
    complete_after: float | None = None
    #: Of so many requests one is answered 503; 0 takes all.
    refuse_one_of: int = 0
    #: What a 503 says of when to come again; None says nothing.
    retry_after: int | None = None
    #: How long it thinks before it answers.
    answer_after: float = 0.0
    #: How long it is down at first: connections are refused.
    away_for: float = 0.0


@dataclass(slots=True)
class Seen:
    """What a partner saw: its side of the story, to compare with the ledger's."""

    notices: dict[str, ReceivedNotice] = field(default_factory=dict)
    #: By webhook-id the notices it carried; a retry must carry the same.
    webhooks: dict[str, frozenset[str]] = field(default_factory=dict)
    requests: int = 0
    turned_away: int = 0
    #: Signature wrong, body unreadable, or a webhook-id with other notices than before. Never, we hope.
    faults: list[str] = field(default_factory=list)


class SimulatedPartner:
    """One partner. `bind`, register its `url`, `open` with what registration gave, `close`. Its `keys`, one or
    several, check signatures; they may be changed at any time."""

    def __init__(self, identity: str, behaviour: Behaviour | None = None, clock: Clock = utc_now) -> None:
        self.id = identity
        self.behaviour = behaviour or Behaviour()
        self.seen = Seen()
        self._clock = clock
        self._socket: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self.keys: str | Sequence[str] = ""
        self._client: Client | None = None
        self._due: deque[tuple[float, ReceivedNotice]] = deque()
        self._due_came = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        assert self._socket is not None, "bind first"  # noqa: S101
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/rescind"

    def bind(self) -> None:
        """Take an address. A socket that is bound and does not listen refuses connections, as a partner
        that is down does."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))

    async def open(self, service_url: str, keys: str | Sequence[str], api_key: str) -> None:
        """Begin to behave."""
        self.keys = keys
        self._client = Client(service_url, api_key)
        self._tasks = [asyncio.create_task(self._listen())]
        if self.behaviour.complete_after is not None:
            self._tasks.append(asyncio.create_task(self._complete(self.behaviour.complete_after)))
        if not self.behaviour.away_for:
            await self._tasks[0]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()
        if self._client is not None:
            self._client.close()

    async def _listen(self) -> None:
        await asyncio.sleep(self.behaviour.away_for)
        application = web.Application(client_max_size=16 * 1024 * 1024)
        application.router.add_post("/rescind", self._webhook)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        assert self._socket is not None  # noqa: S101
        await web.SockSite(self._runner, self._socket).start()

    async def _webhook(self, request: web.Request) -> web.Response:
        self.seen.requests += 1
        if self.behaviour.refuse_one_of and self.seen.requests % self.behaviour.refuse_one_of == 0:
            return self._turn_away()
        try:
            delivery = receive(self.keys, request.headers, await request.read(), self._clock())
        except InvalidSignature as error:
            return self._fault(401, str(error))
        except InvalidInput as error:
            return self._fault(400, str(error))
        self._see(delivery)
        await asyncio.sleep(self.behaviour.answer_after)
        return web.Response(
            body=reply([self._result(notice) for notice in delivery.notices]), content_type="application/json"
        )

    def _turn_away(self) -> web.Response:
        self.seen.turned_away += 1
        again = self.behaviour.retry_after
        headers = {} if again is None else {"retry-after": str(again)}
        return web.Response(status=503, headers=headers, text="busy, come again")

    def _see(self, delivery: Delivery) -> None:
        carried = frozenset(notice.id for notice in delivery.notices)
        if self.seen.webhooks.setdefault(delivery.webhook_id, carried) != carried:
            self._fault(200, f"{delivery.webhook_id} came with other notices than before")
        for notice in delivery.notices:
            if notice.id in self.seen.notices:
                continue  # the same again, as at-least-once delivery allows
            self.seen.notices[notice.id] = notice
            if self.behaviour.complete_after is not None:
                due = asyncio.get_running_loop().time() + self.behaviour.complete_after
                self._due.append((due, notice))
                self._due_came.set()

    def _result(self, notice: ReceivedNotice) -> Mapping[str, Any]:
        if self.behaviour.complete_after is not None:
            return {"id": notice.id, "status": "in_progress"}
        return {"id": notice.id, **completed(notice)}

    def _fault(self, status: int, text: str) -> web.Response:
        self.seen.faults.append(text)
        return web.Response(status=status, text=text)

    async def _complete(self, after: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._due:
                self._due_came.clear()
                await self._due_came.wait()
            await asyncio.sleep(max(0.0, self._due[0][0] - loop.time()))
            ripe: list[ReceivedNotice] = []
            while self._due and self._due[0][0] <= loop.time() and len(ripe) < _MOST:
                ripe.append(self._due.popleft()[1])
            if ripe:
                await self._acknowledge([{"notice_id": notice.id, **completed(notice)} for notice in ripe])

    async def _acknowledge(self, said: Sequence[dict[str, Any]]) -> None:
        """Until the service has taken it: a repeated acknowledgement changes nothing."""
        assert self._client is not None  # noqa: S101
        delay = _FIRST_DELAY
        while True:
            try:
                results = await asyncio.to_thread(self._client.acknowledge, said)
            except (Unreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status < 500:
                    self.seen.faults.append(str(error))
                    return
                log.info("partner %s acknowledges again in %.1f s: %s", self.id, delay, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY)
            else:
                self.seen.faults += [str(result) for result in results if result["result"] != "accepted"]
                return
