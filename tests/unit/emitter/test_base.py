"""The caller's side: a bounded buffer, any number of threads, an answer for everything, and an end."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from rescind.emitter import BaseEmitter, BufferFull, Emitted, EmitterClosed, InvalidInput, InvalidToggle, NotEmitted
from rescind.emitter.base import uuid4
from rescind.emitter.errors import Trouble
from rescind.emitter.line import Pending

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = 60.0
#: Seconds that nothing takes unless it waits: far more than a busy machine needs, far less than what it might wait for
#: by mistake.
AT_ONCE = 10.0


class Fake:
    """A carrier that carries while its `gate` is open, and keeps what it carried."""

    most = 100

    def __init__(self) -> None:
        self.gate = Event()
        self.gate.set()
        self.carried: list[str] = []
        self.batches: list[int] = []
        #: Raised by the next calls, or called, before anything is carried.
        self.first: list[Exception] = []
        self.stopped = False
        self.closed = Event()

    def carry(self, batch: Sequence[Pending]) -> None:
        self.batches.append(len(batch))
        self.gate.wait(PATIENCE)
        if self.first:
            raise self.first.pop(0)
        for pending in batch:
            self.carried.append(pending.toggle.id)
            pending.taken(Emitted(pending.toggle.id, "t", 0, len(self.carried)))

    def stop(self) -> None:
        self.stopped = True
        self.gate.set()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def fake() -> Fake:
    return Fake()


Make = Callable[..., BaseEmitter]


@pytest.fixture
def make(fake: Fake) -> Iterator[Make]:
    made: list[BaseEmitter] = []

    def make_it(**changes: Any) -> BaseEmitter:
        settings: dict[str, Any] = {
            "max_pending": 1000, "block_for": 0.0, "timeout": PATIENCE, "exit_timeout": 1.0,
            "clock": lambda: NOON, "new_id": uuid4,
        }  # fmt: skip
        made.append(BaseEmitter(lambda: fake, **(settings | changes)))
        return made[-1]

    yield make_it
    fake.gate.set()
    for emitter in made:
        emitter.close(PATIENCE)
    assert not [thread for thread in threading.enumerate() if thread.name == "rescind-emitter"]


def emit(emitter: BaseEmitter, number: int = 0, **more: Any) -> Future[Emitted]:
    return emitter.emit(f"user:{number}", "ai", "opt_out", **more)


def carrying(fake: Fake) -> None:
    """Wait until something is being carried."""
    while not fake.batches:
        time.sleep(0.01)


def test_a_toggle_is_answered(make: Make, fake: Fake) -> None:
    answer = emit(make(), id="e1").result(PATIENCE)
    assert answer == Emitted("e1", "t", 0, 1)


def test_without_an_id_and_a_time_it_gets_new_ones(make: Make) -> None:
    ids = iter(["a", "b"])
    emitter = make(new_id=lambda: next(ids))
    assert [emit(emitter).result(PATIENCE).id for _ in range(2)] == ["a", "b"]
    assert len({emit(make()).result(PATIENCE).id for _ in range(2)}) == 2


def test_what_is_wrong_is_told_in_the_callers_thread_and_goes_nowhere(make: Make, fake: Fake) -> None:
    emitter = make()
    with pytest.raises(InvalidToggle, match="purpose"):
        emitter.emit("user:1", "A I", "opt_out")
    emitter.close()
    assert fake.batches == []


def test_sixteen_threads_share_one(make: Make, fake: Fake) -> None:
    emitter = make(max_pending=200, block_for=PATIENCE)
    start = threading.Barrier(16)

    def load(thread: int) -> list[Future[Emitted]]:
        start.wait(PATIENCE)
        return [emit(emitter, thread, id=f"{thread}.{number}") for number in range(200)]

    with ThreadPoolExecutor(16) as pool:
        futures = [future for loaded in pool.map(load, range(16)) for future in loaded]
    answers = [future.result(PATIENCE).id for future in futures]
    assert sorted(fake.carried) == sorted(answers)
    assert len(set(answers)) == 16 * 200
    for thread in range(16):
        own = [int(carried.partition(".")[2]) for carried in fake.carried if carried.startswith(f"{thread}.")]
        assert own == sorted(own), "out of order"
    assert max(fake.batches) <= fake.most


def test_what_comes_meanwhile_is_carried_together(make: Make, fake: Fake) -> None:
    emitter = make()
    fake.gate.clear()
    futures = [emit(emitter, number) for number in range(250)]
    fake.gate.set()
    emitter.flush(PATIENCE)
    assert all(future.done() for future in futures)
    assert len(fake.batches) <= 4


def test_a_full_buffer_says_so_at_once(make: Make, fake: Fake) -> None:
    emitter = make(max_pending=3)
    fake.gate.clear()
    futures = [emit(emitter, number) for number in range(3)]
    started = time.monotonic()
    with pytest.raises(BufferFull, match="3 toggles wait for an answer already"):
        emit(emitter)
    assert time.monotonic() - started < AT_ONCE
    fake.gate.set()
    assert len([future.result(PATIENCE) for future in futures]) == 3
    emit(emitter).result(PATIENCE)
    assert len(fake.carried) == 4


def test_who_may_wait_waits_for_room(make: Make, fake: Fake) -> None:
    emitter = make(max_pending=1, block_for=0.2)
    fake.gate.clear()
    emit(emitter)
    started = time.monotonic()
    with pytest.raises(BufferFull):
        emit(emitter)
    assert 0.2 <= time.monotonic() - started < AT_ONCE
    patient = make(max_pending=1, block_for=PATIENCE)
    emit(patient)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(emit, patient)
        assert not waiting.done()
        fake.gate.set()
        waiting.result(PATIENCE).result(PATIENCE)


def test_what_cannot_be_carried_now_is_carried_later_and_in_order(make: Make, fake: Fake) -> None:
    fake.first = [Trouble("away"), Trouble("still away", 0.0)]
    emitter = make()
    futures = [emit(emitter, number, id=f"e{number}") for number in range(150)]
    for future in futures:
        future.result(PATIENCE)
    assert fake.carried == [f"e{number}" for number in range(150)]


def test_a_pause_that_was_asked_for_is_kept(make: Make, fake: Fake) -> None:
    fake.first = [Trouble("busy", 1.0)]
    started = time.monotonic()
    emit(make()).result(PATIENCE)
    assert 1.0 <= time.monotonic() - started < 1.0 + AT_ONCE
    assert len(fake.batches) == 2


def test_at_the_deadline_it_fails_with_the_last_reason(
    make: Make, fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    fake.first = [Trouble("the log is away", 60.0)]
    started = time.monotonic()
    with pytest.raises(NotEmitted, match="the log is away"):
        emit(make(timeout=1.0), id="late").result(PATIENCE)
    assert 1.0 <= time.monotonic() - started < 1.0 + AT_ONCE
    # For those who look at no future.
    assert "late is not emitted: given up at the deadline: the log is away" in caplog.text


def test_deadlines_cost_no_attempts(make: Make, fake: Fake) -> None:
    fake.first = [Trouble("away", 60.0)]
    emitter = make(timeout=1.0)
    futures = [emit(emitter)]
    carrying(fake)
    for number in range(20):
        futures.append(emit(emitter, number))
        time.sleep(0.02)
    for future in futures:
        assert isinstance(future.exception(PATIENCE), NotEmitted)
    assert len(fake.batches) == 1


def test_who_comes_after_the_last_deadline_has_one_too(make: Make, fake: Fake) -> None:
    fake.first = [Trouble("away", 60.0)]
    emitter = make(timeout=0.3)
    for _ in range(2):
        assert isinstance(emit(emitter).exception(AT_ONCE), NotEmitted)


def test_where_all_are_past_their_deadline_nothing_is_carried(make: Make, fake: Fake) -> None:
    fake.first = [Trouble("away", 0.0)]
    fake.gate.clear()
    emitter = make(timeout=1.0)
    late = emit(emitter)
    carrying(fake)
    time.sleep(1.0)
    fake.gate.set()
    assert isinstance(late.exception(PATIENCE), NotEmitted)
    emitter.close(PATIENCE)
    assert fake.batches == [1]


def test_what_nobody_foresaw_fails_its_toggles_and_no_others(
    make: Make, fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    fake.first = [ZeroDivisionError("oops")]
    emitter = make()
    with pytest.raises(NotEmitted, match="ZeroDivisionError"):
        emit(emitter).result(PATIENCE)
    assert "Traceback" in caplog.text
    emit(emitter).result(PATIENCE)


def test_flush_waits_for_answers_good_or_bad(make: Make, fake: Fake) -> None:
    emitter = make()
    emitter.flush(0)
    fake.gate.clear()
    fake.first = [ZeroDivisionError()]
    futures = [emit(emitter, number) for number in range(2)]
    with pytest.raises(TimeoutError, match="2 toggles have no answer yet"):
        emitter.flush(0.05)
    fake.gate.set()
    emitter.flush(PATIENCE)
    assert all(future.done() for future in futures)


def test_what_was_emitted_cannot_be_taken_back(make: Make, fake: Fake) -> None:
    fake.gate.clear()
    future = emit(make())
    assert not future.cancel()
    fake.gate.set()
    future.result(PATIENCE)


def test_closing_waits_for_the_answers_and_takes_no_more(make: Make, fake: Fake) -> None:
    with make() as emitter:
        futures = [emit(emitter, number) for number in range(300)]
    assert all(future.done() and future.exception() is None for future in futures)
    assert fake.closed.is_set()
    with pytest.raises(EmitterClosed):
        emit(emitter)
    emitter.close()
    emitter.flush(0)


def test_closing_does_not_wait_for_ever(make: Make, fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    emitter = make(timeout=PATIENCE)
    fake.gate.clear()
    carried = emit(emitter, id="carried")
    carrying(fake)
    waiting = emit(emitter)
    emitter.close(0.1)
    for future in (carried, waiting):
        assert "the emitter was closed" in str(future.exception(0))
    assert fake.stopped
    assert fake.closed.wait(PATIENCE)
    assert fake.carried == ["carried"], "nothing is carried after the end but what was under way"
    assert "carried was taken after all" in caplog.text


def test_closing_lets_those_go_who_wait_for_room(make: Make, fake: Fake) -> None:
    emitter = make(max_pending=1, block_for=PATIENCE)
    fake.gate.clear()
    emit(emitter)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(emit, emitter)
        while not waiting.running():
            time.sleep(0.01)
        emitter.close(0)
        with pytest.raises(EmitterClosed):
            waiting.result(PATIENCE)


def test_an_emitter_that_never_emitted_has_nothing_to_close(make: Make, fake: Fake) -> None:
    make().close()
    assert not fake.closed.is_set()


def test_a_callback_may_emit_and_close(make: Make, fake: Fake) -> None:
    emitter = make()
    done = Event()

    def again(_: Future[Emitted]) -> None:
        emit(emitter).add_done_callback(lambda _: done.set())

    emit(emitter).add_done_callback(again)
    assert done.wait(PATIENCE)
    closed = Event()

    def close(_: Future[Emitted]) -> None:
        emitter.close(0)
        closed.set()

    emit(emitter).add_done_callback(close)
    assert closed.wait(PATIENCE)


def test_a_buffer_that_was_emptied_holds_nothing_back(make: Make, fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    emitter = make(max_pending=10)
    for _ in range(5):
        fake.first = [ZeroDivisionError()]
        for future in [emit(emitter, number) for number in range(10)]:
            future.exception(PATIENCE)
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, Pending)]


@pytest.mark.parametrize("wrong", [{"max_pending": 0}, {"block_for": -1}, {"timeout": 0}, {"exit_timeout": -1}])
def test_settings_that_make_no_sense_are_refused(make: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        make(**wrong)
