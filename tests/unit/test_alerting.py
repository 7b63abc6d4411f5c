"""Telling operators: by real HTTP and real SMTP, to servers that are well, and to such as are not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from agents.alerting import HttpAndMail, Message, Outcome
from streams.deadlines import Step, Told
from streams.escalations import Rule
from streams.settings import SmtpSettings
from tests.support.ports import deaf_port
from tests.unit.cli.fakes import Answer, FakeService, serving
from tests.unit.fakes import NOON

MESSAGE = Message("an-id", "p: 2 notices past complete-by", "The oldest was due.", NOON)
SENT = Outcome(Told.SENT)


def rule(target: str) -> Rule:
    return Rule(step=Step.BREACHED, after=0, target=target)


MAIL = rule("mailto:ops@a.example")


def smtp(port: int, **fields: Any) -> SmtpSettings:
    return SmtpSettings.model_validate(
        {"host": "localhost", "port": port, "security": "none", "sender": "rescind@a.example"} | fields
    )


@pytest.fixture
async def tell() -> AsyncIterator[Callable[..., Any]]:
    """Tell operators by a rule; `timeout` in seconds."""
    made: list[HttpAndMail] = []

    async def telling(rule: Rule, settings: SmtpSettings | None = None, timeout: float = 10.0) -> Outcome:
        alerts = HttpAndMail(settings or smtp(1), timeout)
        made.append(alerts)
        return await alerts.tell(rule, MESSAGE)

    yield telling
    for alerts in made:
        await alerts.close()


@asynccontextmanager
async def raw(speak: Callable[[socket.socket], None]) -> AsyncIterator[int]:
    """A server that does what a test wants with the one connection that it takes. Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                speak(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


def until_closed(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def dripping(connection: socket.socket) -> None:
    try:
        while True:
            connection.sendall(b"2")
            time.sleep(0.05)
    except OSError:
        return


# -- webhooks


async def test_a_webhook_gets_what_slack_takes(tell: Callable[..., Any]) -> None:
    """On a private address, which the operator named."""
    service = FakeService()
    service.answers["POST", "/services/x"] = Answer(200, b"ok")
    with serving(service):
        assert await tell(rule(f"{service.url}/services/x")) == SENT
    (asked,) = service.asked
    assert asked.json == {"text": "p: 2 notices past complete-by\nThe oldest was due."}
    assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(404, {}), Outcome(Told.FAILED, "HTTP 404")),
        (Answer(302, b"", {"location": "https://elsewhere.example/"}), Outcome(Told.FAILED, "HTTP 302")),
        (Answer(0), Outcome(Told.UNSURE, "the connection was closed before there was an answer")),
    ],
)
async def test_a_webhook_that_does_not_take_it(tell: Callable[..., Any], answer: Answer, outcome: Outcome) -> None:
    service = FakeService()
    service.next.append(answer)
    with serving(service):
        assert await tell(rule(f"{service.url}/")) == outcome
    assert len(service.asked) == 1


async def test_a_webhook_that_is_not_there(tell: Callable[..., Any]) -> None:
    with deaf_port() as port:
        outcome = await tell(rule(f"http://127.0.0.1:{port}/"))
    assert outcome == Outcome(Told.FAILED, "cannot connect: the connection was refused")


async def test_a_webhook_that_hangs_is_given_up(tell: Callable[..., Any]) -> None:
    async with raw(until_closed) as port:
        outcome = await tell(rule(f"http://127.0.0.1:{port}/"), timeout=1.0)
    assert outcome == Outcome(Told.UNSURE, "no complete answer in time")


# -- mail


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.answer = "250 OK"
        self.refused = False

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, to: str, options: Any) -> str:
        if self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return self.answer


