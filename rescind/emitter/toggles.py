"""A toggle as it leaves the platform, by the rules of `streams.events.ConsentToggled`.

The rules, but for the forms of names, are said once more here, because the service says them with pydantic, which a
platform's web process need not have. A test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rescind.emitter.errors import InvalidToggle
from streams import forms
from streams.topics import TOGGLES

TOPIC = TOGGLES.name
TYPE = "io.rescind.consent.toggled"
CHOICES = ("opt_out", "opt_in")
#: How far ahead a toggle's time may lie, for clocks that are off. One from the future would win against
#: every honest one until its time comes, and on Kafka nobody checks it after us.
AHEAD = timedelta(minutes=5)
#: Characters.
LONGEST_SOURCE = 200

_SUBJECT, _PURPOSE, _EVENT_ID = re.compile(forms.SUBJECT), re.compile(forms.PURPOSE), re.compile(forms.EVENT_ID)


@dataclass(frozen=True, slots=True)
class Toggle:
    """Valid, and its time in UTC."""

    id: str
    subject: str
    purpose: str
    choice: str
    occurred_at: datetime
    version: int | None
    retroactive: bool
    source: str | None

    @property
    def key(self) -> bytes:
        """What it travels under on Kafka, hence its partition."""
        return self.subject.encode()

    def data(self) -> dict[str, Any]:
        """The event's data: the JSON object of a `ConsentToggled`."""
        data = {
            "subject": self.subject,
            "purpose": self.purpose,
            "choice": self.choice,
            "occurred_at": rfc3339(self.occurred_at),
            "retroactive": self.retroactive,
        }
        optional = {"version": self.version, "source": self.source}
        return data | {name: value for name, value in optional.items() if value is not None}

    def event(self, platform: str, time: datetime) -> dict[str, Any]:
        """The whole CloudEvent. `platform` is its source, `time` when it was emitted."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": platform,
            "type": TYPE,
            "time": rfc3339(time),
            "datacontenttype": "application/json",
            "subject": self.subject,
            "data": self.data(),
        }


def checked(
    *,
    id: str,  # noqa: A002 - the field's name
    subject: str,
    purpose: str,
    choice: str,
    occurred_at: datetime,
    version: int | None,
    retroactive: bool,
    source: str | None,
    now: datetime,
) -> Toggle:
    """The toggle, or `InvalidToggle`."""
    return Toggle(
        id=_matching("id", id, _EVENT_ID, "1 to 128 printable ASCII characters without white space"),
        subject=_matching("subject", subject, _SUBJECT, "kind:id without white space, such as blog:staff.example.com"),
        purpose=_matching("purpose", purpose, _PURPOSE, "a slug of up to 64 characters, such as ai-training"),
        choice=_choice(choice),
        occurred_at=_moment(occurred_at, now + AHEAD),
        version=_version(version),
        retroactive=_flag(retroactive),
        source=_source(source),
    )


def rfc3339(time: datetime) -> str:
    """An aware time in UTC, with a `Z`."""
    return time.astimezone(UTC).isoformat()[:-6] + "Z"


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidToggle(field, f"not a text, but {value!r:.80}")
    try:
        value.encode()
    except UnicodeError:
        raise InvalidToggle(field, f"holds what is no character: {value!r:.80}") from None
    # An enumeration whose members are texts (Django's TextChoices, say) is taken by its values.
    return str.__str__(value)


def _matching(field: str, value: Any, form: re.Pattern[str], meaning: str) -> str:
    text = _text(field, value)
    if form.fullmatch(text) is None:
        raise InvalidToggle(field, f"must be {meaning}, not {text!r:.80}")
    return text


def _choice(value: Any) -> str:
    text = _text("choice", value)
    if text not in CHOICES:
        raise InvalidToggle("choice", f"must be {' or '.join(CHOICES)}, not {text!r:.80}")
    return text


def _moment(value: Any, latest: datetime) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidToggle("occurred_at", f"must be a datetime with its zone, not {value!r:.80}")
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        raise InvalidToggle("occurred_at", "beyond the years 1 to 9999 in UTC") from None
    if moment > latest:
        raise InvalidToggle("occurred_at", f"lies too far in the future: {rfc3339(moment)}")
    return moment


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidToggle("version", f"must be a whole number from 0 to 2**63 - 1, not {value!r:.80}")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidToggle("retroactive", f"must be True or False, not {value!r:.80}")
    return value


def _source(value: Any) -> str | None:
    if value is None:
        return None
    text = _text("source", value)
    if len(text) > LONGEST_SOURCE:
        raise InvalidToggle("source", f"longer than {LONGEST_SOURCE} characters")
    return text
