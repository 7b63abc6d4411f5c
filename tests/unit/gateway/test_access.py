"""Who may ask what: every role against every route, and every way to get a key wrong."""

from __future__ import annotations

import base64

import pytest

from ledger import Role
from tests.unit.gateway.harness import Gateway, problem

P, O, A = Role.PLATFORM, Role.OPERATOR, Role.PARTNER  # noqa: E741
#: What each route answers a request without a body, by role.
MATRIX: list[tuple[str, str, dict[Role, int]]] = [
    ("POST", "/v1/toggles", {P: 400, O: 400, A: 403}),
    ("GET", "/v1/consents/user:1", {P: 200, O: 200, A: 403}),
    ("GET", "/v1/consents/snapshot?purpose=ai-training", {P: 200, O: 200, A: 403}),
    ("POST", "/v1/gate", {P: 400, O: 400, A: 403}),
    ("GET", "/v1/subjects/user:1/timeline", {P: 200, O: 200, A: 403}),
    ("GET", "/v1/subjects/user:1/disclosures", {P: 200, O: 200, A: 403}),
    ("POST", "/v1/exports", {P: 400, O: 400, A: 403}),
    ("GET", "/v1/exports", {P: 200, O: 200, A: 403}),
    ("GET", "/v1/exports/e1", {P: 404, O: 404, A: 403}),
    ("PUT", "/v1/exports/e1/subjects/7", {P: 422, O: 422, A: 403}),
    ("POST", "/v1/exports/e1/close", {P: 400, O: 400, A: 403}),
    ("GET", "/v1/exports/e1/withdrawals", {P: 404, O: 404, A: 403}),
    ("POST", "/v1/partners", {P: 403, O: 400, A: 403}),
    ("GET", "/v1/partners", {P: 403, O: 200, A: 403}),
    ("GET", "/v1/partners/acme", {P: 403, O: 200, A: 200}),
    ("GET", "/v1/partners/other", {P: 403, O: 200, A: 404}),
    ("PATCH", "/v1/partners/acme", {P: 403, O: 400, A: 403}),
    ("POST", "/v1/partners/acme/rotate-secret", {P: 403, O: 400, A: 400}),
    ("DELETE", "/v1/partners/acme", {P: 403, O: 204, A: 403}),
    ("POST", "/v1/partners/acme/test", {P: 403, O: 200, A: 200}),
    ("POST", "/v1/partners/other/test", {P: 403, O: 200, A: 404}),
    ("POST", "/v1/partners/acme/try", {P: 403, O: 200, A: 403}),
    ("POST", "/v1/partners/acme/replies/seen", {P: 403, O: 200, A: 403}),
    ("POST", "/v1/partners/acme/replay", {P: 403, O: 400, A: 403}),
    ("GET", "/v1/dead-letters/undeliverable", {P: 403, O: 200, A: 403}),
    ("POST", "/v1/dead-letters/undeliverable/redrive", {P: 403, O: 400, A: 403}),
    ("POST", "/v1/dead-letters/undeliverable/outcomes", {P: 403, O: 400, A: 403}),
    ("POST", "/v1/dead-letters/undeliverable/discard", {P: 403, O: 400, A: 403}),
    ("GET", "/v1/dead-letters/poisoned", {P: 403, O: 200, A: 403}),
    ("POST", "/v1/dead-letters/poisoned/redrive", {P: 403, O: 400, A: 403}),
    ("POST", "/v1/dead-letters/poisoned/discard", {P: 403, O: 400, A: 403}),
    ("GET", "/v1/statements/s1", {P: 403, O: 404, A: 403}),
    ("GET", "/v1/contradictions", {P: 403, O: 200, A: 403}),
    ("GET", "/v1/actions", {P: 403, O: 200, A: 403}),
    ("POST", "/v1/acknowledgements", {P: 403, O: 403, A: 400}),
    ("GET", "/v1/lag", {P: 403, O: 200, A: 200}),
    ("GET", "/v1/lag/acme", {P: 403, O: 200, A: 200}),
    ("GET", "/v1/lag/other", {P: 403, O: 200, A: 404}),
    ("GET", "/v1/notices", {P: 403, O: 200, A: 200}),
    ("GET", "/v1/partners/acme/report", {P: 403, O: 422, A: 422}),
]
guarded = pytest.mark.parametrize(
    ("method", "path"), [case[:2] for case in MATRIX], ids=[f"{case[0]} {case[1]}" for case in MATRIX]
)
OPEN = [
    "/",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/v1/signing-key",
    "/dashboard/login",
]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(("method", "path", "expected"), MATRIX, ids=[f"{case[0]} {case[1]}" for case in MATRIX])
async def test_a_role_may_do_what_it_is_for(
    gateway: Gateway, method: str, path: str, expected: dict[Role, int], role: Role
) -> None:
    gateway.registered("acme")
    gateway.registered("other", lane=1)
    headers = gateway.as_(role, "acme" if role is A else None)
    answer = await gateway.http.request(method, path, headers=headers)
    assert answer.status_code == expected[role]
    if answer.status_code >= 400:
        problem(answer, expected[role])
    if answer.status_code == 403:
        assert str(role) in answer.json()["detail"]


