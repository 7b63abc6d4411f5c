"""What a reply means: a pure reading of the body of a 2xx.

A partner may acknowledge in its reply, in the forms that docs/replies.md shows; it may say nothing at all; or it may
try to acknowledge in a form that cannot be read. That is never silent: `Reply.problem` says what is wrong.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agents.reply_items import NO_ACTIONS, ItemReader, NotUnderstood, ReplyItem, shown
from streams import json_text
from streams.errors import InvalidInput
from streams.events import EXCERPT_CAP, AckStatus, ReplyProblem
from streams.kinds import Action
from streams.plain_text import one_line
from streams.variants import our_field, our_word, plain_id

#: How the types of events that we send begin.
_OUR_TYPES = "io.rescind."
#: Names of a list of items, in a reply and at the API.
_LISTS = ("results", "acknowledgements")
#: Sentences of a problem, and the length of each in characters.
_SENTENCES, _LONGEST = 2, 245
#: Objects and lists of a reply. Two bytes may make one of them, which takes eighty bytes of memory.
CONTAINERS_CAP = 500_000
#: Characters that are searched at once; meanwhile nothing else of the process goes on.
_AT_ONCE = 256 * 1024

_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
#: What only an acknowledgement has, in text that is not JSON.
_OURS = re.compile(
    r"""["'](?:results|acknowledgements|notice_?id|outcome)["']\s*:"""
    r"""|["']status["']\s*:\s*["'](?:in.?progress|completed|refused)["']""",
    re.IGNORECASE,
)
_LONGEST_MATCH = 64

