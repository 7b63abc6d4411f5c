"""Deterministic identifiers: what is derived from an event always gets the same id.

A replay after a crash therefore repeats ids and never invents new ones, and every consumer can drop
what it has seen. UUIDv5 by RFC 9562 section 5.5.
"""

from __future__ import annotations

from uuid import UUID, uuid5

#: Fixed for ever: another namespace would give the same facts other ids.
NAMESPACE = UUID("0b3a2f6e-5c8e-5b7e-9d0a-7d2c6c1f4e11")


def derive(kind: str, *causes: str) -> str:
    """The id of the `kind` of thing that `causes` bring about. Parts are length-prefixed, so that
    ("a", "bc") and ("ab", "c") stay two ids."""
    return str(uuid5(NAMESPACE, kind + "".join(f"|{len(part)}:{part}" for part in causes)))


def change_id(toggle: str) -> str:
    return derive("consent-changed", toggle)


def deletion_id(toggle: str) -> str:
    return derive("deletion-requested", toggle)


def notice_id(cause: str, partner: str) -> str:
    """`cause` is the id of the decision, `partner` the partner's id."""
    return derive("notice", cause, partner)


def pack_id(lane: int, *notices: str) -> str:
    return derive("pack", str(lane), *notices)


def webhook_id(lane: int, offset: int, part: str = "") -> str:
    """The `webhook-id` of what stands at `offset` of `lane`: the same at every retry. `part` tells the
    pieces of a halved batch apart. Standard Webhooks asks for an id unique to the message."""
    return "msg_" + derive("webhook", str(lane), str(offset), part).replace("-", "")


def acknowledgement_id(notice: str, partner: str, *content: str) -> str:
    """Equal content gives an equal id: a partner may repeat an acknowledgement as often as it likes."""
    return derive("acknowledgement", notice, partner, *content)
