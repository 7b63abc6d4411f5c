"""Who reads the logs or the metrics of a service learns nothing of its subjects, whatever partners say of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
from aiohttp import web

from rescind.partner import callback, receive
from streams import signing
from tests.e2e.world import query, world

SECRET_NAMES = ("mata-hari", "deep.throat", "no-such-name")


class Gossip:
    """A partner that repeats what it should keep to itself, wherever it can."""

    def __init__(self) -> None:
        self.secret = ""
        self.requests = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        delivery = receive(self.secret, dict(request.headers), await request.read(), datetime.now(UTC))
        subjects = " and ".join(notice.subject for notice in delivery.notices)
        bare = " and ".join(notice.subject.partition(":")[2] for notice in delivery.notices)
        said = [
            {"id": subjects, "status": "received"},
            {"id": delivery.notices[0].id, "status": subjects},
            {"id": delivery.notices[0].id, "vocabulary": subjects, "code": bare},
        ]
        if self.requests == 1:
            return web.Response(status=503, text=f"busy with {subjects}", headers={"retry-after": "0"})
        if len(delivery.notices) > 1 or bare == "deep.throat":
            return web.json_response({"why": f"who is {bare}? {subjects}?"}, status=422)
        return web.json_response({"results": said})


async def test_no_log_and_no_metric_names_a_subject(tmp_path: Path) -> None:
    gossip = Gossip()
    application = web.Application()
    application.router.add_post("/", gossip.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with world(tmp_path / "data", verbose=True) as here, httpx.AsyncClient(base_url=here.url) as http:
            with here.operator() as client:
                wanted = {
                    "id": "p",
                    "name": "P",
                    "url": f"http://127.0.0.1:{runner.addresses[0][1]}/",
                    "purposes": ["ai"],
                }
                gossip.secret = (await asyncio.to_thread(client.add_partner, wanted))["signing_secret"]
            toggles = [
                {"subject": f"spy:{name}", "purpose": "ai", "choice": "opt_out", "occurred_at": "2026-01-01T12:00:00Z"}
                for name in SECRET_NAMES[:2]
            ]
            with here.platform() as client:
                await asyncio.to_thread(client.post_toggles, toggles)
            lag = await here.until(
                lambda lag: lag["partners"][0]["last_error"] is not None and lag["partners"][0]["delivered"] == 1
            )
            assert "who is" in str(lag["partners"][0]["last_error"]) or gossip.requests > 2
            headers, body = callback(signing.new_secret(), "cb", [{"notice_id": "spy:mata-hari"}], datetime.now(UTC))
            assert (await http.post("/v1/callbacks/p", content=body, headers=headers)).status_code == 401
            operator = {"authorization": f"Bearer {here.operator_key}"}
            for path in (
                "/v1/subjects/spy:no-such-name/timeline",
                "/v1/consents/spy:no-such-name",
                "/v1/spy:mata-hari",
            ):
                await http.get(path, headers=operator)
            metrics = (await http.get("/metrics")).text
            await here.service.stop()
        told = (tmp_path / "data" / "service.log").read_text()
        assert "partner=p" in told, "it does log"
        assert "[subject]" in told, "and partners do gossip"
        subjects = {row[0] for row in query(tmp_path / "data" / "ledger.sqlite", "SELECT subject FROM notices")}
        assert subjects == {f"spy:{name}" for name in SECRET_NAMES[:2]}
        assert not [name for name in SECRET_NAMES if name in told or name in metrics]
    finally:
        await runner.cleanup()
