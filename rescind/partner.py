"""The partner's kit: check a webhook, read its notices, obey the newest, reply, acknowledge later, by a signed callback
if need be.

Needs neither Faust nor FastAPI, and `cryptography` only for `v1a` signatures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from streams import signing
from streams.errors import InvalidInput
from streams.signing import InvalidSignature

__all__ = [
    "Delivery",
    "InvalidInput",
    "InvalidSignature",
    "LastWord",
    "LastWords",
    "ReceivedNotice",
    "amended",
    "callback",
    "completed",
    "is_outdated",
    "receive",
    "reply",
]

#: The type of an event that asks for nothing.
TEST_TYPE = "io.rescind.test"
#: What may be asked, and the outcome of doing just that.
ACTIONS = {"stop": "suppressed", "erase": "deleted", "resume": "resumed"}


@dataclass(frozen=True, slots=True)
class ReceivedNotice:
    """What a partner is asked. `action` is `stop`, `erase` or `resume`; drop a notice whose `id` is known.
    `extended_complete_by` is by when, if more time is asked for before `complete_by`; None if that is no use.
    `reminder` counts from 1; None for the notice itself. `datasets` are those in which the subject came to you, each
    with its version, as far as Rescind knows; the newest, and `datasets_count` of them in all. `rank` says which of two
    choices of a person is the newer, see `LastWords`; None where the notice comes from no choice. `legal_receive_by`
    and `legal_complete_by` are dates by the person's request that had passed when you were asked; the platform's delay,
    not yours. With `suppression_completes` your contract lets `suppressed` complete an `erase`."""

    id: str
    action: str
    subject: str
    purpose: str
    occurred_at: datetime
    issued_at: datetime
    receive_by: datetime
    complete_by: datetime
    extended_complete_by: datetime | None = None
    reminder: int | None = None
    datasets: tuple[tuple[str, str], ...] = ()
    datasets_count: int = 0
    rank: str | None = None
    legal_receive_by: datetime | None = None
    legal_complete_by: datetime | None = None
    suppression_completes: bool = False


class LastWord(NamedTuple):
    """What was obeyed last about a subject and a purpose: what was asked, and the newest rank so far."""

    action: str
    rank: str | None


def is_outdated(notice: ReceivedNotice, last: LastWord | None) -> bool:
    """Does a notice say what a newer one has replaced already? Then drop it. Ranks are compared as plain strings; equal
    ones come from the same choice. A notice without a rank is obeyed, unless the last word was a `resume`."""
    if last is None:
        return False
    if notice.rank is None:
        return last.action == "resume"
    return last.rank is not None and notice.rank < last.rank


class LastWords:
    """Keeps the last word for every subject and purpose, so that no order of arrival can turn you around: a retry, a
    redelivery or a second lane may bring an `erase` after the `resume` that reversed it.

        if notice.id not in done and words.take(notice):
            obey(notice)

    `known` is where they are kept, a dict by default; in real life a table, written in the transaction that obeys.
    Answer a notice that was dropped as outdated with `received`, or with nothing but the 2xx: it was not done, so do
    not say that it was. Rescind itself cancels what a later choice has reversed.
    """

    def __init__(self, known: MutableMapping[tuple[str, str], LastWord] | None = None) -> None:
        self._known: MutableMapping[tuple[str, str], LastWord] = {} if known is None else known

    def take(self, notice: ReceivedNotice) -> bool:
        """Is it to be obeyed? Then it is the last word from now on."""
        about = (notice.subject, notice.purpose)
        last = self._known.get(about)
        if is_outdated(notice, last):
            return False
        # What has no rank takes none away.
        rank = notice.rank if notice.rank is not None or last is None else last.rank
        self._known[about] = LastWord(notice.action, rank)
        return True


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook whose signature holds. One without notices is a test: answer it with a 2xx."""

    webhook_id: str
    notices: tuple[ReceivedNotice, ...]


def receive(keys: str | Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> Delivery:
    """Check and read a webhook. `now` is an aware time.

    `keys` is the signing secret (`whsec_...`) or the public key (`whpk_...`) that Rescind gave, or several of them:
    while one replaces another, hold both.

    Raises `InvalidSignature` (answer 401) or `InvalidInput` (answer 400), and nothing else.
    """
    webhook_id = _verified(keys, headers, body, now)
    try:
        parsed = json.loads(body)
        events = parsed if isinstance(parsed, list) else [parsed]
        return Delivery(webhook_id, tuple(_notice(event) for event in events if event.get("type") != TEST_TYPE))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"the body is no batch of notices: {error!r}") from None


