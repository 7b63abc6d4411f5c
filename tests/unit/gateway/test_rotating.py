"""Signing secrets: which there are after a rotation, who may rotate, and that a secret is seen once and never again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from gateway.rotating import new_secrets, rotated
from ledger import Role
from streams import signing
from streams.events import MOST_SECRETS, Partner, PartnerChanged, SealedSecret
from streams.keyring import live_secrets
from streams.sealing import Sealer
from streams.signing import Scheme
from streams.topics import PARTNERS
from tests.unit.gateway.harness import NOON, Gateway, at, problem

URL = "/v1/partners/acme/rotate-secret"
GOOD: dict[str, Any] = {"id": "acme", "name": "Acme", "url": "https://acme.example/", "purposes": ["ai"]}
DAY = 24 * 60.0
BODY = b"[]"

# -- which secrets there are


def secret(name: str, minutes: float | None = None) -> SealedSecret:
    """`v1a` if its name is in capitals."""
    scheme = Scheme.V1A if name.isupper() else Scheme.V1
    return SealedSecret(scheme=scheme, sealed=name, expires_at=None if minutes is None else at(minutes))


def after(overlap: float, made: str, *held: SealedSecret) -> list[tuple[str, float | None]]:
    """What there is after a rotation at noon: names, and when each ends, in minutes."""
    new = [secret(name) for name in made]
    return [
        (each.sealed, None if each.expires_at is None else (each.expires_at - NOON) / timedelta(minutes=1))
        for each in rotated(held, new, NOON, timedelta(minutes=overlap))
    ]


@pytest.mark.parametrize(
    ("overlap", "made", "held", "expected"),
    [
        # The old one ends with the overlap, or at once.
        (60, "b", [secret("a")], [("b", None), ("a", 60)]),
        (0, "b", [secret("a")], [("b", None)]),
        # Again while one overlaps: nobody's end is put off, and it may come sooner.
        (60, "c", [secret("b"), secret("a", 10)], [("c", None), ("b", 60), ("a", 10)]),
        (60, "c", [secret("b"), secret("a", 90)], [("c", None), ("b", 60), ("a", 60)]),
        (0, "c", [secret("b"), secret("a", 90)], [("c", None)]),
        # What has ended is forgotten.
        (60, "c", [secret("b"), secret("a", 0)], [("c", None), ("b", 60)]),
        (60, "c", [secret("b"), secret("a", -1)], [("c", None), ("b", 60)]),
        # The oldest makes room.
        (60, "d", [secret("c"), secret("b", 9), secret("a", 8)], [("d", None), ("c", 60), ("b", 9)]),
        # Of both schemes, each for itself.
        (60, "bB", [secret("a"), secret("A")], [("b", None), ("B", None), ("a", 60), ("A", 60)]),
        (
            60,
            "dD",
            [secret("c"), secret("C"), secret("b", 9), secret("B", 9), secret("a", 8), secret("A", 8)],
            [("d", None), ("D", None), ("c", 60), ("C", 60), ("b", 9), ("B", 9)],
        ),
        # To another scheme, and back.
        (60, "A", [secret("a")], [("A", None), ("a", 60)]),
        (60, "b", [secret("A"), secret("a", 9)], [("b", None), ("A", 60), ("a", 9)]),
        (60, "aA", [secret("b")], [("a", None), ("A", None), ("b", 60)]),
    ],
)
def test_what_signs_after_a_rotation(
    overlap: float, made: str, held: list[SealedSecret], expected: list[tuple[str, float | None]]
) -> None:
    assert after(overlap, made, *held) == expected


schemes = st.permutations(list(Scheme)).flatmap(lambda both: st.sampled_from([both, both[:1]]))
rotations = st.lists(st.tuples(st.integers(0, 50), schemes, st.integers(0, 100)), max_size=12)


@given(rotations)
def test_whatever_is_rotated_when(steps: list[tuple[int, list[Scheme], int]]) -> None:
    held: Sequence[SealedSecret] = [secret("first")]
    now = NOON
    ends: dict[str, datetime] = {}
    for number, (passed, wanted, overlap) in enumerate(steps):
        now += timedelta(minutes=passed)
        made = [SealedSecret(scheme=scheme, sealed=f"{number}-{scheme}") for scheme in wanted]
        held = rotated(held, made, now, timedelta(minutes=overlap))
        assert list(held[: len(made)]) == made
        for each in held[len(made) :]:
            assert each.expires_at is not None
            assert now < each.expires_at <= now + timedelta(minutes=overlap)
            assert each.expires_at <= ends.setdefault(each.sealed, each.expires_at)
            ends[each.sealed] = each.expires_at
        for scheme in Scheme:
            assert [each.scheme for each in held].count(scheme) <= MOST_SECRETS
        # It is stored: the model takes it.
        Partner.model_validate(GOOD | {"lane": 0, "created_at": now, "updated_at": now, "secrets": held})


def test_a_new_secret_is_sealed_and_fits_its_public_key() -> None:
    sealer = Sealer(Fernet.generate_key().decode())
    (first, second), shown = new_secrets([Scheme.V1A, Scheme.V1], sealer)
    assert first.public_key == signing.public_key(sealer.open(first.sealed))
    assert sealer.open(second.sealed) == shown
    assert second.public_key is None
    assert new_secrets([Scheme.V1A], sealer)[1] is None


# -- over HTTP


async def add(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    answer = await gateway.http.post("/v1/partners", json=GOOD | changes, headers=gateway.operator)
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


async def rotate(gateway: Gateway, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return await gateway.http.post(URL, json=body, headers=headers or gateway.operator)


async def shown(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = (await gateway.http.get("/v1/partners/acme", headers=gateway.operator)).json()
    return found


def newest(gateway: Gateway) -> Partner:
    data = gateway.log.events(PARTNERS.name)[-1].data
    assert isinstance(data, Partner)
    return data


def signing_with(gateway: Gateway) -> tuple[str, ...]:
    """What the courier would sign with now."""
    return live_secrets(newest(gateway), gateway.context.sealer, gateway.clock.now)


async def test_a_rotation_shows_a_new_secret_and_both_sign_until_the_overlap_ends(gateway: Gateway) -> None:
    old = await add(gateway)
    gateway.clock.now = at(5)
    answer = await rotate(gateway)
    assert answer.status_code == 200
    made = answer.json()
    new = made.pop("signing_secret")
    assert new.startswith("whsec_")
    assert signing_with(gateway) == (new, old["signing_secret"])
    assert isinstance(newest(gateway), PartnerChanged)
    assert made == await shown(gateway)
    kept = {name: value for name, value in old.items() if name not in ("signing_secret", "api_key")}
    assert made == kept | {
        "revision": 2,
        "updated_at": "2026-01-01T12:05:00Z",
        "signing_keys": [
            {"scheme": "v1", "public_key": None, "expires_at": None},
            {"scheme": "v1", "public_key": None, "expires_at": "2026-01-02T12:05:00Z"},
        ],
    }
    gateway.clock.now = at(5 + DAY)
    assert signing_with(gateway) == (new,)
    assert (await shown(gateway))["signing_keys"] == [{"scheme": "v1", "public_key": None, "expires_at": None}]


@pytest.mark.parametrize(
    ("overlap", "ends"), [(0, None), (1, "2026-01-01T12:00:01Z"), (2_592_000, "2026-01-31T12:00:00Z")]
)
async def test_an_overlap_is_as_long_as_was_asked(gateway: Gateway, overlap: int, ends: str | None) -> None:
    await add(gateway)
    made = (await rotate(gateway, overlap=overlap)).json()
    assert [key["expires_at"] for key in made["signing_keys"]] == [None, *([ends] if ends else [])]
    assert len(newest(gateway).secrets) == (2 if ends else 1)


async def test_a_rotation_may_be_repeated_and_the_oldest_makes_room(gateway: Gateway) -> None:
    secrets = [(await add(gateway))["signing_secret"]]
    for _ in range(4):
        secrets.insert(0, (await rotate(gateway)).json()["signing_secret"])
    assert signing_with(gateway) == tuple(secrets[:3])
    assert len(newest(gateway).secrets) == 3


async def test_rotations_at_once_follow_each_other(gateway: Gateway) -> None:
    await add(gateway)
    answers = await asyncio.gather(*(rotate(gateway) for _ in range(3)))
    made = {answer.json()["signing_secret"] for answer in answers}
    assert set(signing_with(gateway)) == made
    assert newest(gateway).revision == 4


async def test_what_else_is_changed_leaves_the_secrets_as_they_are(gateway: Gateway) -> None:
    await add(gateway)
    await rotate(gateway)
    before = newest(gateway).secrets
    await gateway.http.patch("/v1/partners/acme", json={"name": "New"}, headers=gateway.operator)
    assert newest(gateway).secrets == before


async def test_a_partner_of_when_each_had_one_secret_is_rotated(gateway: Gateway) -> None:
    old = (await add(gateway))["signing_secret"]
    registered = next(item for item in gateway.log.records if item.topic == PARTNERS.name)
    event = orjson.loads(registered.value or b"")
    event["data"] |= {"revision": 2, "sealed_secret": event["data"].pop("secrets")[0]["sealed"]}
    gateway.log.put([registered._replace(value=orjson.dumps(event))])
    new = (await rotate(gateway)).json()["signing_secret"]
    assert signing_with(gateway) == (new, old)
    assert newest(gateway).revision == 3


# -- public keys


def accepted(gateway: Gateway, keys: str | Sequence[str]) -> bool:
    """Whether a partner that holds these keys takes what is sent now."""
    headers = signing.headers(signing_with(gateway), "msg_1", gateway.clock.now, BODY)
    try:
        signing.verify(keys, headers, BODY, gateway.clock.now)
    except signing.InvalidSignature:
        return False
    return True


async def test_a_partner_with_a_public_key_has_no_secret_and_can_always_read_the_key(gateway: Gateway) -> None:
    made = await add(gateway, signature_schemes=["v1a"])
    assert (made["signing_secret"], made["signature_schemes"]) == (None, ["v1a"])
    (key,) = made["signing_keys"]
    assert (key["scheme"], key["expires_at"]) == ("v1a", None)
    assert accepted(gateway, key["public_key"])
    for headers in (gateway.operator, gateway.partner()):
        found = (await gateway.http.get("/v1/partners/acme", headers=headers)).json()
        assert found["signing_keys"] == [key]


async def test_while_a_key_pair_is_replaced_both_public_keys_can_be_read_and_hold(gateway: Gateway) -> None:
    old = (await add(gateway, signature_schemes=["v1a"]))["signing_keys"][0]["public_key"]
    made = (await rotate(gateway, overlap=3600)).json()
    assert made["signing_secret"] is None
    new, replaced = made["signing_keys"]
    assert replaced == {"scheme": "v1a", "public_key": old, "expires_at": "2026-01-01T13:00:00Z"}
    assert new["public_key"] != old
    assert accepted(gateway, old)
    assert accepted(gateway, new["public_key"])
    gateway.clock.now = at(60)
    assert not accepted(gateway, old)
    assert accepted(gateway, new["public_key"])


async def test_both_schemes_sign_every_request(gateway: Gateway) -> None:
    made = await add(gateway, signature_schemes=["v1a", "v1"])
    public = made["signing_keys"][0]["public_key"]
    assert [key["scheme"] for key in made["signing_keys"]] == made["signature_schemes"] == ["v1a", "v1"]
    assert accepted(gateway, public)
    assert accepted(gateway, made["signing_secret"])
    new = (await rotate(gateway)).json()
    assert [key["scheme"] for key in new["signing_keys"]] == ["v1a", "v1"] * 2
    for key in (public, made["signing_secret"], new["signing_keys"][0]["public_key"], new["signing_secret"]):
        assert accepted(gateway, key)


async def test_a_rotation_may_lead_to_other_schemes(gateway: Gateway) -> None:
    old = (await add(gateway))["signing_secret"]
    made = (await rotate(gateway, signature_schemes=["v1a"])).json()
    assert (made["signing_secret"], made["signature_schemes"]) == (None, ["v1a"])
    assert accepted(gateway, old)
    again = (await rotate(gateway, overlap=0)).json()
    assert again["signature_schemes"] == ["v1a"]
    assert not accepted(gateway, old)


# -- who, and what of


async def test_a_partner_rotates_its_own_secret_and_no_other(gateway: Gateway) -> None:
    old = (await add(gateway))["signing_secret"]
    new = (await rotate(gateway, gateway.partner("acme"), overlap=0)).json()["signing_secret"]
    assert signing_with(gateway) == (new,) != (old,)
    other = problem(await rotate(gateway, gateway.partner("other")), 404, "unknown-partner")
    nobody = await gateway.http.post("/v1/partners/nobody/rotate-secret", json={}, headers=gateway.partner("other"))
    assert problem(nobody, 404)["detail"].replace("nobody", "acme") == other["detail"]
    problem(await rotate(gateway, gateway.platform), 403, "forbidden")
    assert newest(gateway).revision == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"overlap": -1}, "/overlap"),
        ({"overlap": 30 * 86_400 + 1}, "/overlap"),
        ({"overlap": "60"}, "/overlap"),
        ({"overlap": 60.5}, "/overlap"),
        ({"overlap": None}, "/overlap"),
        ({"overlap": True}, "/overlap"),
        ({"overlap": 1e30}, "/overlap"),
        ({"signature_schemes": []}, "/signature_schemes"),
        ({"signature_schemes": ["v1a", "v1a"]}, "/signature_schemes"),
        ({"signature_schemes": ["rsa"]}, "/signature_schemes/0"),
        ({"secret": "whsec_mine"}, "/secret"),
        ([], ""),
        (None, ""),
        (60, ""),
    ],
)
async def test_a_wrong_rotation_changes_nothing(gateway: Gateway, body: Any, pointer: str) -> None:
    await add(gateway)
    answer = await gateway.http.post(URL, content=orjson.dumps(body), headers=gateway.operator)
    assert pointer in [error["pointer"] for error in problem(answer, 422, "invalid")["errors"]]
    assert newest(gateway).revision == 1


async def test_a_rotation_needs_a_body(gateway: Gateway) -> None:
    await add(gateway)
    problem(await gateway.http.post(URL, headers=gateway.operator), 400, "malformed")


async def test_there_is_nothing_to_rotate_of_who_is_not_there(gateway: Gateway) -> None:
    problem(await rotate(gateway), 404, "unknown-partner")
    key = gateway.partner("acme")
    await add(gateway)
    await gateway.http.delete("/v1/partners/acme", headers=gateway.operator)
    problem(await rotate(gateway), 404, "unknown-partner")
    problem(await rotate(gateway, key), 401)


@pytest.mark.parametrize("status", ["paused", "suspended"])
async def test_who_is_stopped_is_rotated_and_stays_stopped(gateway: Gateway, status: str) -> None:
    gateway.registered(status=status, status_reason="because")
    assert (await rotate(gateway)).json()["status"] == status
    assert newest(gateway).status_reason == "because"


# -- half-way


async def test_a_log_that_takes_nothing_leaves_the_old_secret(gateway: Gateway) -> None:
    old = (await add(gateway))["signing_secret"]
    gateway.log.failing = True
    problem(await rotate(gateway, overlap=0), 503, "unavailable")
    gateway.log.failing = False
    assert signing_with(gateway) == (old,)


async def test_nobody_is_rotated_by_a_ledger_that_is_behind_but_a_new_secret_is_always_shown(gateway: Gateway) -> None:
    await add(gateway)
    gateway.log.projecting = False
    answer = await rotate(gateway)
    assert answer.status_code == 200
    assert signing_with(gateway)[0] == answer.json()["signing_secret"]
    problem(await rotate(gateway), 503, "unavailable")
    assert newest(gateway).revision == 2


async def test_a_registration_that_got_no_answer_is_told_how_to_get_another_secret(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = gateway.log.append

    async def and_then_fails(records: Any) -> Any:
        await append(records)
        gateway.log.failing = True
        return await append(records)

    with monkeypatch.context() as patched:
        patched.setattr(gateway.log, "append", and_then_fails)
        problem(await gateway.http.post("/v1/partners", json=GOOD, headers=gateway.operator), 503)
    gateway.log.failing = False
    answer = await gateway.http.post("/v1/partners", json=GOOD, headers=gateway.operator)
    detail = problem(answer, 409, "exists")["detail"]
    assert "rescind partners rotate-secret" in detail
    assert "rescind keys create" in detail
    made = (await rotate(gateway, overlap=0)).json()
    assert signing_with(gateway) == (made["signing_secret"],)
    await gateway.http.delete("/v1/partners/acme", headers=gateway.operator)
    answer = await gateway.http.post("/v1/partners", json=GOOD, headers=gateway.operator)
    assert "rotate" not in problem(answer, 409, "exists")["detail"]


async def test_a_secret_is_shown_once_and_is_nowhere_else(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = [await add(gateway, signature_schemes=["v1", "v1a"]), (await rotate(gateway)).json()]
    private = [secret for secret in signing_with(gateway) if secret.startswith("whsk_")]
    secrets = [*(each["signing_secret"] for each in made), *private]
    assert len({*secrets}) == 4
    places = [
        *[
            (await gateway.http.get(path, headers=gateway.operator)).text
            for path in ("/v1/partners", "/v1/partners/acme")
        ],
        (await gateway.http.post("/v1/partners", json=GOOD, headers=gateway.operator)).text,
        caplog.text,
        repr(newest(gateway)),
        str(newest(gateway).secrets),
        b"".join(path.read_bytes() for path in tmp_path.iterdir()).decode("latin-1"),
        b"".join(item.value or b"" for item in gateway.log.records).decode(),
    ]
    for place in places:
        for secret in secrets:
            assert secret.partition("_")[2] not in place
        assert "whsk_" not in place
    # Even sealed, it is for the log and the ledger alone.
    sealed = [each.sealed for each in newest(gateway).secrets]
    assert not [place for place in places[:6] for text in sealed if text in place]


async def test_who_rotated_is_logged(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await add(gateway)
    await rotate(gateway, gateway.partner())
    (key,) = [key for key in gateway.keys.list() if key.role is Role.PARTNER and key.label is None]
    assert f"the signing secret of partner acme was rotated with key {key.id} (partner)" in caplog.messages