class Started(Controller):
    """Knows its port once it is there: the controller itself would look for the server at port 0."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    server = Started(mailbox, hostname="127.0.0.1", port=0, **options)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for localhost, whose issuer is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def test_a_mail(tell: Callable[..., Any]) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        assert await tell(MAIL, smtp(port)) == SENT
    (envelope,) = mailbox.mails
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert (envelope.mail_from, envelope.rcpt_tos) == ("rescind@a.example", ["ops@a.example"])
    assert (mail["From"], mail["To"]) == ("rescind@a.example", "ops@a.example")
    assert mail["Subject"] == "p: 2 notices past complete-by"
    assert mail["Date"] == "Thu, 01 Jan 2026 12:00:00 +0000"
    assert mail["Message-ID"] == "<an-id@a.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content() == "The oldest was due.\r\n"


def only_me(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"me", b"secret"))


async def test_a_mail_with_starttls_and_a_password(tell: Callable[..., Any], certified: ssl.SSLContext) -> None:
    mailbox = Mailbox()
    options = {"tls_context": certified, "require_starttls": True, "authenticator": only_me, "auth_required": True}
    with mail_server(mailbox, **options) as port:
        settings = smtp(port, security="starttls", username="me", password="secret")
        assert await tell(MAIL, settings) == SENT
    assert len(mailbox.mails) == 1


async def test_a_mail_with_tls_from_the_start(tell: Callable[..., Any], certified: ssl.SSLContext) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox, ssl_context=certified) as port:
        assert await tell(MAIL, smtp(port, security="tls")) == SENT
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_nothing_goes_to_a_server_that_cannot_prove_its_name(
    tell: Callable[..., Any], certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    if host == "localhost":
        monkeypatch.delenv("SSL_CERT_FILE")
    mailbox = Mailbox()
    with mail_server(mailbox, tls_context=certified) as port:
        outcome = await tell(MAIL, smtp(port, security="starttls", host=host))
    assert outcome.told is Told.FAILED
    assert mailbox.mails == []


async def test_nothing_goes_in_the_clear_where_that_was_not_chosen(tell: Callable[..., Any]) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        outcome = await tell(MAIL, smtp(port, security="starttls"))
    assert outcome.told is Told.FAILED
    assert mailbox.mails == []


@pytest.mark.parametrize(("refused", "answer"), [(True, "250 OK"), (False, "554 no thanks")])
async def test_a_mail_that_is_refused(tell: Callable[..., Any], refused: bool, answer: str) -> None:
    mailbox = Mailbox()
    mailbox.refused, mailbox.answer = refused, answer
    with mail_server(mailbox) as port:
        outcome = await tell(MAIL, smtp(port))
    assert outcome == Outcome(Told.FAILED, "SMTP 550: no such user" if refused else "SMTP 554: no thanks")


async def test_a_mail_server_that_is_not_there(tell: Callable[..., Any]) -> None:
    with deaf_port() as port:
        outcome = await tell(MAIL, smtp(port))
    assert outcome == Outcome(Told.FAILED, "the connection was refused")


@pytest.mark.parametrize("speak", [until_closed, dripping])
async def test_a_mail_server_that_hangs_is_given_up_and_leaves_no_thread(
    tell: Callable[..., Any], speak: Callable[[socket.socket], None]
) -> None:
    async with raw(speak) as port:
        outcome = await tell(MAIL, smtp(port), timeout=0.4)
    assert outcome == Outcome(Told.FAILED, "no answer in time")
    async with asyncio.timeout(30):
        while any(thread.name == "mail" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


async def test_a_mail_that_is_given_up_before_its_server_is_reached_is_not_sent_later(
    tell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up, context = threading.Event(), ssl.create_default_context

    def late() -> ssl.SSLContext:
        given_up.wait(30)
        return context()

    monkeypatch.setattr(ssl, "create_default_context", late)
    async with raw(dripping) as port:
        outcome = await tell(MAIL, smtp(port), timeout=1.0)
        given_up.set()
        # The server sees its connection end.
    assert outcome == Outcome(Told.FAILED, "no answer in time")


def takes_all_and_says_nothing(connection: socket.socket) -> None:
    """Up to the end of the mail."""
    connection.sendall(b"220 hello\r\n")
    told = b""
    while piece := connection.recv(65536):
        told += piece
        if b"data\r\n" in told:
            if not told.endswith(b"\r\n.\r\n"):
                connection.sendall(b"354 go on\r\n")
        else:
            connection.sendall(b"250 OK\r\n")


def knows_nobody(connection: socket.socket) -> None:
    connection.sendall(b"220 hello\r\n")
    while piece := connection.recv(65536):
        connection.sendall(b"535 who?\r\n" if piece.startswith(b"AUTH") else b"250-here\r\n250 AUTH PLAIN\r\n")


async def test_a_mail_server_that_does_not_know_us(tell: Callable[..., Any]) -> None:
    async with raw(knows_nobody) as port:
        outcome = await tell(MAIL, smtp(port, username="me", password="secret"))
    assert outcome == Outcome(Told.FAILED, "SMTP 535: who?")


async def test_a_mail_that_nobody_confirms_may_have_been_sent(tell: Callable[..., Any]) -> None:
    async with raw(takes_all_and_says_nothing) as port:
        outcome = await tell(MAIL, smtp(port), timeout=1.5)
    assert outcome == Outcome(Told.UNSURE, "no answer in time")
