"""One item of an acknowledgement, as a partner wrote it, in the form that we keep: the same for replies and the API.

What only accompanies an answer (`detail`, `code`, `evidence`) never makes it invalid: what cannot be kept is left out,
and a note says so. The answer itself (the id, `status`, `outcome` and so on) is put into our spelling where that is
possible; otherwise it is left as it is, and the reader refuses the item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from streams.events import EVIDENCE_CAP
from streams.json_text import writable
from streams.variants import CODE_CAP, in_our_words

#: Characters of a detail that are kept, as `streams.events.Acknowledged` takes it.
DETAIL_CAP = 1000
#: What a note says after the name of a text of which only the beginning is kept. Such a text ends in an ellipsis.
CUT = "was cut at"


class Kept(NamedTuple):
    """An item as it is kept. `notes` say in words what of it was changed, cut or left out; mostly there are none."""

    item: dict[str, Any]
    notes: tuple[str, ...] = ()


def kept(raw: Mapping[str, Any]) -> Kept:
    """An item of what `streams.json_text.read` gives. Its notice's id stands in `notice_id`. Never raises.

    >>> kept({"id": "n-1", "status": "COMPLETED", "outcome": "Deleted", "evidence": "yes"}).notes
    ('its evidence is no JSON object and was left out',)
    """
    written, changes = writable(dict(raw))
    item, notes = in_our_words(written), [*changes]
    _text(item, "detail", DETAIL_CAP, notes)
    _text(item, "code", CODE_CAP, notes)
    _evidence(item, notes)
    return Kept(item, tuple(notes))


def _text(item: dict[str, Any], name: str, cap: int, notes: list[str]) -> None:
    """A text or a number, which is kept as text; an empty one says nothing."""
    value = item.pop(name, None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = orjson.dumps(value).decode()
    if value is None or value == "":
        return
    if not isinstance(value, str):
        notes.append(f"its {name} is no text and was left out")
        return
    if len(value) > cap:
        notes.append(f"its {name} {CUT} {cap:,} characters")
        value = f"{value[: cap - 1]}…"
    item[name] = value


def _evidence(item: dict[str, Any], notes: list[str]) -> None:
    evidence = item.pop("evidence", None)
    if evidence in (None, "", []):  # PHP writes [] for an object with nothing in it
        return
    if not isinstance(evidence, dict):
        notes.append("its evidence is no JSON object and was left out")
    elif len(orjson.dumps(evidence)) > EVIDENCE_CAP:
        notes.append(f"its evidence is larger than {EVIDENCE_CAP // 1024} KiB and was left out")
    else:
        item["evidence"] = evidence
