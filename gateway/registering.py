"""Rules of registering a partner, as pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from streams.addresses import address_of, is_public
from streams.events import Partner, PartnerStatus

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def check_url(url: str, *, allow_private: bool) -> str:
    """The URL, if webhooks may go there. Raises `ValueError` with the reason.

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
    if parts.fragment:
        raise ValueError("url must not have a fragment")
    if not _may_be_dialled(host):
        raise ValueError(f"{host} is neither a host name nor an IP address")
    if not allow_private and not _may_be_public(host):
        raise ValueError(f"{host} is not a public address")
    return url


def _may_be_dialled(host: str) -> bool:
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


def _may_be_public(host: str) -> bool:
    address = address_of(host)
    if address is not None:
        return is_public(address)
    name = host.removesuffix(".")
    return name != "localhost" and not name.endswith(".localhost")


def free_lane(partners: Collection[Partner], owing: Collection[str], lanes: int) -> int | None:
    """The lane of a new partner: one never used, else that of a removed partner that owes nothing.
    None if there is no such lane."""
    used = {partner.lane for partner in partners}
    never = next((lane for lane in range(lanes) if lane not in used), None)
    if never is not None:
        return never
    taken = _held(partners, owing)
    return next((lane for lane in range(lanes) if lane not in taken), None)


def _held(partners: Iterable[Partner], owing: Collection[str]) -> set[int]:
    return {partner.lane for partner in partners if partner.status is not PartnerStatus.REMOVED or partner.id in owing}
