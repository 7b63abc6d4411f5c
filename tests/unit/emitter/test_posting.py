"""By HTTP: what the service took is taken, what it refused is refused in its words, and the rest is tried again."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from rescind.emitter import Emitted, HttpEmitter, InvalidInput, NotEmitted, Refused
from tests.kafka.certificates import issued
from tests.support.ports import deaf_port
from tests.unit.cli.fakes import Answer, Asked, FakeService, problem, serving

KEY = "rsk_platform_1_x"
PATIENCE = 60.0
#: Seconds that nothing takes unless it waits: far more than a busy machine needs, far less than what it might wait for
#: by mistake.
AT_ONCE = 10.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def service() -> Iterator[FakeService]:
    with serving(FakeService()) as running:
        yield running


def emit(emitter: HttpEmitter, count: int, **more: Any) -> list[Future[Emitted]]:
    return [
        emitter.emit(f"user:{number}", "ai", "opt_out", occurred_at=NOON, id=f"e{number}", **more)
        for number in range(count)
    ]


def first(service: FakeService, hold: Callable[[], object]) -> None:
    """Let `hold` run within the first request, and nothing within the later ones."""
    holds = iter([hold])

    def on_request(asked: Asked) -> None:
        next(holds, lambda: None)()

    service.on_request = on_request


def test_a_toggle_is_posted_with_the_key(service: FakeService) -> None:
    with HttpEmitter(service.url, f" {KEY}\n") as emitter:
        future = emitter.emit(
            "blog:ä", "ai", "opt_in", occurred_at=NOON, version=3, retroactive=False, source="settings", id="e1"
        )
        assert future.result(PATIENCE) == Emitted("e1")
    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", "/v1/toggles")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"
    assert asked.json == [
        {
            "id": "e1", "subject": "blog:ä", "purpose": "ai", "choice": "opt_in", "occurred_at": "2026-01-01T12:00:00Z",
            "version": 3, "retroactive": False, "source": "settings",
        }
    ]  # fmt: skip


def test_many_go_a_thousand_at_a_time_and_in_order(service: FakeService) -> None:
    full = threading.Event()
    first(service, lambda: full.wait(PATIENCE))
    with HttpEmitter(service.url, KEY) as emitter:
        futures = emit(emitter, 2500)
        full.set()
        assert [future.result(PATIENCE).id for future in futures] == [f"e{number}" for number in range(2500)]
    assert [toggle["id"] for toggle in service.taken] == [f"e{number}" for number in range(2500)]
    assert max(len(asked.json) for asked in service.asked) == 1000
    assert len(service.asked) <= 4


def test_a_service_may_live_under_a_path(service: FakeService) -> None:
    with HttpEmitter(f"{service.url}/under/a/path/", KEY) as emitter:
        (future,) = emit(emitter, 1)
        assert isinstance(future.exception(PATIENCE), Refused)
    assert service.asked[0].path == "/under/a/path/v1/toggles"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(503, problem("the log takes nothing")),
        Answer(500, b"oops"),
        Answer(502, b"<html>bad gateway</html>"),
        Answer(504, b""),
        Answer(429, problem("slower"), {"retry-after": "0"}),
        Answer(429, problem("slower"), {"retry-after": "soon"}),
        Answer(408, b""),
        Answer(0),
        Answer(202, {"ids": ["e0"]}, {"content-length": "1000"}),
    ],
)
def test_what_fails_on_the_way_is_tried_again(service: FakeService, answer: Answer) -> None:
    service.next.append(answer)
    with HttpEmitter(service.url, KEY) as emitter:
        (future,) = emit(emitter, 1)
        assert future.result(PATIENCE).id == "e0"
    assert [asked.json for asked in service.asked] == [service.taken] * 2


@pytest.mark.parametrize("after", ["1", "date"])
def test_the_service_says_when_to_come_again(service: FakeService, after: str) -> None:
    # A date has whole seconds, so two of them are at least one.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    service.next.append(Answer(503, problem("busy"), {"retry-after": after if after == "1" else date}))
    times: list[float] = []
    service.on_request = lambda asked: times.append(time.monotonic())
    with HttpEmitter(service.url, KEY) as emitter:
        (future,) = emit(emitter, 1)
        future.result(PATIENCE)
    assert 0.95 <= times[1] - times[0] < 2 + AT_ONCE


def test_a_service_that_does_not_answer_in_time_is_asked_again(service: FakeService) -> None:
    slow = threading.Event()
    first(service, lambda: slow.wait(PATIENCE))
    with HttpEmitter(service.url, KEY, request_timeout=0.2) as emitter:
        (future,) = emit(emitter, 1)
        assert future.result(PATIENCE).id == "e0"
    slow.set()


def test_for_how_long_is_bounded_and_the_reason_told(service: FakeService) -> None:
    service.next.extend([Answer(503, problem("the disk is full"))] * 50)
    with HttpEmitter(service.url, KEY, timeout=1.0) as emitter:
        started = time.monotonic()
        (future,) = emit(emitter, 1)
        assert "503: the disk is full" in str(future.exception(PATIENCE))
        assert 1.0 <= time.monotonic() - started < 1.0 + AT_ONCE
        assert not isinstance(future.exception(), Refused)


def test_an_attempt_that_the_deadline_cuts_short_hides_no_better_reason(service: FakeService) -> None:
    service.next.append(Answer(503, problem("the disk is full"), {"retry-after": "0"}))
    never = threading.Event()

    def hang(_: Asked) -> None:
        if len(service.asked) > 1:
            never.wait(PATIENCE)

    service.on_request = hang
    with HttpEmitter(service.url, KEY, timeout=1.0) as emitter:
        (future,) = emit(emitter, 1)
        assert "503: the disk is full" in str(future.exception(PATIENCE))
    never.set()


def test_nobody_listening_is_told() -> None:
    with deaf_port() as port, HttpEmitter(f"http://127.0.0.1:{port}", KEY, timeout=1.0) as emitter:
        (future,) = emit(emitter, 1)
        assert f"no answer from http://127.0.0.1:{port}" in str(future.exception(PATIENCE))


def choosy(asked: Asked) -> Answer:
    """As the service: all or nothing, and every wrong item named."""
    wrong = [(index, toggle) for index, toggle in enumerate(asked.json) if toggle["purpose"] == "wrong"]
    errors = [{"index": index, "pointer": "/purpose", "detail": "is wrong"} for index, _ in wrong]
    errors += [{"index": index, "pointer": "", "detail": "and old"} for index, toggle in wrong if "version" in toggle]
    return Answer(422, problem(f"{len(wrong)} are not valid", *errors)) if wrong else Answer(202)


@dataclass
class Choosy(FakeService):
    """Refuses by a rule; what passes is taken."""

    rule: Callable[[Asked], Answer] = choosy

    def answer(self, asked: Asked) -> Answer:
        refused = self.rule(asked)
        if refused.status == 202:
            return super().answer(asked)
        self.asked.append(asked)
        return refused


def test_what_the_service_refuses_fails_in_its_words_and_the_rest_is_taken() -> None:
    with serving(Choosy()) as service, HttpEmitter(service.url, KEY) as emitter:
        futures = {}
        for number in range(20):
            purpose, version = ("wrong" if number in (0, 7, 19) else "ai"), (1 if number == 7 else None)
            futures[number] = emitter.emit(f"user:{number}", purpose, "opt_out", id=f"e{number}", version=version)
        emitter.flush(PATIENCE)
        refused = {number: future.exception() for number, future in futures.items() if future.exception()}
        assert sorted(refused) == [0, 7, 19]
        assert all(isinstance(error, Refused) for error in refused.values())
        assert str(refused[0]) == "/purpose is wrong"
        assert str(refused[7]) == "/purpose is wrong; and old"
        assert [toggle["id"] for toggle in service.taken] == [f"e{n}" for n in range(20) if n not in refused]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_too_much_is_halved_until_it_is_not(status: int) -> None:
    def rule(asked: Asked) -> Answer:
        return Answer(status, b"<html>too large</html>") if len(asked.body) > 700 else Answer(202)

    gate = threading.Event()
    with serving(Choosy(rule=rule)) as service, HttpEmitter(service.url, KEY) as emitter:
        first(service, lambda: gate.wait(PATIENCE))
        futures = emit(emitter, 100)
        large = emitter.emit("user:" + "x" * 250, "ai", "opt_out", source="ä" * 200, id="i" * 128)
        small = emitter.emit("user:1", "ai", "opt_out", id="last")
        gate.set()
        for future in [*futures, small]:
            future.result(PATIENCE)
        assert str(large.exception(PATIENCE)) == f"{status} without a reason"
        assert isinstance(large.exception(), Refused)
        assert [toggle["id"] for toggle in service.taken] == [f"e{number}" for number in range(100)] + ["last"]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 415])
def test_an_answer_that_stays_the_same_is_final(service: FakeService, status: int) -> None:
    service.next.append(Answer(status, problem("the API key is not known"), {"location": "/elsewhere"}))
    with HttpEmitter(service.url, KEY) as emitter:
        (future,) = emit(emitter, 1)
        assert str(future.exception(PATIENCE)) == f"{status}: the API key is not known"
        assert isinstance(future.exception(), Refused)
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"", b"\xff\xfe", b"[" * 100_000, [], None, {}, {"ids": 7}, {"ids": ["other"]}, {"ids": ["e0", "e1"]}],
)
@pytest.mark.parametrize("status", [200, 202])
def test_a_yes_that_is_not_the_services_is_none(service: FakeService, status: int, body: Any) -> None:
    service.next.append(Answer(status, body))
    with HttpEmitter(service.url, KEY) as emitter:
        (future,) = emit(emitter, 1)
        future.result(PATIENCE)
    assert len(service.asked) == 2


def test_a_stranger_in_the_services_place_is_told(service: FakeService) -> None:
    service.next.extend([Answer(200, b"<html>log in</html>")] * 50)
    with HttpEmitter(service.url, KEY, timeout=1.0) as emitter:
        (future,) = emit(emitter, 1)
        assert f"{service.url} answers, but not as Rescind does" in str(future.exception(PATIENCE))


@pytest.mark.parametrize(
    "errors",
    [7, {}, [7], [None], [{}], [{"index": "0"}], [{"index": -1}], [{"index": 1}], [{"index": 0, "pointer": 7}]],
)
def test_odd_refusals_are_refusals(service: FakeService, errors: Any) -> None:
    service.next.append(Answer(422, {"detail": "no", "errors": errors}))
    with HttpEmitter(service.url, KEY) as emitter:
        (future,) = emit(emitter, 1)
        assert isinstance(future.exception(PATIENCE), Refused)


#: A connection that ends by a reset.
RESET = b"RST"
TAKEN = json.dumps({"accepted": 1, "ids": ["e0"]}).encode()
GOOD = b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n%s" % (len(TAKEN), TAKEN)


@contextlib.contextmanager
def raw(*replies: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answers each connection with these bytes, whatever it is asked."""

    def run() -> None:
        for reply in replies:
            plain, _ = listener.accept()
            with contextlib.suppress(ssl.SSLError), contextlib.ExitStack() as open_until_answered:
                connection = open_until_answered.enter_context(
                    tls.wrap_socket(plain, server_side=True) if tls else plain
                )
                asked = open_until_answered.enter_context(connection.makefile("rb"))
                # What is left unread when a connection is closed resets it.
                length = next(int(line[15:]) for line in asked if line.lower().startswith(b"content-length:"))
                while asked.readline().strip():
                    pass
                asked.read(length)
                if reply == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    "broken",
    [b"", RESET, b"garbage\r\n\r\n", b"HTTP/1.1 202 Acc", b"HTTP/1.1 202 Accepted\r\ncontent-length: 50\r\n\r\n{"],
)
def test_a_broken_connection_is_tried_again(broken: bytes) -> None:
    with raw(broken, GOOD) as url, HttpEmitter(url, KEY) as emitter:
        (future,) = emit(emitter, 1)
        assert future.result(PATIENCE) == Emitted("e0")


