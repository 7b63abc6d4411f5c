"""Reads the items of a reply: what each says about its notice, and in words what was not understood or left out.

An acknowledgement is not lost over what comes with it: a detail that is too long is cut, evidence that is too large is
left out. But what is lost is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from ledger import fits
from streams.ack_items import CUT, kept
from streams.events import AckStatus, Outcome, RefusalReason, Vocabulary
from streams.json_text import AS_TEXT, NO_NUMBER, REPLACED
from streams.kinds import Action
from streams.moments import Moment
from streams.plain_text import one_line
from streams.variants import OUR_ID, as_written, is_unset, plain_id
from streams.vocabulary import FINAL, Meaning, meaning

#: Items of a reply that are read: each notice of the largest request may have one for each status.
ITEMS_CAP = 4 * 1000
#: Of notices of which nobody knows what they ask for.
NO_ACTIONS: Mapping[str, Action] = MappingProxyType({})
#: Characters of a partner's word that a sentence quotes.
_QUOTED = 40
#: The fields of most items, and the meaning of items whose words are written as in the documents.
_PLAIN_FIELDS = frozenset({"id", "status", "outcome", "reason"})
_PLAIN = {
    (meant.status, meant.outcome, meant.reason): meant
    for meant in (
        *(Meaning(status) for status in AckStatus),
        *(Meaning(AckStatus.COMPLETED, outcome) for outcome in Outcome if outcome is not Outcome.UNKNOWN),
        *(Meaning(AckStatus.REFUSED, None, reason) for reason in RefusalReason),
    )
}
#: What is kept of an item as `streams.ack_items.kept` left it.
_AS_THEY_ARE = ("detail", "evidence", "vocabulary", "code")
#: Changes that lose nothing that anybody meant.
_HARMLESS = frozenset({NO_NUMBER, AS_TEXT})
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
_STATUSES = ", ".join(AckStatus)
_OUTCOMES = ", ".join(outcome for outcome in Outcome if outcome is not Outcome.UNKNOWN)


class ReplyItem(NamedTuple):
    """An acknowledgement in a reply, about the notice `id`, in our words."""

    id: str
    status: AckStatus
    outcome: Outcome | None = None
    reason: RefusalReason | None = None
    detail: str | None = None
    extend: bool = False
    expected_by: datetime | None = None
    evidence: dict[str, Any] | None = None
    vocabulary: Vocabulary | None = None
    code: str | None = None
    amends: bool = False


class NotUnderstood(Exception):
    """Why, in words for the partner: a sentence without its full stop."""


class Flaws:
    """What is wrong with the items of a reply: of each kind the first, and how often."""

    def __init__(self) -> None:
        self._not_understood: tuple[str, int] = ("", 0)
        self._foreign: tuple[str, int] = ("", 0)
        self._left_out: dict[str, tuple[str, int]] = {}
        self._others: list[str] = []

    def not_understood(self, why: str) -> None:
        """An item says something that nobody can read."""
        first, count = self._not_understood
        self._not_understood = (first or why, count + 1)

    def foreign(self, identity: str) -> None:
        """An item is about a notice that was not in the request."""
        first, count = self._foreign
        self._foreign = (first or identity, count + 1)

    def left_out(self, words: str, item: str) -> None:
        """Something of an item was left out. `words` has `{}` where the item is named."""
        first, count = self._left_out.get(words, (item, 0))
        self._left_out[words] = (first, count + 1)

    def other(self, words: str) -> None:
        self._others.append(words)

    def sentences(self) -> Iterator[str]:
        """The gravest first, without their full stops."""
        why, count = self._not_understood
        if count:
            yield why if count == 1 else f"{why}; {_more(count - 1)} cannot be understood either"
        identity, count = self._foreign
        if count:
            was = "1 item is about a notice that was" if count == 1 else f"{_items(count)} are about notices that were"
            yield f"{was} not in this request (the first: {identity})"
        yield from self._others
        for words, (first, count) in self._left_out.items():
            yield words.format(first if count == 1 else f"{count} items (the first: {first})")


class ItemReader:
    """Reads the items of one reply, to a request with the notices `ids`. `actions` says what each of them asks for, as
    far as it is known. `bare` is a reply that is one item itself."""

    def __init__(self, ids: Collection[str], actions: Mapping[str, Action] = NO_ACTIONS, *, bare: bool = False) -> None:
        self._ids = ids
        self._actions = actions
        self._bare = bare
        self.flaws = Flaws()
        self.items: list[ReplyItem] = []
        #: Notices about which something is understood, and about which something is not.
        self.understood: set[str] = set()
        self.not_understood: set[str] = set()
        #: Were characters replaced that are no Unicode?
        self.replaced = False
        #: Items that do not tell which notice they are about.
        self.unnamed = 0

    def read(self, items: Sequence[Any]) -> None:
        for number, given in enumerate(items[:ITEMS_CAP], 1):
            if self._is_plain(given):
                continue
            which = "the reply" if self._bare else f"item {number}"
            if not isinstance(given, dict):
                self.unnamed += 1
                self.flaws.not_understood(f"{which} is {shown(given)}, not an object")
                continue
            said, notes = kept(given)
            notice = self._notice(said, given, which)
            if notice is not None:
                self._read(notice, said, given, which)
                self._note(notes, which)
        if len(items) > ITEMS_CAP:
            self.unnamed += len(items) - ITEMS_CAP
            self.flaws.other(f"there are {len(items):,} items, of which the first {ITEMS_CAP:,} are read")

    def _is_plain(self, given: Any) -> bool:
        """Read an item that is written as in the documents; False if it is not. Most are, and this takes a fifth of the
        time."""
        try:
            identity, meant = given["id"], _PLAIN[given["status"], given.get("outcome"), given.get("reason")]
            if identity not in self._ids or not given.keys() <= _PLAIN_FIELDS or not self._fits(identity, meant):
                return False
        except (KeyError, TypeError):
            return False
        self.understood.add(identity)
        self.items.append(ReplyItem(identity, *meant))
        return True

    def _notice(self, said: dict[str, Any], given: dict[str, Any], which: str) -> str | None:
        """The notice of the request that an item is about."""
        identity, other = said.get("notice_id"), given.get("id")
        if isinstance(identity, str) and identity in self._ids:
            return identity
        if isinstance(other, str) and plain_id(other) in self._ids:
            return plain_id(other)  # what stands in `notice_id` is the partner's own
        if isinstance(identity, str):
            # A notice's id is a UUID; what is none may be meant for any of them.
            self.unnamed += not OUR_ID.fullmatch(identity)
            self.flaws.foreign(shown(identity))
            return None
        self.unnamed += 1
        why = "names no notice: it has no `id`" if identity is None else f"has an `id` that is {shown(identity)}"
        self.flaws.not_understood(f"{which} {why}")
        return None

    def _read(self, notice: str, said: dict[str, Any], given: dict[str, Any], which: str) -> None:
        try:
            meant = _meaning(said, which)
        except NotUnderstood as error:
            self.not_understood.add(notice)
            self.flaws.not_understood(str(error))
            return
        if meant.outcome is Outcome.UNKNOWN and meant.status is AckStatus.COMPLETED:
            self.not_understood.add(notice)
            word = shown(given.get(as_written("outcome", given) or "outcome"))
            self.flaws.not_understood(f"`outcome` of {which} is {word}, which is none of {_OUTCOMES}")
        elif not self._fits(notice, meant):
            self.not_understood.add(notice)
            action = self._actions[notice]
            self.flaws.not_understood(f"{which} says {meant.outcome}, which is no answer to action {action}")
        else:
            self.understood.add(notice)
        self._note_misplaced("outcome", meant.outcome, Outcome.UNKNOWN, meant.status is AckStatus.COMPLETED, which)
        self._note_misplaced("reason", meant.reason, RefusalReason.OTHER, meant.status is AckStatus.REFUSED, which)
        self._add(notice, meant, said, which)

    def _fits(self, notice: str, meant: Meaning) -> bool:
        """Can it come of what was asked? The ledger drops what cannot."""
        action = self._actions.get(notice)
        if action is None or meant.outcome is None or meant.status is not AckStatus.COMPLETED:
            return True
        return fits(meant.outcome, action)

    def _note_misplaced(self, name: str, word: str | None, unknown: str, fits: bool, which: str) -> None:
        # A word that we do not have is kept as the code.
        if word is not None and word is not unknown and not fits:
            self.flaws.left_out(f"the `{name}` of {{}} does not belong to its `status` and was left out", which)

    def _add(self, notice: str, meant: Meaning, said: dict[str, Any], which: str) -> None:
        more = {name: said[name] for name in _AS_THEY_ARE if name in said}
        for name, read in _CONDITIONAL.items():
            try:
                more[name] = read(said.get(name), meant.status)
            except _LeftOut as why:
                self.flaws.left_out(f"the `{name}` of {{}} {why} and was left out", which)
        for name in ("extend", "amends"):
            if more.get(name) and not more.get("detail"):
                more[name] = False
                self.flaws.left_out(f"the `{name}` of {{}} has no `detail` that says why and was left out", which)
        self.items.append(ReplyItem(notice, *meant, **more))

    def _note(self, notes: Sequence[str], which: str) -> None:
        """Note what of an item is not kept as it was written."""
        for note in notes:
            if note == REPLACED:
                self.replaced = True
            elif note.startswith("its "):
                _, name, what = note.split(" ", 2)
                if what.startswith(CUT):
                    continue
                self.flaws.left_out(f"the `{name}` of {{}} {what}", which)
            elif note not in _HARMLESS:
                self.flaws.left_out(f"of {{}}, {note}", which)


class _LeftOut(Exception):
    """Why something is not kept."""


def _expected_by(given: Any, status: AckStatus) -> datetime | None:
    # What is done needs no estimate any more.
    if is_unset(given) or status in FINAL:
        return None
    if status is not AckStatus.IN_PROGRESS:
        raise _LeftOut("belongs to `status` in_progress")
    try:
        return _MOMENT.validate_python(given)
    except ValidationError:
        raise _LeftOut("is no time by RFC 3339 with its zone (2026-01-31T12:00:00Z)") from None


def _extend(given: Any, status: AckStatus) -> bool:
    asked = _is_true(given) and status not in FINAL
    if asked and status is not AckStatus.IN_PROGRESS:
        raise _LeftOut("belongs to `status` in_progress")
    return asked


def _amends(given: Any, status: AckStatus) -> bool:
    amends = _is_true(given)
    if amends and status not in FINAL:
        raise _LeftOut("belongs to `status` completed or refused")
    return amends


def _is_true(given: Any) -> bool:
    if given is not None and not isinstance(given, bool):
        raise _LeftOut("is neither true nor false")
    return given is True


#: What counts beside some statuses only.
_CONDITIONAL: dict[str, Callable[[Any, AckStatus], Any]] = {
    "extend": _extend,
    "expected_by": _expected_by,
    "amends": _amends,
}


def _meaning(said: dict[str, Any], which: str) -> Meaning:
    """Raises `NotUnderstood` if it has none."""
    status = said.get("status")
    if isinstance(status, AckStatus):
        # Beside our own words a code is the partner's own, of no vocabulary.
        said.pop("vocabulary", None)
        for name, no_word in (("outcome", Outcome.UNKNOWN), ("reason", RefusalReason.OTHER)):
            word = said.get(name)
            if word is not None and not isinstance(word, str):
                said[name] = no_word
                said.setdefault("code", shown(word))
        return Meaning(status, said.get("outcome"), said.get("reason"))
    if status is not None and status != "":
        raise NotUnderstood(f"`status` of {which} is {shown(status)}, which is none of {_STATUSES}")
    vocabulary, code = said.get("vocabulary"), said.get("code")
    if vocabulary is None:
        raise NotUnderstood(f"{which} has no `status`")
    if not isinstance(vocabulary, Vocabulary):
        raise NotUnderstood(f"`vocabulary` of {which} is {shown(vocabulary)}, which is none of {', '.join(Vocabulary)}")
    try:
        return meaning(vocabulary, code if isinstance(code, str) else "")
    except ValueError:
        had = "missing" if code is None else shown(code)
        raise NotUnderstood(f"`code` of {which} is {had}, which vocabulary {vocabulary} does not have") from None


def shown(value: Any) -> str:
    """A partner's value in a sentence of ours."""
    match value:
        case str():
            return f"'{one_line(value[: 4 * _QUOTED])[:_QUOTED]}'"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return orjson.dumps(value).decode()[:_QUOTED]


def _more(count: int) -> str:
    return "1 more item" if count == 1 else f"{count:,} more items"


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"
