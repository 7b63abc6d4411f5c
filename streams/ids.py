"""Deterministic identifiers: what is derived from an event always gets the same id.

A replay after a crash therefore repeats ids and never invents new ones, and every consumer can drop
what it has seen. UUIDv5 by RFC 9562 section 5.5.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from uuid import UUID

#: Fixed for ever: another namespace would give the same facts other ids.
NAMESPACE = UUID("0b3a2f6e-5c8e-5b7e-9d0a-7d2c6c1f4e11")
_NAMESPACE = NAMESPACE.bytes


def derive(kind: str, *causes: str) -> str:
    """The id of the `kind` of thing that `causes` bring about. Parts are length-prefixed, so that
    ("a", "bc") and ("ab", "c") stay two ids."""
    name = kind
    for part in causes:
        name += f"|{len(part)}:{part}"
    # `uuid.uuid5` (RFC 9562 section 5.5) in a third of its time; a notice costs three ids.
    digest = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def change_id(toggle: str, *content: str) -> str:
    """`content` is what the toggle says. Its id alone is not enough: CloudEvents asks that an id be unique
    to its source, so two sources may both count from 1, and neither one's opt-out may pass for the other's."""
    return derive("consent-changed", toggle, *content)


def deletion_id(toggle: str, *content: str) -> str:
    """See `change_id`."""
    return derive("deletion-requested", toggle, *content)


def notice_id(cause: str, partner: str) -> str:
    """`cause` is the id of the decision, `partner` the partner's id."""
    return derive("notice", cause, partner)


def pack_id(lane: int, *notices: str) -> str:
    return derive("pack", str(lane), *notices)


@lru_cache(maxsize=256)  # whoever sends a request asks for it several times
def webhook_id(lane: int, offset: int, part: str = "") -> str:
    """The `webhook-id` of what stands at `offset` of `lane`: the same at every retry. `part` tells the
    pieces of a halved batch apart. Standard Webhooks asks for an id unique to the message."""
    return "msg_" + derive("webhook", str(lane), str(offset), part).replace("-", "")


def acknowledgement_id(notice: str, partner: str, *content: str) -> str:
    """Equal content gives an equal id: a partner may repeat an acknowledgement as often as it likes."""
    return derive("acknowledgement", notice, partner, *content)
