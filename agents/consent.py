"""The consent agent: toggles in, the consent table kept, decisions out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.consuming import consume, step_until_durable
from agents.deciding import ConsentState, decide, newest
from agents.poison import Intake, Received
from agents.remembering import recall, remember, table_key
from agents.tracing import decided
from streams.clock import Clock
from streams.cloudevents import Envelope
from streams.events import ConsentToggled
from streams.log import Log, events_topic
from streams.records import Message, record
from streams.topics import DECISIONS, TOGGLES
from streams.tracing import OFF, Tracing

BATCH = 500

States = dict[bytes, ConsentState]


def add_consent(app: Any, log: Log, clock: Clock, tracing: Tracing = OFF) -> None:
    """Add the agent and its table to a Faust app."""
    intake = Intake(log, clock, ConsentToggled)

    async def handle(batch: Sequence[Any]) -> None:
        partition = batch[0].message.partition
        toggles, bad = intake.sort([event.message for event in batch])
        keys = {_key(_data(toggle)) for toggle in toggles}
        kept = False
        while not kept:
            turn, values = await table.load(partition, keys)
            changes, caused = take(_states(values), toggles)
            if caused or bad:
                caused = decided(tracing, toggles, caused)
                await step_until_durable(app, log, [*bad, *(record(DECISIONS.name, each) for each in caused)], batch)
            # Only now: see `decide`. A crash before this line repeats the same events, and so does a
            # rebalance.
            kept = table.keep(partition, turn, _values(changes))

    async def retake(messages: Sequence[Message]) -> None:
        toggles, _ = intake.sort(messages)
        known = _states(await table.peek({_key(_data(toggle)) for toggle in toggles}))
        table.put(_values(take_again(known, toggles)))

    log.hold(app, TOGGLES.name)
    table = log.new_table(app, "consent", topic=TOGGLES, retake=retake)

    # One actor a partition: a table's change belongs to the partition of the event at hand, so a batch may
    # not mix partitions.
    @app.agent(events_topic(app, TOGGLES.name), name="consent", isolated_partitions=True)
    async def consent(stream: Any) -> None:
        await consume(app, stream, BATCH, handle)


def take(known: Mapping[bytes, ConsentState], toggles: Iterable[Received]) -> tuple[States, list[Envelope]]:
    """Decide a batch on top of what is known: the new states, and the events in order."""
    changes: States = {}
    caused: list[Envelope] = []
    for toggle in toggles:
        data = _data(toggle)
        key = _key(data)
        state = changes.get(key) or known.get(key)
        decision = decide(state, toggle.envelope.id, data, toggle.timestamp)
        if decision.state is not state:
            changes[key] = decision.state
        caused.extend(decision.events)
    return changes, caused


def take_again(known: Mapping[bytes, ConsentState], toggles: Iterable[Received]) -> States:
    """The new states of a batch that was decided before: its events are in the log."""
    changes: States = {}
    for toggle in toggles:
        data = _data(toggle)
        key = _key(data)
        state = changes.get(key) or known.get(key)
        after = newest(state, toggle.envelope.id, data)
        if after is not state:
            changes[key] = after
    return changes


def _states(values: Mapping[bytes, bytes]) -> States:
    return {key: recall(value) for key, value in values.items()}


def _values(states: Mapping[bytes, ConsentState]) -> dict[bytes, bytes]:
    return {key: remember(state) for key, state in states.items()}


def _key(data: ConsentToggled) -> bytes:
    return table_key(data.subject, data.purpose)


def _data(toggle: Received) -> ConsentToggled:
    data = toggle.envelope.data
    assert isinstance(data, ConsentToggled)  # noqa: S101 - the intake lets nothing else through
    return data