_FORM = "a list `results` of objects, each with the `id` of a notice and a `status`"
_ECHO = "it holds our own request, and no acknowledgements"
_ELSEWHERE = f"it holds ids of this request, but not where acknowledgements stand, in {_FORM}"
_SHAPED = f"something in it looks like an acknowledgement, but stands elsewhere than in {_FORM}"
_TWICE = "it is JSON within a string of JSON"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply says about the notices in its request. `acknowledged` counts those about which it says something
    that is understood, `not_understood` those about which it says only what is not. About the others it says nothing.
    `items` are about these notices alone, in the reply's order; one whose outcome is unknown, or no answer to what was
    asked, is among them, and its notice counts as not understood. `problem` is None if all was understood, or nothing
    said."""

    items: tuple[ReplyItem, ...] = ()
    acknowledged: int = 0
    not_understood: int = 0
    problem: ReplyProblem | None = None


SILENT = Reply()


def read(
    body: bytes, asked: Collection[str], unread: str | None = None, actions: Mapping[str, Action] = NO_ACTIONS
) -> Reply:
    """What `body` says of the notices whose ids were `asked`; `actions` are what these ask for. `unread` says why the
    body could not be read whole; then `body` is how it begins.

    >>> reply = read(b'{"results": [{"id": "a", "status": "Completed"}, {"id": "b", "status": "done"}]}', ["a", "b"])
    >>> reply.acknowledged, reply.not_understood, reply.problem.reason
    (1, 1, "`status` of item 2 is 'done', which is none of received, in_progress, completed, refused.")
    """
    if unread is None and (not body or body.isspace()):
        return SILENT
    try:
        if unread is not None:
            raise NotUnderstood(f"it could not be read whole: {unread}")
        reader = _read(body, frozenset(asked), actions)
    except NotUnderstood as error:
        return Reply(not_understood=len(asked), problem=_problem([str(error)], body))
    return SILENT if reader is None else _reply(reader, body, asked)


def _read(body: bytes, ids: frozenset[str], actions: Mapping[str, Action]) -> ItemReader | None:
    """The items; None if it says nothing. Raises `NotUnderstood` if it is meant for us and no item can be found."""
    try:
        value = _parsed(body)
    except InvalidInput as error:
        text = _text(body)
        if _holds_ids(text, ids) or _means_us(text, ids):
            raise NotUnderstood(_ECHO if _OUR_TYPES in text else f"it is {error}") from None
        return None
    items = _items(value, ids)
    if not items:
        _check_silence(value, body, ids)
        return None
    reader = ItemReader(ids, actions, bare=items[0] is value)
    reader.read(items)
    if not reader.items and _OUR_TYPES in _text(body):
        raise NotUnderstood(_ECHO)
    if reader.replaced and not _is_text(body):
        reader.flaws.other("it is not UTF-8, so some of its characters are lost")
    return reader


def _parsed(body: bytes) -> Any:
    """The value of a reply that is JSON, or has an object of JSON on each line. Raises `InvalidInput`."""
    if body.count(b"{") + body.count(b"[") > CONTAINERS_CAP:
        raise InvalidInput(f"too large: more than {CONTAINERS_CAP:,} objects and lists")
    try:
        return json_text.read(body)
    except InvalidInput:
        value = _lines(body)
        if value is None:
            raise
        return value


def _lines(body: bytes) -> list[Any] | None:
    """The values of a body that has an object on each line; None if it has not."""
    lines = [each for each in body.split(b"\n") if each.strip()]
    if len(lines) < 2 or not all(each.lstrip().startswith(b"{") for each in lines):
        return None
    try:
        return [json_text.read(each) for each in lines]
    except InvalidInput:
        return None


def _text(body: bytes) -> str:
    """For a search: what cannot be decoded is replaced."""
    return body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff \t\r\n")


def _is_text(body: bytes) -> bool:
    try:
        body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _reply(reader: ItemReader, body: bytes, asked: Collection[str]) -> Reply:
    acknowledged = sum(identity in reader.understood for identity in asked)
    not_understood = reader.not_understood - reader.understood
    named = sum(identity in not_understood for identity in asked)
    left = len(asked) - acknowledged - named
    problem = _problem(reader.flaws.sentences(), body)
    return Reply(tuple(reader.items), acknowledged, named + min(reader.unnamed, left), problem)


def _problem(sentences: Iterable[str], body: bytes) -> ReplyProblem | None:
    short = [one_line(each)[:_LONGEST] for each in islice(sentences, _SENTENCES)]
    told = [f"{each[0].upper()}{each[1:]}." for each in short]
    return ReplyProblem(reason=" ".join(told), excerpt=excerpt(body)) if told else None


def excerpt(body: bytes) -> str:
    """How a reply begins, on one line, without what a terminal would obey."""
    decoder = codecs.getincrementaldecoder(json.detect_encoding(body))("replace")
    # A character that is cut at the end is left out.
    return one_line(decoder.decode(body[:EXCERPT_CAP]).strip("\ufeff\0"))[:EXCERPT_CAP]


def _items(value: Any, ids: Collection[str]) -> list[Any]:
    """What is to be read as items: what a list holds, or the reply itself. Empty if there is none. Raises
    `NotUnderstood` if there should be some."""
    if isinstance(value, list):
        return value if any(_is_item(each, ids) for each in value) else []
    if not isinstance(value, dict):
        return []
    items: list[Any] = []
    wrong = ""
    for name, given in value.items():
        if name in _LISTS or name.lower() in _LISTS:
            listed = _listed(given, ids)
            if listed is None:
                wrong = f"`{name}` is {shown(given)}, not a list of objects"
            items += listed or ()
    if not items and wrong:
        raise NotUnderstood(wrong)
    return items or ([value] if _is_item(value, ids) else [])


def _listed(given: Any, ids: Collection[str]) -> list[Any] | None:
    """What stands where a list should; None if that is nothing of the kind."""
    if given is None or isinstance(given, list):
        return given or []
    if _is_item(given, ids):
        return [given]  # what converts XML makes a list of one into its only element
    if isinstance(given, dict) and given and all(map(str.isdecimal, given)):
        return list(given.values())  # PHP makes this of a list that it took something out of
    return None


def _is_item(value: Any, ids: Collection[str]) -> bool:
    """Is it an acknowledgement, or meant to be one? It names a notice of the request, or has the form of one."""
    if not isinstance(value, dict):
        return False
    fields = {our_field(name): given for name, given in value.items()}
    identity, status = fields.get("id"), fields.get("status")
    if "notice_id" in fields or (isinstance(identity, str) and plain_id(identity) in ids):
        return True
    if status is not None and "outcome" in fields:
        return True
    # What merely says `received` may be any server's politeness.
    word = our_word(AckStatus, status) if isinstance(status, str) else None
    return word not in (None, AckStatus.RECEIVED) or {"vocabulary", "code"} <= fields.keys()


def _check_silence(value: Any, body: bytes, ids: Collection[str]) -> None:
    """Raises `NotUnderstood` if JSON without items is meant for us, too."""
    text = _text(body)
    inside = _inside(value)
    if any(isinstance(each, str) and _means_us(each, ids) for each in inside):
        raise NotUnderstood(_TWICE)
    if _holds_ids(text, ids):
        raise NotUnderstood(_ECHO if _OUR_TYPES in text else _ELSEWHERE)
    if any(_is_item(each, ids) for each in inside):
        raise NotUnderstood(_SHAPED)


def _means_us(text: str, ids: Collection[str]) -> bool:
    """Does text look like JSON that means to acknowledge?"""
    return text.lstrip()[:1] in ("{", "[") and (_holds_ids(text, ids) or any(_found(_OURS, text)))


def _inside(value: Any) -> list[Any]:
    """The value and all that is in it, however deep."""
    found = [value]
    for each in found:  # which grows meanwhile
        if isinstance(each, dict):
            found += each.values()
        elif isinstance(each, list):
            found += each
    return found


def _holds_ids(text: str, ids: Collection[str]) -> bool:
    if any(plain_id(match) in ids for match in _found(_UUID, text)):
        return True
    return any(not _UUID.fullmatch(identity) and f'"{identity}"' in text for identity in ids)


def _found(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    for start in range(0, len(text), _AT_ONCE):
        for match in pattern.finditer(text, start, start + _AT_ONCE + _LONGEST_MATCH):
            yield match[0]