def test_over_tls_only_a_server_with_a_good_certificate_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = issued(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.broker)
    with raw(RESET, tls=context) as url, HttpEmitter(url, KEY, timeout=1.0) as emitter:
        (future,) = emit(emitter, 1)
        assert "certificate verify failed" in str(future.exception(PATIENCE))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with raw(GOOD, tls=context) as url, HttpEmitter(url, KEY, timeout=PATIENCE) as emitter:
        (future,) = emit(emitter, 1)
        assert future.result(PATIENCE) == Emitted("e0")


def test_closing_ends_a_request_that_hangs(service: FakeService) -> None:
    asked, slow = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        slow.wait(PATIENCE)

    first(service, hang)
    emitter = HttpEmitter(service.url, KEY, request_timeout=PATIENCE)
    (future,) = emit(emitter, 1)
    assert asked.wait(PATIENCE)
    started = time.monotonic()
    emitter.close(0.1)
    assert time.monotonic() - started < AT_ONCE
    assert isinstance(future.exception(0), NotEmitted)
    assert "rescind-emitter" not in [thread.name for thread in threading.enumerate()]
    slow.set()


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "/", "127.0.0.1:8321", "//localhost", "ftp://localhost", "http://", "http:///v1", "http://a:b",
        "http://localhost:99999", "http://localhost:0", "http://[::1", "http://ä..b", "http://a..b", "http://a\nb",
        "http://a b", "http://\ud800", "http://me:secret@localhost", "http://localhost/?a=b", "http://localhost/#a",
    ],
)  # fmt: skip
def test_a_url_that_is_no_service_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        HttpEmitter(url, KEY)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "  ", "rsk_ä", "rsk 1", "rsk\r\nx-evil: 1", "rsk\0", "\ud800"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        HttpEmitter("http://127.0.0.1", key)
    assert not key.strip() or key not in str(refused.value)
