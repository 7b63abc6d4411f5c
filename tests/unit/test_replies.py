"""What partners reply, and what it means: a table, and what holds whatever they reply."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.replies import CONTAINERS_CAP, SILENT, Reply, read
from agents.reply_items import ITEMS_CAP, ReplyItem
from agents.webhooks import body_of
from streams.events import EVIDENCE_CAP, AckStatus, Outcome, RefusalReason, ReplyProblem, Vocabulary
from streams.kinds import Action
from tests.unit.fakes import written_notice

A, B, C = (f"6f1c0a34-7d2c-5b7e-9d0a-7d2c6c1f4e1{number}" for number in range(3))
ELSEWHERE = "11111111-2222-5333-8444-555555555555"
RECEIVED, WORKING, COMPLETED, REFUSED = AckStatus
DELETED, UNKNOWN = Outcome.DELETED, Outcome.UNKNOWN
NO_SUCH_STATUS = "which is none of received, in_progress, completed, refused"


@dataclass(frozen=True)
class Row:
    """A reply to a request with the notices A and B, and what it means."""

    name: str
    body: bytes | str | dict[str, Any] | list[Any]
    items: tuple[ReplyItem, ...] = ()
    acknowledged: int = 0
    not_understood: int = 0
    #: Of the problem; empty if there is none.
    words: str = ""

    @property
    def bytes(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def says(name: str, body: Any, *items: ReplyItem, words: str = "") -> Row:
    """All that it says is understood, though something may be left out."""
    return Row(name, body, items, len({item.id for item in items}), 0, words)


def nothing(name: str, body: Any) -> Row:
    """It took the request, and said nothing."""
    return Row(name, body)


def puzzles(name: str, body: Any, words: str, not_understood: int = 2) -> Row:
    """It means us, and nothing of it is understood."""
    return Row(name, body, not_understood=not_understood, words=words)


def done(notice: str = A, **more: Any) -> dict[str, Any]:
    return {"id": notice, "status": "completed", "outcome": "deleted"} | more


def results(*items: Any) -> dict[str, Any]:
    return {"results": list(items)}


DONE = ReplyItem(A, COMPLETED, DELETED)
GOOD = json.dumps(results(done()))
REQUEST = body_of([written_notice().__class__(**vars(written_notice()) | {"id": A})], single=False)[0]
GO = {
    "id": A, "status": "completed", "outcome": "", "reason": "", "detail": "", "extend": False, "evidence": None,
    "expected_by": "0001-01-01T00:00:00Z", "vocabulary": "", "code": "", "amends": False,
}  # fmt: skip
DEEP = '{"a":' * 300 + "1" + "}" * 300

FORMS = (
    says("the form of the documents", results(done()), DONE),
    says("with all notices", results(done(), done(B)), DONE, DONE._replace(id=B)),
    says("the API's form", {"acknowledgements": [{"notice_id": A, "status": "received"}]}, ReplyItem(A, RECEIVED)),
    says("both lists", results(done()) | {"acknowledgements": [done(B)]}, DONE, DONE._replace(id=B)),
    says("a bare list", [done()], DONE),
    says("a bare object", done(), DONE),
    says("a bare object that says received", {"id": A, "status": "received"}, ReplyItem(A, RECEIVED)),
    says("a bare object in a public vocabulary", {"id": A, "vocabulary": "drop", "code": "3"},
         DONE._replace(vocabulary=Vocabulary.DROP, code="3")),
    says("one element where XML had a list of one", {"results": done()}, DONE),
    says("a list with its numbers, by PHP's array_filter", {"results": {"0": done(), "2": done(B)}},
         DONE, DONE._replace(id=B)),
    says("an object a line, by Go's encoder", f"{json.dumps(done())}\n{json.dumps(done(B))}\n",
         DONE, DONE._replace(id=B)),
    says("a count of the partner's own", results(done()) | {"acknowledgements": 1}, DONE),
    says("fields of the partner's own", {"ok": True, "took": 3} | results(done(trace=[1], note={"a": None})), DONE),
    says("the same notice twice", results(done(), done()), DONE, DONE),
    says("received, then completed", results({"id": A, "status": "received"}, done()), ReplyItem(A, RECEIVED), DONE),
    says("pretty", json.dumps(results(done()), indent=4), DONE),
    says("a duplicate key, of which the last counts", '{"results": [], ' + GOOD[1:], DONE),
    says("an echo beside results", results(done()) | {"request": json.loads(REQUEST)}, DONE),
)  # fmt: skip

SPELLINGS = (
    says("an id in capitals", results(done(A.upper())), DONE),
    says("an id in braces, by .NET", results(done(f"{{{A.upper()}}}")), DONE),
    says("an id without hyphens", results(done(A.replace("-", ""))), DONE),
    says("an id as a URN", results(done(f"urn:uuid:{A}")), DONE),
    says("the partner's own id beside ours", results(done(notice_id=A) | {"id": 17}), DONE),
    says("our id beside the partner's own", results(done(notice_id="T-17")), DONE),
    says("words of Java's enums", results(done(status="COMPLETED", outcome="DELETED")), DONE),
    says("words in camel case", results({"id": A, "status": "inProgress"}), ReplyItem(A, WORKING)),
    says("names of .NET and of Go without tags", {"Results": [{"ID": A, "Status": "Completed", "Outcome": "Deleted"}]},
         DONE),
    says("names in camel case", [{"noticeId": A, "status": "in_progress", "expectedBy": "2026-02-01T00:00:00Z"}],
         ReplyItem(A, WORKING, expected_by=datetime(2026, 2, 1, tzinfo=UTC))),
    says("what is not set, by Go", results(GO), ReplyItem(A, COMPLETED)),
    says("what is null", results(dict.fromkeys(GO) | {"id": A, "status": "refused"}),
         ReplyItem(A, REFUSED)),
    says("a vocabulary in capitals", results({"id": A, "vocabulary": "DROP", "code": 3}),
         DONE._replace(vocabulary=Vocabulary.DROP, code="3")),
    says("an unknown reason", results({"id": A, "status": "refused", "reason": "backup"}),
         ReplyItem(A, REFUSED, None, RefusalReason.OTHER, code="backup")),
    says("a word of the partner's own where no outcome belongs",
         results({"id": A, "status": "received", "outcome": "queued"}),
         ReplyItem(A, RECEIVED, UNKNOWN, code="queued")),
)  # fmt: skip

TEXTS = (
    says("a byte order mark", codecs.BOM_UTF8 + GOOD.encode(), DONE),
    says("UTF-16 with a mark, by PowerShell", GOOD.encode("utf-16"), DONE),
    says("UTF-16 without one", GOOD.encode("utf-16-be"), DONE),
    says("UTF-32", GOOD.encode("utf-32"), DONE),
    says("half of a character", results(done(detail="a\ud83d"), done(B)),
         DONE._replace(detail="a\ufffd"), DONE._replace(id=B)),
    says("NaN and Infinity, by Python", results(done(evidence={"share": float("nan"), "most": float("-inf")})),
         DONE._replace(evidence={"share": None, "most": None})),
    says("numbers beyond 64 bits", results(done(evidence={"rows": 2**64, "least": -(2**63) - 1, "most": 2**64 - 1})),
         DONE._replace(evidence={"rows": str(2**64), "least": str(-(2**63) - 1), "most": 2**64 - 1})),
    says("absurd numbers", json.dumps(results(done(evidence={"a": 0}))).replace("0}}", "1e999}}"),
         DONE._replace(evidence={"a": "1e999"})),
    says("a raw line break in a text", GOOD.replace('"deleted"', '"deleted", "detail": "a\nb"'),
         DONE._replace(detail="a\nb")),
    says("latin-1", GOOD.replace('"deleted"', '"deleted", "detail": "gelöscht"').encode("latin-1"),
         DONE._replace(detail="gel\ufffdscht"), words="It is not UTF-8, so some of its characters are lost."),
)  # fmt: skip

LEFT_OUT = (
    says("a detail that is too long", results(done(detail="x" * 1001), done(B, detail="y" * 5000)),
         DONE._replace(detail="x" * 999 + "…"), DONE._replace(id=B, detail="y" * 999 + "…")),
    says("a detail that is a number", results(done(detail=17)), DONE._replace(detail="17")),
    says("a detail that is a list", done(detail=["a"]), DONE,
         words="The `detail` of the reply is no text and was left out."),
    says("the largest evidence", results(done(evidence={"log": "x" * (EVIDENCE_CAP - 10)})),
         DONE._replace(evidence={"log": "x" * (EVIDENCE_CAP - 10)})),
    says("evidence that is too large", results(done(evidence={"log": "x" * EVIDENCE_CAP})), DONE,
         words="The `evidence` of item 1 is larger than 16 KiB and was left out."),
    says("evidence that is too deep", json.dumps(results(done(evidence=0))).replace("0}", DEEP + "}"),
         DONE._replace(evidence=orjson.loads(b'{"a":' * 63 + b"null" + b"}" * 63)),
         words="Of item 1, what is nested more than 64 levels deep was left out."),
    says("evidence that is text", results(done(evidence="yes")), DONE, words="The `evidence` of item 1 is no"),
    says("evidence with nothing in it, by PHP", results(done(evidence=[])), DONE),
    says("a time without its zone", results({"id": A, "status": "in_progress", "expected_by": "2026-02-01T00:00:00"}),
         ReplyItem(A, WORKING), words="The `expected_by` of item 1 is no time by RFC 3339 with its zone"),
    says("a time that is a number", results({"id": A, "status": "in_progress", "expected_by": 1769904000}),
         ReplyItem(A, WORKING), words="The `expected_by` of item 1 is no time"),
    says("an estimate beside received", results({"id": A, "status": "received", "expected_by": "2026-02-01T00:00:00Z"}),
         ReplyItem(A, RECEIVED), words="The `expected_by` of item 1 belongs to `status` in_progress and was left out."),
    says("an estimate beside completed, which needs none", results(done(expected_by="2026-02-01T00:00:00Z")), DONE),
    says("more time", results({"id": A, "status": "in_progress", "extend": True, "detail": "why"}),
         ReplyItem(A, WORKING, detail="why", extend=True)),
    says("more time in a word", results({"id": A, "status": "in_progress", "extend": "yes"}), ReplyItem(A, WORKING),
         words="The `extend` of item 1 is neither true nor false and was left out."),
    says("more time beside received", results({"id": A, "status": "received", "extend": True}),
         ReplyItem(A, RECEIVED), words="The `extend` of item 1 belongs to `status` in_progress and was left out."),
    says("an answer that amends", results(done(amends=True, detail="a backup")),
         DONE._replace(amends=True, detail="a backup")),
    says("more time that is asked for, and not why", results({"id": A, "status": "in_progress", "extend": True}),
         ReplyItem(A, WORKING), words="The `extend` of item 1 has no `detail` that says why and was left out."),
    says("one that does not say why", results(done(amends=True, detail=" ")), DONE,
         words="The `amends` of item 1 has no `detail` that says why and was left out."),
    says("an outcome where none belongs", results({"id": A, "status": "received", "outcome": "deleted"}),
         ReplyItem(A, RECEIVED, DELETED),
         words="The `outcome` of item 1 does not belong to its `status` and was left out."),
    says("a reason where none belongs", results(done(reason="legal_hold")),
         DONE._replace(reason=RefusalReason.LEGAL_HOLD),
         words="The `reason` of item 1 does not belong to its `status` and was left out."),
    says("a code that is too long", results(done(code="x" * 201)), DONE._replace(code="x" * 199 + "…")),
    says("our own words beside those of a vocabulary", results(done(vocabulary="drop", code="3")),
         DONE._replace(code="3")),
    Row("more items than are read", results(*[done()] * (ITEMS_CAP + 1)), (DONE,) * ITEMS_CAP, 1, 1,
        "There are 4,001 items, of which the first 4,000 are read."),
)  # fmt: skip

SILENCE = (
    nothing("an empty body", b""),
    nothing("white space", b" \r\n"),
    nothing("a byte order mark alone", codecs.BOM_UTF8),
    nothing("OK", b"OK"),
    nothing('"OK"', b'"OK"'),
    nothing("HTML", b'<!doctype html><body class="results"><p id="results">Thank you! status: completed</p></body>'),
    nothing("a text in latin-1", "erledigt, schönen Gruß".encode("latin-1")),
    nothing("bytes", bytes(range(255, 127, -1))),
    nothing("nothing but null", b"null"),
    nothing("a number", b"200"),
    nothing("true", b"true"),
    nothing("an empty object", {}),
    nothing("an empty list", []),
    nothing("a list of anything", [1, "x", None, [], {}]),
    nothing("results that are null, as Go writes them", {"results": None}),
    nothing("results that are empty", results()),
    nothing("a politeness", {"status": "ok"}),
    nothing("another", {"received": True}),
    nothing("a third", {"status": "received", "id": "msg_17"}),
    nothing("a job of the partner's own", {"id": "job_1", "status": "queued", "eta": 17}),
    nothing("a message", {"message": "Thank you", "code": 0}),
    nothing("problem details", {"type": "about:blank", "title": "OK", "status": 200, "detail": "fine"}),
    nothing("a UUID of the partner's own", {"id": ELSEWHERE}),
    nothing("broken JSON without anything of ours", b'{"status": "ok",}'),
    nothing("form fields", b"status=ok&took=3"),
    nothing("brackets without end", b"[" * 100_000),
)  # fmt: skip

PUZZLES = (
    puzzles("an unknown status", results(done(status="done")), f"`status` of item 1 is 'done', {NO_SUCH_STATUS}.", 1),
    puzzles("several", results(done(status="done"), done(B, status=200)),
            f"`status` of item 1 is 'done', {NO_SUCH_STATUS}; 1 more item cannot be understood either."),
    puzzles("no status", results({"id": A, "ok": True}), "Item 1 has no `status`.", 1),
    puzzles("a bare id", {"id": A}, "The reply has no `status`.", 1),
    Row("an unknown outcome", results(done(outcome="anonymized")),
        (DONE._replace(outcome=UNKNOWN, code="anonymized"),), 0, 1,
        "`outcome` of item 1 is 'anonymized', which is none of deleted, suppressed, not_found, already_deleted, "
        "resumed."),
    Row("an outcome that is no text", results(done(outcome=7)), (DONE._replace(outcome=UNKNOWN, code="7"),), 0, 1,
        "`outcome` of item 1 is 7, which is none of"),
    Row("an unknown outcome, but received", results(done(outcome="wiped"), {"id": A, "status": "received"}),
        (DONE._replace(outcome=UNKNOWN, code="wiped"), ReplyItem(A, RECEIVED)), 1, 0, "is 'wiped', which is none"),
    puzzles("an unknown vocabulary", results({"id": A, "vocabulary": "klingon", "code": "3"}),
            "`vocabulary` of item 1 is 'klingon', which is none of opendsr, drp, drop.", 1),
    puzzles("an unknown code", results({"id": A, "vocabulary": "drp", "code": "user:7"}),
            "`code` of item 1 is 'user:7', which vocabulary drp does not have.", 1),
    puzzles("a vocabulary alone", results({"id": A, "vocabulary": "drop"}), "`code` of item 1 is missing, which", 1),
    puzzles("an item without an id", results({"status": "completed"}), "Item 1 names no notice: it has no `id`.", 1),
    puzzles("an id that is a number", results(done(id=17)), "Item 1 has an `id` that is 17", 1),
    puzzles("items that are no objects", results(None, 1, A), "Item 1 is null, not an object; 2 more items"),
    Row("another notice", results(done(ELSEWHERE), done(B)), (DONE._replace(id=B),), 1, 0,
        f"1 item is about a notice that was not in this request (the first: '{ELSEWHERE}')."),
    puzzles("ids of the partner's own", results(done("T-1"), done("T-2"), done("T-3")),
            "3 items are about notices that were not in this request (the first: 'T-1')."),
    Row("good ones beside bad ones", results(done(), {"id": B, "status": "eaten"}), (DONE,), 1, 1, "'eaten'"),
    puzzles("a status alone", {"status": "completed"}, "The reply names no notice: it has no `id`.", 1),
    puzzles("a status alone in a list", [{"status": "in_progress"}], "Item 1 names no notice", 1),
    puzzles("an outcome without an id", {"status": "ok", "outcome": "deleted"}, "The reply names no notice", 1),
    puzzles("results that are an object", {"results": {}}, "`results` is an object, not a list of objects."),
    puzzles("results by id", {"results": {A: "completed"}}, "`results` is an object, not a list of objects."),
    puzzles("results that are a word", {"results": "received"}, "`results` is 'received', not a list of objects."),
    puzzles("statuses by id", {A: "completed", B: "completed"}, "It holds ids of this request, but not where"),
    puzzles("a list of ids", [A, B], "It holds ids of this request, but not where"),
    puzzles("a wrapper", {"data": results(done())}, "It holds ids of this request, but not where"),
    puzzles("a wrapper of items without ids", {"data": {"status": "completed", "at": 1}}, "Something in it looks like"),
    puzzles("an id in a text, in capitals", {"message": f"took {A.upper()}"}, "It holds ids of this request"),
    puzzles("text with an id", f"deleted {A.replace('-', '')}", "It is not JSON"),
    puzzles("JSON within JSON", json.dumps(GOOD), "It is JSON within a string of JSON."),
    puzzles("JSON within JSON, by a gateway", {"statusCode": 200, "body": json.dumps(results({"status": "received"}))},
            "It is JSON within a string of JSON."),
    puzzles("an echo", REQUEST, "It holds our own request, and no acknowledgements."),
    puzzles("an echo in other words", {"json": json.loads(REQUEST), "url": "x"}, "It holds our own request"),
    puzzles("Python's own notation", str(results(done())), "It is not JSON: "),
    puzzles("Java's own notation", f"{{results=[{{id={A}, status=COMPLETED}}]}}", "It is not JSON: "),
    puzzles("cut within", GOOD[:-5], "It is not JSON: "),
    puzzles("cut before the first id", GOOD[:14], "It is not JSON: "),
    puzzles("a comma too many", '{"status": "completed",}', "It is not JSON: "),
    puzzles("two documents in a row", GOOD + GOOD, "It is not JSON: Extra data: line 1 column"),
    puzzles("lines of which one is cut", json.dumps(done()) + "\n" + json.dumps(done(B))[:-9],
            "It is not JSON: Extra data"),
    puzzles("a warning of PHP before it", "<br />\n<b>Warning</b>: x\n" + GOOD, "It is not JSON: "),
    puzzles("UTF-16 that is cut", GOOD.encode("utf-16")[:-1], "It is not text in UTF-16"),
    puzzles("XML", f"<result><id>{A}</id><status>completed</status></result>", "It is not JSON: "),
    puzzles("nested too deep", b'{"results":' * 90_000, "It is nested too deep to be read."),
    puzzles("more than may be read", b'{"results": [' + b"{}," * CONTAINERS_CAP + b"{}]}",
            "It is too large: more than 500,000 objects and lists."),
)  # fmt: skip

TABLE = (*FORMS, *SPELLINGS, *TEXTS, *LEFT_OUT, *SILENCE, *PUZZLES)


def test_names_tell_them_apart() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE) >= 60


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_a_reply_means(row: Row) -> None:
    reply = read(row.bytes, [A, B])
    assert reply.items == row.items
    assert (reply.acknowledged, reply.not_understood) == (row.acknowledged, row.not_understood)
    if row.words:
        assert reply.problem is not None
        assert row.words in reply.problem.reason
        check(reply.problem)
    else:
        assert reply.problem is None


@pytest.mark.parametrize("form", [{}, {"detail": "done"}, {"Vocabulary": None}])
@pytest.mark.parametrize(
    ("action", "said", "why"),
    [
        (Action.ERASE, {}, None),
        (Action.ERASE, {"outcome": "suppressed"}, None),
        (Action.ERASE, {"outcome": "resumed"}, "item 1 says resumed, which is no answer to action erase"),
        (Action.STOP, {"outcome": "Resumed"}, "item 1 says resumed, which is no answer to action stop"),
        (Action.RESUME, {"outcome": None}, None),
        (Action.RESUME, {"outcome": "not_found"}, None),
        (Action.RESUME, {"outcome": "deleted"}, "item 1 says deleted, which is no answer to action resume"),
        (Action.RESUME, {"status": "in_progress", "outcome": "deleted"}, "the `outcome` of item 1 does not belong to"),
        (Action.RESUME, {"status": "refused", "outcome": None}, None),
    ],
)
def test_what_is_no_answer_to_what_was_asked_is_not_understood(
    action: Action, said: dict[str, Any], form: dict[str, Any], why: str | None
) -> None:
    """The ledger closes nothing by it, so it may not pass for an answer."""
    reply = read(json.dumps(results(done() | said | form)).encode(), [A, B], actions={A: action, B: Action.ERASE})
    counts = why is None or "belong" in why
    assert (len(reply.items), reply.acknowledged, reply.not_understood) == (1, counts, not counts)
    assert (why or "").lower() in ("" if reply.problem is None else reply.problem.reason.lower())
    assert (reply.problem is None) == (why is None)


def check(problem: ReplyProblem) -> None:
    """It can be stored, and shown on a terminal."""
    ReplyProblem.model_validate(problem.model_dump())
    assert (problem.reason + problem.excerpt).isprintable()
    assert problem.reason.endswith(".")


@pytest.mark.parametrize("body", [b"", GOOD.encode(), b"<html>", b"\x1f\x8b\x08", b"\xff" * 9])
def test_what_could_not_be_read_whole_is_not_understood(body: bytes) -> None:
    reply = read(body, [A, B, C], "longer than 1,048,576 bytes")
    assert (reply.items, reply.acknowledged, reply.not_understood) == ((), 0, 3)
    assert reply.problem is not None
    assert reply.problem.reason == "It could not be read whole: longer than 1,048,576 bytes."
    check(reply.problem)


@given(st.binary(max_size=300), st.text(min_size=1))
def test_of_whatever_bytes_it_can_be_shown_how_they_begin(body: bytes, why: str) -> None:
    problem = read(body, [A], why).problem
    assert problem is not None
    check(problem)


def test_a_notice_that_is_asked_twice_counts_twice() -> None:
    assert read(GOOD.encode(), [A, A, B]).acknowledged == 2
    assert read(json.dumps(results(done(status="x"))).encode(), [A, A, B]).not_understood == 2


def test_the_gravest_is_told_first_and_not_all_of_it() -> None:
    body = results(done(evidence=1), done(B, status="done"), done(ELSEWHERE), done(C, detail=[]))
    problem = read(json.dumps(body).encode(), [A, B, C]).problem
    assert problem is not None
    assert problem.reason == (
        f"`status` of item 2 is 'done', {NO_SUCH_STATUS}. 1 item is about a notice that was not in this request"
        f" (the first: '{ELSEWHERE}')."
    )


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b'{"results":\r\n\t1}', '{"results": 1}'),
        (b'{"results":"\x1b[2J\x07"}', '{"results":"?[2J?"}'),
        (b'{"results":"\xff"}', '{"results":"\ufffd"}'),
        (codecs.BOM_UTF8 + b'{"results":1}', '{"results":1}'),
        ('{"results":"ä"}'.encode("utf-16"), '{"results":"ä"}'),
        (b'{"results":' + b"1" * 500, '{"results":' + "1" * 189),
        (('{"results":' + "\N{FOX FACE}" * 90).encode("utf-16-le"), '{"results":' + "\N{FOX FACE}" * 44),
        # A character that the 200 bytes cut is left out.
        ('{"results":"' + "ä" * 500, '{"results":"' + "ä" * 94),
        ('{"results":"-' + "ä" * 500, '{"results":"-' + "ä" * 93),
    ],
)
def test_the_excerpt_is_how_it_begins(body: bytes | str, excerpt: str) -> None:
    problem = read(body if isinstance(body, bytes) else body.encode(), [A]).problem
    assert problem is not None
    assert problem.excerpt == excerpt


@pytest.mark.parametrize(
    "item", [b"1,", b"{},", b'{"id":"%s","status":"received"},' % A.encode(), b'"%s",' % A.encode()]
)
@pytest.mark.parametrize("form", [b'{"results": [%s1]}', b"[%s1]", b"[%s"])
def test_a_reply_of_many_items_takes_no_time_from_others(item: bytes, form: bytes) -> None:
    body = form % (item * (1024 * 1024 // len(item)))
    began = time.process_time()
    assert len(read(body, [A]).items) <= ITEMS_CAP
    assert time.process_time() - began < 3.0  # quadratic, it would be minutes


# -- whatever partners reply

NOTICES = [A, B, C]
words = st.sampled_from(["received", "COMPLETED", "in-progress", "refused", "done", "deleted", "anonymized", "", " "])
ids = st.sampled_from([A, B.upper(), f"{{{C}}}", C.replace("-", ""), ELSEWHERE, "n1", ""])
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | words | ids,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "notice_id", "Status", "status", "outcome", "reason", "detail", "results", "acknowledgements",
                 "evidence", "expected_by", "extend", "amends", "vocabulary", "code", "x", A]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)  # fmt: skip
items = st.fixed_dictionaries(
    {"id": ids, "status": words},
    optional={"outcome": words, "reason": words, "detail": anything, "evidence": anything, "code": anything},
)
replies = st.lists(items, max_size=6).map(lambda each: {"results": each})


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A reply that is good, or nearly, as it is cut, recoded, doubled or mixed up on its way."""
    text = json.dumps(draw(replies | items), ensure_ascii=draw(st.booleans()))
    for how in draw(
        st.lists(st.sampled_from(["cut", "upper", "double", "quote", "insert", "wrap", "lines"]), max_size=2)
    ):
        at = draw(st.integers(0, len(text)))
        match how:
            case "cut":
                text = text[:at]
            case "upper":
                text = text.upper()
            case "double":
                text += text
            case "quote":
                text = json.dumps(text)
            case "insert":
                text = text[:at] + draw(st.text(max_size=3)) + text[at:]
            case "wrap":
                text = f'{{"data": {text}}}'
            case "lines":
                text += "\n" + text
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "latin-1"]))
    return text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")


