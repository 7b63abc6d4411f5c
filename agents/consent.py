"""The consent agent: toggles in, the consent table kept, decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.consuming import append_until_durable, consume
from agents.deciding import ConsentState, decide
from agents.poison import Intake, Received
from streams.clock import Clock
from streams.cloudevents import Envelope
from streams.events import ConsentToggled
from streams.log import events_topic
from streams.records import Appender, record
from streams.topics import DECISIONS, SUBJECT_PARTITIONS, TOGGLES

BATCH = 500


def add_consent(app: Any, appender: Appender, clock: Clock) -> None:
    """Add the agent and its table to a Faust app."""
    table = app.Table(
        "consent",
        partitions=SUBJECT_PARTITIONS,
        key_type=bytes,
        value_type=bytes,
    )
    intake = Intake(appender, clock, ConsentToggled)

    async def handle(batch: Sequence[Any]) -> None:
        changes, caused = take(table, await intake.read(batch))
        if caused:
            await append_until_durable(appender, [record(DECISIONS.name, event) for event in caused])
        # Only now: see `decide`. A crash before this line repeats the same events.
        for key, state in changes.items():
            table[key] = state.model_dump_json().encode()

    # One actor a partition: a table's change goes to the partition of the event at hand, so a batch may
    # not mix partitions.
    @app.agent(events_topic(app, TOGGLES.name), name="consent", isolated_partitions=True)
    async def consent(stream: Any) -> None:
        await consume(app, stream, BATCH, handle)


def take(table: Any, toggles: Sequence[Received]) -> tuple[dict[bytes, ConsentState], list[Envelope]]:
    """Decide a batch on top of the table, without writing: the new states, and the events in order."""
    changes: dict[bytes, ConsentState] = {}
    caused: list[Envelope] = []
    for toggle in toggles:
        data = toggle.envelope.data
        assert isinstance(data, ConsentToggled)  # noqa: S101 - the intake lets nothing else through
        key = table_key(data.subject, data.purpose)
        state = changes.get(key) or _stored(table, key)
        decision = decide(state, toggle.envelope.id, data, toggle.timestamp)
        if decision.state is not None and decision.state is not state:
            changes[key] = decision.state
        caused.extend(decision.events)
    return changes, caused


def table_key(subject: str, purpose: str) -> bytes:
    """Neither part can hold a space."""
    return f"{purpose} {subject}".encode()


def _stored(table: Any, key: bytes) -> ConsentState | None:
    raw = table.get(key)
    return None if raw is None else ConsentState.model_validate_json(raw)
