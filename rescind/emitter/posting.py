"""Toggles to the service's HTTP interface, with nothing but the standard library."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from rescind.emitter.errors import Refused, Trouble
from rescind.emitter.line import Emitted, Pending
from streams.errors import InvalidInput

#: Bytes of an answer that are read.
_MOST_ANSWER = 4 * 1024 * 1024
#: Answers that say: the same again, later (RFC 9110, RFC 6585, RFC 8470). So does every 5xx.
_LATER = frozenset({408, 425, 429})
#: Answers that may be about some toggles of a request, and not about the others.
_DIVISIBLE = frozenset({400, 413, 422})


class Posting:
    """A `Carrier` by HTTP: `POST /v1/toggles`. A lost answer costs nothing: a toggle that comes again under its
    id is the same one to the service."""

    most = 1000

    def __init__(self, url: str, key: str, request_timeout: float) -> None:
        self._url = checked_url(url)
        self._headers = {
            "authorization": f"Bearer {checked_key(key)}",
            "content-type": "application/json",
            "accept": "application/json",
            "connection": "close",
        }
        self._request_timeout = request_timeout
        self._connection: http.client.HTTPConnection | None = None

    def carry(self, batch: Sequence[Pending]) -> None:
        todo = [list(batch)]
        while todo:
            part = todo.pop()
            answer = self._post(part)
            if answer.status < 300:
                self._take(part, answer)
            elif answer.status in _DIVISIBLE:
                todo += self._divide(part, answer)
            elif answer.status in _LATER or answer.status >= 500:
                raise Trouble(answer.words, answer.after)
            else:
                for pending in part:
                    pending.failed(Refused(answer.words))

    def stop(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):  # it is closed already
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Every request has a connection of its own, which ends with it."""

    def _post(self, part: Sequence[Pending]) -> _Answer:
        items = [{"id": each.toggle.id, **each.toggle.data()} for each in part]
        timeout = min(self._request_timeout, max(0.001, *(each.left for each in part)))
        connection = self._connection = _connection(self._url, timeout)
        try:
            connection.request("POST", f"{self._url.path.rstrip('/')}/v1/toggles", _json(items), self._headers)
            response = connection.getresponse()
            body = response.read(_MOST_ANSWER)
            if response.length:
                raise http.client.IncompleteRead(body, response.length)
            return _Answer(response.status, response.headers.get("retry-after"), body)
        except (OSError, http.client.HTTPException) as error:
            raise Trouble(f"no answer from {self._url.geturl()}: {error or type(error).__name__}") from None
        finally:
            connection.close()
            self._connection = None

    def _take(self, part: Sequence[Pending], answer: _Answer) -> None:
        if answer.status != 202 or answer.object.get("ids") != [pending.toggle.id for pending in part]:
            # A proxy's page, say. To take it for a yes would be to lose them.
            raise Trouble(f"{self._url.geturl()} answers, but not as Rescind does")
        for pending in part:
            pending.taken(Emitted(pending.toggle.id))

    def _divide(self, part: list[Pending], answer: _Answer) -> list[list[Pending]]:
        """What is worth another try, last part first. A request is taken as a whole or not at all."""
        refused = answer.refusals(len(part))
        if not refused and len(part) > 1:
            half = len(part) // 2
            return [part[half:], part[:half]]
        for index, pending in enumerate(part):
            if not refused or index in refused:
                pending.failed(Refused(refused.get(index, answer.words)))
        rest = [pending for pending in part if not pending.future.done()]
        return [rest] if rest else []


class _Answer:
    """What the service said, or whoever stands in its place."""

    def __init__(self, status: int, retry_after: str | None, body: bytes) -> None:
        self.status = status
        self.after = _seconds(retry_after)
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        self.object: dict[str, Any] = parsed if isinstance(parsed, dict) else {}

    @property
    def words(self) -> str:
        detail = self.object.get("detail")
        return f"{self.status}: {detail}" if isinstance(detail, str) else f"{self.status} without a reason"

    def refusals(self, count: int) -> dict[int, str]:
        """The items that are wrong, each with all that is wrong with it (RFC 9457, as `gateway.bodies` says it)."""
        errors = self.object.get("errors")
        found: dict[int, str] = {}
        for error in errors if isinstance(errors, list) else ():
            index = error.get("index") if isinstance(error, dict) else None
            if isinstance(index, int) and 0 <= index < count:
                said = f"{error.get('pointer') or ''} {error.get('detail')}".strip()
                found[index] = f"{found[index]}; {said}" if index in found else said
        return found


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _seconds(retry_after: str | None) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date. None where it is neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _connection(url: SplitResult, timeout: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.hostname or "", url.port, timeout=timeout)


def checked_url(url: str) -> SplitResult:
    """The root of a service. Raises `InvalidInput`."""
    try:
        parsed = urlsplit(url)
        valid = parsed.scheme in ("http", "https") and parsed.hostname and parsed.port != 0
        (parsed.hostname or "").encode("idna")  # as the name is looked up
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(f"{url!r} is not the URL of a service, which looks like http://127.0.0.1:8321")
    if "@" in parsed.netloc or parsed.query or parsed.fragment:
        raise InvalidInput("the URL of a service has no user, no query and no fragment")
    return parsed


def checked_key(key: str) -> str:
    """A platform's API key. Raises `InvalidInput`."""
    stripped = key.strip()
    if not stripped or not (stripped.isascii() and stripped.isprintable() and " " not in stripped):
        raise InvalidInput("the API key is empty, or holds characters that no key has")
    return stripped