@given(
    st.binary(max_size=80) | anything.map(lambda value: json.dumps(value).encode()) | mutilated(),
    st.lists(st.sampled_from([*NOTICES, "n1"]), min_size=1, max_size=5),
)
def test_every_notice_is_understood_or_not_or_without_an_answer(body: bytes, asked: list[str]) -> None:
    reply = read(body, asked)
    check_counts(reply, asked)
    assert read(body, asked) == reply
    assert read(body, [*reversed(asked)]) == reply


def check_counts(reply: Reply, asked: Collection[str]) -> None:
    assert reply.acknowledged >= 0
    assert reply.not_understood >= 0
    assert reply.acknowledged + reply.not_understood <= len(asked)
    assert {item.id for item in reply.items} <= set(asked)
    understood = {item.id for item in reply.items if (item.status, item.outcome) != (COMPLETED, UNKNOWN)}
    assert reply.acknowledged == sum(notice in understood for notice in asked)
    if reply.problem is None:
        assert reply.not_understood == 0
        assert reply.items or reply == SILENT
    else:
        check(reply.problem)


@given(mutilated(), st.integers(1, 3))
def test_what_has_one_of_our_ids_is_never_silent(body: bytes, count: int) -> None:
    """As long as it is text that anybody could find it in."""
    asked = NOTICES[:count]
    text = body.decode(json.detect_encoding(body), "replace").lower()
    if any(notice in text or notice.replace("-", "") in text for notice in asked):
        assert read(body, asked) != SILENT


@given(replies, st.sampled_from(["plain", "pretty", "sorted", "bom", "utf-16", "upper", "bare"]))
def test_how_it_is_written_changes_nothing_of_what_it_says(value: dict[str, Any], how: str) -> None:
    """Else a retry would acknowledge once more."""
    plain = read(json.dumps(value).encode(), NOTICES)
    written = {
        "plain": json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"),
        "pretty": json.dumps(value, indent=2).encode(),
        "sorted": json.dumps(value, sort_keys=True).encode(),
        "bom": codecs.BOM_UTF8 + json.dumps(value).encode(),
        "utf-16": json.dumps(value).encode("utf-16"),
        "upper": json.dumps(
            {
                "results": [
                    each | {"status": each["status"].upper(), "id": each["id"].upper()} for each in value["results"]
                ]
            }
        ).encode(),
        "bare": json.dumps(value["results"]).encode(),
    }[how]
    assert read(written, NOTICES).items == plain.items
