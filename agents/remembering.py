"""How a consent state stands in its table: one line of ASCII that a person can read.

    1 erase 7 2026-01-01T12:00:00Z evt-1

Its fields are the format, what was chosen (`allow`; `stop`: from now on; `erase`: also what is held already),
the version (`-` without one), when it was chosen, and the id of the toggle.
"""

from __future__ import annotations

from datetime import datetime

from agents.deciding import ConsentState
from streams.cloudevents import rfc3339
from streams.errors import Undecodable
from streams.kinds import Choice

FORMAT = "1"

#: Choice, and whether it reaches back.
_WORDS = {"allow": (Choice.OPT_IN, False), "stop": (Choice.OPT_OUT, False), "erase": (Choice.OPT_OUT, True)}
_WORD_OF = {meaning: word for word, meaning in _WORDS.items()}


def table_key(subject: str, purpose: str) -> bytes:
    """Neither part can hold a space."""
    return f"{purpose} {subject}".encode()


def remember(state: ConsentState) -> bytes:
    word = _WORD_OF[state.choice, state.retroactive]
    version = "-" if state.version is None else state.version
    return f"{FORMAT} {word} {version} {rfc3339(state.occurred_at)} {state.toggle_id}".encode()


def recall(raw: bytes) -> ConsentState:
    """The inverse of `remember`. Raises `Undecodable`: a state that is not understood must not be guessed."""
    try:
        form, word, version, occurred_at, toggle_id = raw.decode("ascii").split(" ")
        if form != FORMAT:
            raise ValueError(form)
        choice, retroactive = _WORDS[word]
        return ConsentState(
            choice=choice,
            version=None if version == "-" else int(version),
            occurred_at=datetime.fromisoformat(occurred_at),
            toggle_id=toggle_id,
            retroactive=retroactive,
        )
    except (KeyError, ValueError):
        raise Undecodable(f"not a consent state that this version of Rescind knows: {raw[:200]!r}") from None
