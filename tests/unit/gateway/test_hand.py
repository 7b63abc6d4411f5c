"""The operator's hand on a partner: paused, resumed, suspended, drained; and who did it."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import Role
from streams.events import Partner, PartnerStatus
from streams.topics import PARTNERS
from tests.unit.gateway.harness import Gateway, at, problem


async def patch(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    answer = await gateway.http.patch("/v1/partners/acme", json=changes, headers=gateway.operator)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def newest(gateway: Gateway) -> Partner:
    data = gateway.log.events(PARTNERS.name)[-1].data
    assert isinstance(data, Partner)
    return data


async def test_a_suspension_by_hand_says_why_and_a_resumption_forgets_it(gateway: Gateway) -> None:
    gateway.registered()
    shown = await patch(gateway, status="suspended", status_reason="breach of contract")
    assert (shown["status"], shown["status_reason"]) == ("suspended", "breach of contract")
    assert newest(gateway).status is PartnerStatus.SUSPENDED
    # A change of something else is no resumption.
    assert (await patch(gateway, name="Acme Inc."))["status_reason"] == "breach of contract"
    shown = await patch(gateway, status="active")
    assert (shown["status"], shown["status_reason"]) == ("active", None)


async def test_a_pause_may_say_why(gateway: Gateway) -> None:
    gateway.registered()
    assert (await patch(gateway, status="paused", status_reason="until Monday"))["status_reason"] == "until Monday"
    assert (await patch(gateway, status="paused"))["status_reason"] is None


async def test_a_drained_partner_hears_of_nothing_that_is_accepted_from_then_on(gateway: Gateway) -> None:
    gateway.registered()
    gateway.clock.now = at(1)
    assert (await patch(gateway, draining=True))["draining_since"] == "2026-01-01T12:01:00Z"
    gateway.clock.now = at(5)
    # Said again, or stopped meanwhile, it is as of when it began.
    assert (await patch(gateway, draining=True, status="paused"))["draining_since"] == "2026-01-01T12:01:00Z"
    assert (await patch(gateway, status="active"))["draining_since"] == "2026-01-01T12:01:00Z"
    partner = newest(gateway)
    assert [partner.in_scope("ai-training", "user", at(minutes)) for minutes in (0, 0.99, 1, 9)] == [
        True,
        True,
        False,
        False,
    ]
    assert (await patch(gateway, draining=False))["draining_since"] is None
    assert newest(gateway).in_scope("ai-training", "user", at(9))


async def test_whoever_did_it_is_remembered(gateway: Gateway) -> None:
    made, plain = gateway.keys.create(Role.OPERATOR, gateway.clock.now, label="on call")
    hers = {"authorization": f"Bearer {plain}"}
    new = {"id": "acme", "name": "Acme", "url": "https://acme.example/", "purposes": ["ai-training"]}
    await gateway.http.post("/v1/partners", json=new, headers=hers)
    for changes in (
        {"status": "paused"},
        {"status": "active"},
        {"status": "suspended", "status_reason": "why"},
        {"draining": True},
        {"draining": False},
        {"batch_size": 7},
    ):
        gateway.clock.now = gateway.clock.now + (at(1) - at(0))
        answer = await gateway.http.patch("/v1/partners/acme", json=changes, headers=hers)
        assert answer.status_code == 200
    gateway.clock.now = at(9)
    await gateway.http.post("/v1/partners/acme/rotate-secret", json={}, headers=hers)
    gateway.clock.now = at(10)
    await gateway.http.delete("/v1/partners/acme", headers=hers)
    found = (await gateway.http.get("/v1/actions?partner=acme", headers=gateway.operator)).json()
    acts = [action["act"] for action in found["actions"]]
    assert acts == ["remove", "rotate", "change", "undrain", "drain", "suspend", "resume", "pause", "register"]
    assert found["next"] is None
    for action in found["actions"]:
        assert (action["key"], action["role"], action["label"], action["partner"]) == (
            made.id,
            "operator",
            "on call",
            "acme",
        )
    assert found["actions"][2]["details"] == {"batch_size": 7}
    assert found["actions"][5]["details"] == {"status": "suspended", "status_reason": "why"}
    assert plain not in str(gateway.log.records)


async def test_actions_come_in_pages_newest_first(gateway: Gateway) -> None:
    gateway.registered()
    gateway.registered("other", lane=1)
    for number in range(5):
        gateway.clock.now = at(number)
        await patch(gateway, batch_size=number + 1)
    found = list[int]()
    after: str | None = ""
    while after is not None:
        path = f"/v1/actions?limit=2{after and '&after=' + after}"
        page = (await gateway.http.get(path, headers=gateway.operator)).json()
        found += [action["details"]["batch_size"] for action in page["actions"]]
        after = page["next"]
    assert found == [5, 4, 3, 2, 1]
    other = (await gateway.http.get("/v1/actions?partner=other", headers=gateway.operator)).json()
    assert other == {"actions": [], "next": None}


async def test_what_was_refused_was_not_done(gateway: Gateway) -> None:
    problem(await gateway.http.patch("/v1/partners/a b", json={"status": "paused"}, headers=gateway.operator), 404)
    gateway.registered(status="removed")
    problem(await gateway.http.patch("/v1/partners/acme", json={"status": "paused"}, headers=gateway.operator), 404)
    assert (await gateway.http.get("/v1/actions", headers=gateway.operator)).json()["actions"] == []


@pytest.mark.parametrize("label", [None, "x" * 500])
async def test_a_label_of_any_length_does(gateway: Gateway, label: str | None) -> None:
    gateway.registered()
    _, plain = gateway.keys.create(Role.OPERATOR, gateway.clock.now, label=label)
    headers = {"authorization": f"Bearer {plain}"}
    answer = await gateway.http.patch("/v1/partners/acme", json={"batch_size": 1}, headers=headers)
    assert answer.status_code == 200
    (action,) = gateway.ledger.actions(None, None, 10)
    assert action.label == (None if label is None else "x" * 200)