async def test_the_matrix_covers_every_route(gateway: Gateway) -> None:
    paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    documented.remove(("POST", "/v1/callbacks/{partner}"))  # a signature opens it, and no key
    covered = {
        (
            method,
            path.partition("?")[0]
            .replace("user:1", "{subject}")
            .replace("acme", "{partner}")
            .replace("s1", "{statement}")
            .replace("e1", "{export}")
            .replace("/7", "/{block}"),
        )
        for method, path, _ in MATRIX
    }
    assert documented - {("GET", path) for path in OPEN} == {
        (method, path) for method, path in covered if "other" not in path
    }


@guarded
async def test_no_key_is_401(gateway: Gateway, method: str, path: str) -> None:
    answer = await gateway.http.request(method, path)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@guarded
async def test_a_revoked_key_is_401(gateway: Gateway, method: str, path: str) -> None:
    for role in Role:
        key, plain = gateway.keys.create(role, gateway.clock.now, "acme" if role is A else None)
        gateway.keys.revoke(key.id, gateway.clock.now)
        answer = await gateway.http.request(method, path, headers={"authorization": f"Bearer {plain}"})
        problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize("path", OPEN)
async def test_what_needs_no_key(gateway: Gateway, path: str) -> None:
    assert (await gateway.http.get(path)).status_code in (200, 307)


BROKEN: list[bytes] = [
    b"",
    b" ",
    b"Bearer",
    b"Bearer ",
    b"Bearer  ",
    b"Bearer x",
    b"Bearer rsk",
    b"Bearer ___",
    b"Bearer rsk_operator_000000000000_",
    b"Bearer rsk_operator_000000000000_x",
    b"Bearer rsk_operator_%_x",
    b"Bearer rsk_operator_'; DROP TABLE keys; --_x",
    b"Bearer rsk_operator_\xc3\xa4_x",
    b"Bearer \xff\xfe",
    b"\xff",
    b"Bearer " + b"x" * 60_000,
    b"Bearer rsk_operator_" + b"x" * 60_000 + b"_x",
    b"Token x",
    b"Negotiate x",
    b"Basic",
    b"Basic ",
    b"Basic !",
    b"Basic =",
    b"Basic ====",
    b"Basic a",
    b"Basic \xff",
    b"Basic " + base64.b64encode(b"no colon"),
    b"Basic " + base64.b64encode(b":"),
    b"Basic " + base64.b64encode(b"user:"),
    b"Basic " + base64.b64encode(b"\xff\xfe:\xfd"),
    b"Basic " + base64.b64encode("jürgen:geheim".encode()),
    b"Basic " + base64.b64encode(b"a:b:c"),
    b"Basic " + base64.b64encode(b"a:rsk_operator_000000000000_x"),
    b"Basic " + base64.b64encode(b"a:\0"),
]


@pytest.mark.parametrize("value", BROKEN, ids=[repr(value[:50])[2:-1] for value in BROKEN])
@pytest.mark.parametrize("path", ["/v1/lag", "/v1/partners"])
async def test_a_malformed_authorization_is_401_and_nothing_worse(gateway: Gateway, path: str, value: bytes) -> None:
    answer = await gateway.http.get(path, headers=[(b"authorization", value)])
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_scheme_is_known_in_any_case(gateway: Gateway) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        headers = {"authorization": f"{scheme} {gateway.key(Role.OPERATOR)}"}
        assert (await gateway.http.get("/v1/lag", headers=headers)).status_code == 200


async def test_a_key_in_part_is_no_key(gateway: Gateway) -> None:
    plain = gateway.key(Role.OPERATOR)
    for wrong in (plain[:-1], plain + "x", plain.replace("operator", "platform"), plain.upper(), f"{plain},{plain}"):
        answer = await gateway.http.get("/v1/lag", headers={"authorization": f"Bearer {wrong}"})
        problem(answer, 401, "unauthenticated")


async def test_who_has_no_key_learns_nothing_of_the_body(gateway: Gateway) -> None:
    problem(await gateway.http.post("/v1/toggles", content=b"{nonsense"), 401)
    problem(await gateway.http.get("/v1/consents/no-subject"), 401)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/toggles", {"POST"}),
        ("/v1/consents/user:1", {"GET"}),
        ("/v1/subjects/user:1/timeline", {"GET"}),
        ("/v1/acknowledgements", {"POST"}),
        ("/v1/lag", {"GET"}),
        ("/dashboard", {"GET"}),
    ],
)
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "TRACE", "FOO"])
async def test_another_method_is_405_and_says_which_are_allowed(
    gateway: Gateway, method: str, path: str, allowed: set[str]
) -> None:
    answer = await gateway.http.request(method, path)
    assert answer.status_code == 405
    if method != "HEAD":
        problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/v1", "/v1/", "/v1/toggles//", "/v1/partners/a/b", "/V1/lag", "/v1/subjects/user:1"],
)
async def test_what_is_not_there_is_404(gateway: Gateway, path: str) -> None:
    found = problem(await gateway.http.get(path, headers=gateway.operator), 404, "not-found")
    assert path in found["detail"]


@pytest.mark.parametrize("path", ["/%FF", "/%00", "/%0A", "/%E2%80%AE", "/" + "x" * 5000, "/<script>"])
async def test_odd_paths_are_404(gateway: Gateway, path: str) -> None:
    problem(await gateway.http.get(path), 404, "not-found")
