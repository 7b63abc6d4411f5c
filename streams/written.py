"""Packs as they are written, for whoever takes them on as they stand.

To validate a notice, parse its times and write them out again costs three times what sending it costs. What stands in
a lane we wrote ourselves, of values that were validated: here it is only made sure that it has the form of that.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson

from streams.cloudevents import OURS, Headers, decode, given
from streams.errors import Undecodable
from streams.events import MOST_DATASETS, Again, Failing, Notice, NoticesIssued
from streams.kinds import Action

_FIELDS = frozenset(name for name, field in Notice.model_fields.items() if field.is_required())
_KNOWN = _FIELDS | {"extended_complete_by", "rank", "datasets", "datasets_count"}
_KNOWN |= {"suppression_completes", "legal_receive_by", "legal_complete_by"}
_NO_TEXTS = ("datasets", "datasets_count", "suppression_completes")
_TEXTS = {str}
_ACTIONS = frozenset(map(str, Action))
_MOST = 1000
#: What only a pack that was issued again says; those are few, and judged by all rules.
_ISSUED_AGAIN = frozenset({"again", "checked", "failing"})


class WrittenNotice(SimpleNamespace):
    """A `streams.events.Notice` whose times are texts, RFC 3339 in UTC."""

    id: str
    cause_id: str
    toggle_id: str
    action: str
    subject: str
    purpose: str
    occurred_at: str
    issued_at: str
    receive_by: str
    complete_by: str
    extended_complete_by: str | None = None
    rank: str | None = None
    reminder: int | None = None
    #: Where it stands in a trace, see `streams.events.NoticesIssued`.
    trace: str | None = None
    datasets: list[dict[str, str]] | None = None
    datasets_count: int | None = None
    suppression_completes: bool | None = None
    legal_receive_by: str | None = None
    legal_complete_by: str | None = None


class WrittenPack(NamedTuple):
    """See `streams.events.NoticesIssued`."""

    partner: str
    notices: list[WrittenNotice]
    #: What a pack that was issued again says of that.
    again: Again | None = None
    checked: int | None = None
    failing: Failing | None = None


def read_pack(value: bytes | None, headers: Headers = None) -> WrittenPack:
    """Read a message of a lane. Raises `Undecodable` with a reason that a person can act on."""
    if value is not None and headers in OURS:
        quick = _quick(value)
        if quick is not None:
            return quick
    # Whatever is not as we write it is judged by all rules.
    data = decode(value, headers).data
    if not isinstance(data, NoticesIssued):
        raise Undecodable(f"{data.TYPE} does not belong into a lane")
    notices = _traced([written(notice) for notice in data.notices], data.traces)
    return WrittenPack(data.partner, notices, data.again, data.checked, data.failing)


def _quick(value: bytes) -> WrittenPack | None:
    """None if it is not just what we write."""
    try:
        parsed = orjson.loads(value)
        data = parsed["data"]
        partner, notices = data["partner"], data["notices"]
        if parsed["type"] != NoticesIssued.TYPE or type(partner) is not str or not 0 < len(notices) <= _MOST:
            return None
        if not _ISSUED_AGAIN.isdisjoint(data):
            return None
        for notice in notices:
            if (
                (notice.keys() != _FIELDS and not _FIELDS <= notice.keys() <= _KNOWN)
                or not (set(map(type, notice.values())) == _TEXTS or _of_texts(notice))
                or notice["action"] not in _ACTIONS
            ):
                return None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    return WrittenPack(partner, _traced([WrittenNotice(**notice) for notice in notices], data.get("traces")))


def _of_texts(notice: dict[str, Any]) -> bool:
    """Is all of a notice text, but for datasets and a mark that it has just as we write them?"""
    others = {name: notice[name] for name in _NO_TEXTS if name in notice}
    if set(map(type, (value for name, value in notice.items() if name not in others))) != _TEXTS:
        return False
    if others.pop("suppression_completes", True) is not True:
        return False
    return not others or _naming(others.get("datasets"), others.get("datasets_count"))


def _naming(named: Any, count: Any) -> bool:
    if type(named) is not list or type(count) is not int:
        return False
    return 0 < len(named) <= min(MOST_DATASETS, count) and all(map(_is_dataset, named))


def _is_dataset(each: Any) -> bool:
    if type(each) is not dict or len(each) != 2:
        return False
    return type(each.get("dataset")) is str and type(each.get("version")) is str


def written(notice: Notice) -> WrittenNotice:
    """As it would be read."""
    return WrittenNotice(**orjson.loads(orjson.dumps(given(notice), default=given, option=orjson.OPT_UTC_Z)))


def _traced(notices: list[WrittenNotice], traces: Any) -> list[WrittenNotice]:
    # A notice counts, whatever stands where its trace should.
    if isinstance(traces, list | tuple):
        for notice, trace in zip(notices, traces, strict=False):
            notice.trace = trace if isinstance(trace, str) else None
    return notices
