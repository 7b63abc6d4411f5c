"""How operators are told: a POST of `{"text": ...}`, as Slack, Mattermost and their like take it, or a mail.

Both go to servers that the operator named in the settings, so private addresses are allowed, unlike for partners. None
of them holds anybody up: there is a limit of time, and whatever goes wrong is an outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import NamedTuple, Protocol

import aiohttp
import orjson

from agents.addresses import Resolver
from agents.connecting import allow_reply, peer, session, verbatim
from agents.fault_words import explained
from streams.deadlines import Told
from streams.escalations import Rule
from streams.plain_text import one_line
from streams.settings import SmtpSettings

#: Bytes of an answer; only its status counts.
_REPLY_CAP = 16 * 1024


class Message(NamedTuple):
    """What operators read. The id tells a repetition apart."""

    id: str
    title: str
    text: str
    at: datetime


class Outcome(NamedTuple):
    told: Told
    error: str | None = None


class Alerts(Protocol):
    """The seam for other ways to tell operators."""

    async def tell(self, rule: Rule, message: Message) -> Outcome:
        """Try once. Never raises for what the other side does."""
        ...


class HttpAndMail:
    """Alerts by webhook and by mail; `timeout` in seconds is for the whole of one."""

    def __init__(self, smtp: SmtpSettings, timeout: float) -> None:
        self._smtp = smtp
        self._timeout = timeout
        self._resolver = Resolver(lambda _: True)
        self._session: aiohttp.ClientSession | None = None

    async def tell(self, rule: Rule, message: Message) -> Outcome:
        if rule.mail is None:
            return await self._post(rule.target, message)
        return await Mail(self._smtp, self._timeout).send(rule.mail, message)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _post(self, url: str, message: Message) -> Outcome:
        peer.set(None)
        body = orjson.dumps({"text": f"{message.title}\n{message.text}"})
        allow_reply(_REPLY_CAP)
        headers = {"content-type": "application/json"}
        try:
            async with self._open().post(verbatim(url), data=body, headers=headers, allow_redirects=False) as response:
                if 200 <= response.status < 300:
                    return Outcome(Told.SENT)
                return Outcome(Told.FAILED, f"HTTP {response.status}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Without a connection nobody has heard of it.
            return Outcome(Told.UNSURE if peer.get() else Told.FAILED, explained(error))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = session(self._resolver, aiohttp.ClientTimeout(total=self._timeout))
        return self._session


class Mail:
    """One mail, by a thread: `smtplib` waits, and may be made to wait for ever by a server that sends a letter now and
    then. Past the time its connection is cut, and the thread ends by that."""

    def __init__(self, settings: SmtpSettings, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._wire = _Wire()
        self._begun = False

    async def send(self, to: str, message: Message) -> Outcome:
        mail = _mail(self._settings.sender, to, message)
        try:
            async with asyncio.timeout(self._timeout):
                await _in_a_thread(lambda: self._send(mail))
        except smtplib.SMTPServerDisconnected as error:
            return Outcome(self._lost, _words(error))
        except smtplib.SMTPException as error:
            return Outcome(Told.FAILED, _words(error))
        except TimeoutError:
            self._wire.cut()  # before it is asked whether the mail had begun: from here on it cannot begin
            return Outcome(self._lost, "no answer in time")
        except OSError as error:
            return Outcome(self._lost, explained(error))
        finally:
            self._wire.cut()
        return Outcome(Told.SENT)

    @property
    def _lost(self) -> Told:
        return Told.UNSURE if self._begun else Told.FAILED

    def _send(self, mail: EmailMessage) -> None:
        # By itself it would ask the DNS for our name.
        name, tls = socket.gethostname(), ssl.create_default_context()
        if self._settings.security == "tls":
            server: _Smtp = _SmtpOverTls(local_hostname=name, timeout=self._timeout, context=tls)
        else:
            server = _Smtp(local_hostname=name, timeout=self._timeout)
        server.wire = self._wire
        try:
            self._talk(server, tls, mail)
        finally:
            server.close()

    def _talk(self, server: smtplib.SMTP, tls: ssl.SSLContext, mail: EmailMessage) -> None:
        settings = self._settings
        # `connect` alone does not tell TLS the name that the certificate is for.
        server._host = settings.host  # type: ignore[attr-defined]
        code, words = server.connect(settings.host, settings.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, words)
        if settings.security == "starttls":
            server.starttls(context=tls)
        if settings.username:
            server.login(settings.username, settings.password)
        self._begun = True
        server.send_message(mail)
        with contextlib.suppress(smtplib.SMTPException, OSError):  # it has the mail
            server.quit()


class _Wire:
    """A connection that another thread may cut at any time: while it is made, too, and before that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cut = False
        self._connection: socket.socket | None = None

    def opened(self, connection: socket.socket) -> None:
        """Raises `TimeoutError` if it was cut before."""
        with self._lock:
            if self._is_cut:
                connection.close()
                raise TimeoutError
            # One of our own, since TLS takes the other one away.
            self._connection = connection.dup()

    def cut(self) -> None:
        """Whoever still waits for an answer gets none, and closes the connection."""
        with self._lock:
            self._is_cut = True
            if self._connection is not None:
                with contextlib.suppress(OSError), self._connection:  # it is closed already
                    self._connection.shutdown(socket.SHUT_RDWR)


class _Smtp(smtplib.SMTP):
    #: Set before it connects.
    wire: _Wire

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self.wire.opened(connection)
        return connection


class _SmtpOverTls(smtplib.SMTP_SSL, _Smtp):
    """`SMTP_SSL` begins TLS on what `_Smtp` has connected."""


def _mail(sender: str, to: str, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, message.title
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{message.id}@{sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834
    mail.set_content(message.text + "\n")
    return mail


def _words(error: smtplib.SMTPException) -> str:
    match error:
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=bytes(words)):
            text = f"SMTP {code}: {words.decode('utf-8', 'replace')}"
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            code, words = next(iter(refused.values()))
            text = f"SMTP {code}: {words.decode('utf-8', 'replace')}"
        case _:
            text = str(error)
    return one_line(text[:1000])


async def _in_a_thread(work: Callable[[], None]) -> None:
    """Of its own, and one that no exit waits for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as caught:  # noqa: BLE001 - it is raised where it is waited for
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="mail", daemon=True).start()
    await done
