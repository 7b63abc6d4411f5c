"""Rules of registering a partner, as pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from streams.addresses import Network, address_of, may_be_dialled
from streams.events import Partner, PartnerChanged, PartnerRemoved, PartnerStatus

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def check_url(url: str, *, allow_private: bool, networks: Sequence[Network] = ()) -> str:
    """The URL, if webhooks may go there: to a public address or, by https, into one of the `networks`. Raises
    `ValueError` with the reason.

    What a name resolves to is judged at every delivery; here only what the URL itself says.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url is no URL: {error}") from None
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("url holds white space")
    if parts.scheme not in ("https", "http"):
        raise ValueError("url must begin with https://")
    if parts.scheme == "http" and not allow_private:
        raise ValueError("url must begin with https:// (http:// is for development: --allow-private-partners)")
    if not host or port == 0:
        raise ValueError("url names no host or no port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not hold a user name or password; requests are signed")
    if "#" in url:
        raise ValueError("url must not have a fragment")
    if not (parts.path + parts.query).isascii():
        # It is called byte by byte as it stands here, and RFC 3986 knows no others.
        raise ValueError("url must be ASCII after its host; percent-encode what is not")
    if not _is_a_host(host):
        raise ValueError(f"{host} is neither a host name nor an IP address")
    if not allow_private and not _may_be_dialled(host, networks):
        raise ValueError(f"{host} is not a public address")
    return url


def _is_a_host(host: str) -> bool:
    """An IP address, or a name by the rules of RFC 1123 section 2.1. Its last label has a letter: resolvers
    read 127.1, 0x7f000001 and 2130706433 as addresses."""
    if address_of(host) is not None:
        return True
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        return False
    labels = name.removesuffix(".").split(".")
    return all(_LABEL.fullmatch(label) for label in labels) and _NUMBER.fullmatch(labels[-1]) is None


def _may_be_dialled(host: str, networks: Sequence[Network]) -> bool:
    name = host.removesuffix(".")
    local = name == "localhost" or name.endswith(".localhost")
    address = address_of("127.0.0.1" if local else host)
    return address is None or may_be_dialled(address, networks)


def free_lanes(
    partners: Collection[Partner], owing: Collection[str], lanes: int, wanted: int = 1
) -> tuple[int, ...] | None:
    """The lanes of a new partner: such as were never used, before those of removed partners that owe nothing.
    None if there are not so many."""
    taken = held(partners, owing)
    used = {lane for partner in partners for lane in partner.lanes}
    free = sorted((lane for lane in range(lanes) if lane not in taken), key=lambda lane: (lane in used, lane))
    return tuple(free[:wanted]) if len(free) >= wanted else None


def held(partners: Iterable[Partner], owing: Collection[str]) -> set[int]:
    """The lanes that somebody still needs."""
    needing = (each for each in partners if each.status is not PartnerStatus.REMOVED or each.id in owing)
    return {lane for partner in needing for lane in partner.lanes}


def changed(before: Partner, now: datetime, *, draining: bool | None = None, **changes: Any) -> Partner:
    """The next revision of a partner. One that is removed stays as it is."""
    if before.status is PartnerStatus.REMOVED:
        return before
    if draining is not None:
        changes["draining_since"] = (before.draining_since or now) if draining else None
    return PartnerChanged.model_validate(_following(before, now) | changes)


def removed(before: Partner, now: datetime) -> Partner:
    """The last revision of a partner, which may be the one that it has."""
    if before.status is PartnerStatus.REMOVED:
        return before
    return PartnerRemoved.model_validate(_following(before, now) | {"status": PartnerStatus.REMOVED})


def _following(before: Partner, now: datetime) -> dict[str, Any]:
    return before.model_dump() | {"revision": before.revision + 1, "updated_at": now}
