"""A slash behind a path of the API, which many clients write, is no other path."""

from __future__ import annotations

import json

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from ledger import Role
from streams import signing
from streams.events import ConsentChanged
from streams.kinds import Choice
from streams.topics import DECISIONS
from tests.unit.gateway.harness import NOON, Gateway, problem
from tests.unit.gateway.test_server import serving

DONE = b'{"notice_id":"n-acme-1","status":"completed","outcome":"deleted"}'


@pytest.fixture(autouse=True)
def a_partner(gateway: Gateway) -> None:
    gateway.registered("acme")
    gateway.issued(1)


def filled(path: str) -> str:
    return path.format(subject="user:1", partner="acme", export="e-1", block=0, statement="s-1")


async def test_every_route_serves_with_a_slash_behind_it(gateway: Gateway) -> None:
    """Alike: the same status and the same words, but where the last part is a subject, which may end in a slash."""
    paths = {path for path in gateway.app.openapi()["paths"] if path.startswith("/v1/")} - {"/v1/consents/{subject}"}
    assert len(paths) > 30
    keys = dict.fromkeys(("get", "post", "patch", "put"), gateway.operator)
    keys["delete"] = gateway.platform  # forbidden, so that there is the same to do the second time
    for path in sorted(paths):
        for method in gateway.app.openapi()["paths"][path]:
            plain, behind = [
                await gateway.http.request(method, filled(path) + slash, content=b"{", headers=keys[method])
                for slash in ("", "/")
            ]
            assert behind.status_code == plain.status_code, (method, path)
            # What succeeds may have made something new.
            assert behind.is_success or behind.content == plain.content, (method, path)
            assert b"there is nothing at" not in behind.content, (method, path)


async def test_it_is_counted_as_the_route_that_it_is(gateway: Gateway) -> None:
    answer = await gateway.http.post("/v1/acknowledgements/", content=DONE, headers=gateway.partner())
    assert answer.status_code == 202
    text = (await gateway.http.get("/metrics")).text
    assert 'rescind_http_requests_total{method="POST",route="/v1/acknowledgements",status="202"} 1.0' in text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/acknowledgements//",
        "/v1//acknowledgements",
        "//v1/acknowledgements",
        "/v1/acknowledgements%2F",
        "/v1/acknowledgements/%2F",
        "/v1/callbacks/",
        "/v1/callbacks//",
        "/v1/callbacks/acme%2F",
        "/v1/",
        "/v1",
        "/v1/none/",
        "/v1/acknowledgements%0A/",
        "/v1/acknowledgements/%0A",
    ],
)
async def test_what_is_another_path_stays_one(gateway: Gateway, path: str) -> None:
    answer = await gateway.http.post(path, content=DONE, headers=gateway.partner())
    problem(answer, 404, "not-found")
    assert not answer.is_redirect


@pytest.mark.parametrize("path", ["/v1/partners/%0A/", "/v1/partners/acme%0A/", "/v1/partners/acme%2F"])
async def test_a_slash_leads_to_nobody_else(gateway: Gateway, path: str) -> None:
    assert (await gateway.http.get(path, headers=gateway.operator)).status_code in (404, 422)


async def test_a_subject_may_end_in_a_slash(gateway: Gateway) -> None:
    changed = ConsentChanged(
        subject="path:a/",
        purpose="ai",
        choice=Choice.OPT_OUT,
        retroactive=True,
        toggle_id="t-1",
        occurred_at=NOON,
        accepted_at=NOON,
    )
    gateway.happened(DECISIONS.name, "d-1", changed)
    for path in ("/v1/consents/path:a/", "/v1/consents/path%3Aa%2F", "/v1/subjects/path:a//timeline/"):
        answer = await gateway.http.get(path, headers=gateway.platform)
        assert answer.json()["subject"] == "path:a/"
        assert answer.json().get("consents", answer.json().get("entries"))
    assert (await gateway.http.get("/v1/consents/path:a", headers=gateway.platform)).json()["consents"] == []


async def test_over_a_socket(gateway: Gateway) -> None:
    secret = signing.new_secret()
    sealed = {"scheme": "v1", "sealed": gateway.context.sealer.seal(secret), "expires_at": None}
    gateway.registered("acme", secrets=[sealed], revision=2)
    signed = {
        "webhook-id": "cb_1",
        "webhook-timestamp": str(int(NOON.timestamp())),
        "webhook-signature": Webhook(secret).sign("cb_1", NOON, DONE.decode()),
    }
    async with (
        serving(gateway) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", follow_redirects=False) as http,
    ):
        said = await http.post("/v1/acknowledgements/", content=b"\xef\xbb\xbf" + DONE, headers=gateway.partner())
        assert (said.status_code, said.json()["results"][0]["result"]) == (202, "accepted")
        callback = await http.post("/v1/callbacks/acme/", content=DONE, headers=signed)
        assert (callback.status_code, callback.json()["results"][0]["result"]) == (202, "accepted")
        packed = gateway.as_(Role.PARTNER, "acme") | {"content-encoding": "gzip"}
        refused = await http.post("/v1/acknowledgements/", content=b"\x1f\x8b\x08", headers=packed)
        assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "identity")
        assert json.loads(refused.content)["type"] == "/problems/unsupported-content-encoding"
        assert (await http.post("/v1/acknowledgements%2F", content=DONE, headers=gateway.partner())).status_code == 404
