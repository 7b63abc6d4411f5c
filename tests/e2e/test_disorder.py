"""Toggles out of order and repeated, through the whole service: the same state as in any other order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescind.client import Client
from rescind.launching import ServiceProcess

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = 60.0
_numbers = itertools.count()


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[Client]:
    with Client(service.url, service.operator_key) as made:
        yield made


@dataclass(frozen=True)
class Flip:
    purpose: str
    choice: str
    minute: int
    version: int | None


flips = st.lists(
    st.builds(
        Flip,
        purpose=st.sampled_from(["ai-training", "sharing"]),
        choice=st.sampled_from(["opt_out", "opt_in"]),
        minute=st.integers(0, 3),
        version=st.none() | st.integers(0, 2),
    ),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(flips=flips, data=st.data())
def test_converges_whatever_the_order(client: Client, flips: Sequence[Flip], data: st.DataObject) -> None:
    subject = f"user:{next(_numbers)}"
    toggles = [toggle(subject, number, flip) for number, flip in enumerate(flips)]
    order = data.draw(st.permutations(range(len(toggles))))
    repeats = data.draw(st.lists(st.sampled_from(range(len(toggles))), max_size=4))
    sent = [*order, *repeats]
    cut = data.draw(st.integers(1, len(sent)))
    for part in (sent[:cut], sent[cut:]):
        if part:
            client.post_toggles([toggles[index] for index in part])
    settle(client, subject)

    consents = {row["purpose"]: row["choice"] for row in client.consents(subject)}
    consents.pop("sentinel")
    assert consents == {purpose: winner(toggles, purpose)["choice"] for purpose in {flip.purpose for flip in flips}}

    timeline = client.timeline(subject)
    decisions = [entry["event_id"] for entry in timeline if entry["kind"] in ("consent_changed", "deletion_requested")]
    assert len(decisions) == len(set(decisions))
    assert sum(entry["kind"] == "toggled" for entry in timeline) == len(toggles) + 1


def toggle(subject: str, number: int, flip: Flip) -> dict[str, Any]:
    made = {
        "id": f"{subject}-{number}",
        "subject": subject,
        "purpose": flip.purpose,
        "choice": flip.choice,
        "occurred_at": (NOON + timedelta(minutes=flip.minute)).isoformat(),
    }
    return made if flip.version is None else made | {"version": flip.version}


def winner(toggles: Sequence[dict[str, Any]], purpose: str) -> dict[str, Any]:
    """The newest by version and time, where a version beats none; of equally new ones an opt-out."""
    mine = [toggle for toggle in toggles if toggle["purpose"] == purpose]
    return max(mine, key=lambda each: (each.get("version", -1), each["occurred_at"], each["choice"] == "opt_out"))


def settle(client: Client, subject: str) -> None:
    """Everything about a subject goes one way, in order: when a last toggle shows, all before it do."""
    last = {"subject": subject, "purpose": "sentinel", "choice": "opt_out", "occurred_at": NOON.isoformat()}
    client.post_toggles([last])
    deadline = time.monotonic() + PATIENCE
    while not any(row["purpose"] == "sentinel" for row in client.consents(subject)):
        assert time.monotonic() < deadline, "the service does not decide"
        time.sleep(0.005)