def _verified(keys: str | Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        return signing.verify(keys, lowered, body, now)
    except (ValueError, OverflowError):
        # Anybody may send us headers: a timestamp of a thousand digits, say, or bytes that are no text.
        raise InvalidSignature("a webhook header, or a key, is malformed") from None


def reply(results: Iterable[Mapping[str, Any]]) -> bytes:
    """The body of a 2xx that acknowledges right there: `{"id", "status", "outcome"?, "reason"?}` each.

    Values may come from a database, also in `evidence`: NaN and infinite numbers become null, half of a
    surrogate pair becomes U+FFFD, an aware `datetime` becomes text by RFC 3339, a `date`, `UUID`, `Decimal` or `Enum`
    its text or value, a tuple, set or iterator a list. Raises `InvalidInput`, with its place, for anything else: a time
    without its zone, bytes, an object that contains itself.
    """
    return _json({"results": list(results)})


def callback(
    secret: str, webhook_id: str, acknowledgements: Iterable[Mapping[str, Any]], now: datetime
) -> tuple[dict[str, str], bytes]:
    """Headers and body of a `POST /v1/callbacks/{partner}`, for a partner without an API key. Each acknowledgement is
    as `POST /v1/acknowledgements` takes it, up to 1,000. `secret` is the newest signing secret (`whsec_...`).

    A retry may have the same `webhook_id`, which is yours to choose, but must be signed anew: a signature holds for
    five minutes. Raises `InvalidSignature` if the secret is none, and `InvalidInput` as `reply` does.
    """
    if not secret.startswith(signing.SECRET):
        raise InvalidSignature("a callback is signed with the signing secret, whsec_...")
    body = _json(list(acknowledgements))
    return {"content-type": "application/json"} | signing.headers(secret, webhook_id, now, body), body


def completed(notice: ReceivedNotice) -> dict[str, str]:
    """The answer of a partner that did what was asked: `{"id": notice.id, **completed(notice)}` in a reply,
    `{"notice_id": notice.id, **completed(notice)}` to `POST /v1/acknowledgements`."""
    return {"status": "completed", "outcome": ACTIONS[notice.action]}


def amended(answer: Mapping[str, Any], why: str) -> dict[str, Any]:
    """A final answer in the place of the one that was given before: `amended(completed(notice), "found in a backup")`.
    `why` is up to 1,000 characters, and not empty; say it in other words each time."""
    if not why.strip():
        raise ValueError("an answer is amended with a word why")
    return {**answer, "amends": True, "detail": why}


def _json(value: Any) -> bytes:
    try:
        return json.dumps(_plain(value, ""), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except RecursionError:
        raise InvalidInput("what is to be sent is nested too deeply, or contains itself") from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise InvalidInput(f"what is to be sent is not JSON: {error}") from None


def _plain(value: Any, where: str) -> Any:
    """A value as `json` writes it."""
    match value:
        case Enum():
            return _plain(value.value, where)
        case Mapping():
            return {_name(name, where): _plain(each, f"{where}/{name}") for name, each in value.items()}
        case Iterable() if not isinstance(value, str | bytes | bytearray | memoryview):
            return [_plain(each, f"{where}/{number}") for number, each in enumerate(value)]
        case _:
            return _scalar(value, where)


def _scalar(value: Any, where: str) -> str | float | bool | None:
    match value:
        case str():
            plain: str | float | bool | None = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case None | bool() | int():
            plain = value
        case float():
            plain = value if math.isfinite(value) else None
        case datetime(tzinfo=None):
            raise InvalidInput(f"{where}: the time {value} has no zone")
        case date():
            plain = value.isoformat()
        case UUID() | Decimal():
            plain = str(value)
        case _:
            raise InvalidInput(f"{where}: {type(value).__name__} is not JSON")
    return plain


def _name(name: Any, where: str) -> str:
    """The name of a field, which in JSON is always text."""
    plain = _plain(name, where)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, list | dict):
        raise InvalidInput(f"{where}: {type(name).__name__} cannot be the name of a field")
    return json.dumps(plain)


def _notice(event: Any) -> ReceivedNotice:
    data = event["data"]
    if data["action"] not in ACTIONS:
        # Whoever does not know what is asked must not answer that it was received.
        raise ValueError(f"unknown action {data['action']!r}")
    return ReceivedNotice(
        id=_text(event, "id"),
        action=data["action"],
        subject=_text(data, "subject"),
        purpose=_text(data, "purpose"),
        occurred_at=_time(data, "occurred_at"),
        issued_at=_time(data, "issued_at"),
        receive_by=_time(data, "receive_by"),
        complete_by=_time(data, "complete_by"),
        extended_complete_by=_time(data, "extended_complete_by") if "extended_complete_by" in data else None,
        reminder=data.get("reminder"),
        datasets=tuple((_text(each, "dataset"), _text(each, "version")) for each in data.get("datasets", ())),
        datasets_count=int(data.get("datasets_count", 0)),
        rank=_text(data, "rank") if data.get("rank") is not None else None,
        legal_receive_by=_time(data, "legal_receive_by") if "legal_receive_by" in data else None,
        legal_complete_by=_time(data, "legal_complete_by") if "legal_complete_by" in data else None,
        suppression_completes=data.get("suppression_completes") is True,
    )


def _text(fields: Any, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _time(fields: Any, name: str) -> datetime:
    value = datetime.fromisoformat(_text(fields, name))
    if value.tzinfo is None:
        raise ValueError(f"{name} has no zone")
    return value
