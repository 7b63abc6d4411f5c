"""What lanes read past the models must be what the models would read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from streams import written as reading
from streams.cloudevents import OUR_HEADERS, STRUCTURED_HEADERS, Envelope, decode, encode
from streams.errors import Undecodable
from streams.events import ConsentToggled, DatasetVersion, Notice, NoticesIssued
from streams.written import read_pack, written
from tests.unit.fakes import NOON, notice
from tests.unit.test_encoding import made

DATASET = DatasetVersion(dataset="posts", version="1")
PACK = NoticesIssued(partner="p", lane=3, notices=(notice(0), notice(1)))


@given(made(NoticesIssued))
@settings(max_examples=100, deadline=None)
def test_a_pack_reads_the_same_in_either_way(pack: NoticesIssued) -> None:
    value = encode(Envelope("pack", NOON, pack))
    quick, slow = read_pack(value, OUR_HEADERS), read_pack(value, {"content-type": b"application/cloudevents+json"})
    assert quick == slow
    assert quick.partner == pack.partner
    fields = [{name: value for name, value in vars(each).items() if name != "trace"} for each in quick.notices]
    assert [Notice.model_validate(each) for each in fields] == list(pack.notices)
    for each, trace in zip(quick.notices, pack.traces or (), strict=False):
        assert each.trace == trace


def test_what_we_write_is_read_past_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients' headers; and the models are not asked."""
    monkeypatch.delattr(reading, "decode")
    value = encode(Envelope("pack", NOON, PACK))
    for headers in (OUR_HEADERS, STRUCTURED_HEADERS):
        assert read_pack(value, headers).notices == [written(notice(0)), written(notice(1))]


def test_so_is_a_notice_that_names_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    naming = notice(0).model_copy(update={"datasets": (DATASET, DATASET), "datasets_count": 7})
    value = encode(Envelope("pack", NOON, NoticesIssued(partner="p", lane=3, notices=(naming, notice(1)))))
    monkeypatch.delattr(reading, "decode")
    first, second = read_pack(value, OUR_HEADERS).notices
    assert (first, second) == (written(naming), written(notice(1)))
    assert (first.datasets, first.datasets_count) == ([{"dataset": "posts", "version": "1"}] * 2, 7)


def changed(**changes: Any) -> bytes:
    """A pack of one notice, with these fields of the notice, or without those that are None."""
    event = orjson.loads(encode(Envelope("pack", NOON, NoticesIssued(partner="p", lane=3, notices=(notice(0),)))))
    fields = event["data"]["notices"][0] | changes
    event["data"]["notices"] = [{name: value for name, value in fields.items() if value is not None}]
    return orjson.dumps(event)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "specversion"),
        (encode(Envelope("t", NOON, ConsentToggled(subject="a:b", purpose="ai", choice="opt_out", occurred_at=NOON))),
         "does not belong"),
        (changed(action="eat"), "action"),
        (changed(subject=None), "subject"),
        (changed(subject=7), "subject"),
        (changed(more="of it"), "more"),
        (changed(issued_at={}), "issued_at"),
        (changed(datasets="posts", datasets_count=1), "datasets"),
        (changed(datasets=[], datasets_count=1), "datasets"),
        (changed(datasets=[{"dataset": "posts"}], datasets_count=1), "version"),
        (changed(datasets=[{"dataset": "posts", "version": 1}], datasets_count=1), "version"),
        (changed(datasets=[{"dataset": "posts", "version": "1", "more": ""}], datasets_count=1), "more"),
        (changed(datasets=[{"dataset": "posts", "version": "1"}], datasets_count="1x"), "datasets_count"),
        (changed(datasets=[{"dataset": "posts", "version": "1"}], datasets_count=1, subject=7), "subject"),
        (orjson.dumps({"type": NoticesIssued.TYPE, "data": {"partner": "p", "notices": []}}), "specversion"),
        (orjson.dumps({"type": NoticesIssued.TYPE, "data": {"partner": "p", "notices": {"a": 1}}}), "specversion"),
        (orjson.dumps({"type": NoticesIssued.TYPE, "data": {"partner": "p", "notices": [None]}}), "specversion"),
        (orjson.dumps({"type": NoticesIssued.TYPE, "data": 7}), "specversion"),
    ],
)  # fmt: skip
def test_what_is_no_pack_is_told_as_by_the_models(value: bytes | None, why: str) -> None:
    with pytest.raises(Undecodable, match=why) as told:
        read_pack(value, OUR_HEADERS)
    if "belong" not in why:
        with pytest.raises(Undecodable) as expected:
            decode(value, OUR_HEADERS)
        assert str(told.value) == str(expected.value)


def test_a_time_in_another_form_leaves_as_we_write_times() -> None:
    (other,) = read_pack(changed(more=None, occurred_at="2026-01-01t13:00:00+01:00"), {}).notices
    assert other.occurred_at == "2026-01-01T12:00:00Z"
