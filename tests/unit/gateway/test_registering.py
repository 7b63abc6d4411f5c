"""Which URLs a partner may have, and which lane it gets: the pure rules."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from gateway.registering import check_url, free_lanes
from streams.events import Partner, PartnerStatus
from tests.unit.gateway.harness import NOON

GOOD = [
    "https://partner.example/hook",
    "https://partner.example",
    "HTTPS://Partner.Example/",
    "https://partner.example:8443/a/b?c=d",
    "https://partner.example./hook",
    "https://a-b.c_d.example/",
    "https://3com.example/",
    "https://1.2.3.example/",
    "https://bücher.example/",
    "https://xn--bcher-kva.example/",
    "https://8.8.8.8/hook",
    "https://[2606:4700:4700::1111]/hook",
    "https://intranet/hook",
]

#: Refused even where private addresses are allowed.
NEVER = [
    "",
    "/hook",
    "partner.example/hook",
    "//partner.example/hook",
    "https:",
    "https://",
    "https:///hook",
    "https:partner.example",
    "https://:443/hook",
    "https://?x=1",
    "ftp://partner.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/plain,x",
    "sqlite:///x",
    "https://user@partner.example/",
    "https://user:pass@partner.example/",
    "https://@partner.example/",
    "https://:@partner.example/",
    "https://partner.example/#top",
    "https://partner.example/#",
    "https://partner.example/caf\xe9",
    "https://partner.example/?q=\u20ac",
    "https://partner.example:0/",
    "https://partner.example:65536/",
    "https://partner.example:-1/",
    "https://partner.example:x/",
    "https://[::1/",
    "https://[]/",
    "https://[zz]/",
    "https://partner .example/",
    " https://partner.example/",
    "https://partner.example/a b",
    "https://partner.example/\n",
    "https://part\tner.example/",
    "https://partner.example/\0",
    "https://partner.example/\x7f",
    "https://partner.example\\@evil.example/",
    "https://partner.example\\evil/",
    "https://partner%2eexample/",
    "https://partner..example/",
    "https://.partner.example/",
    "https://-partner.example/",
    "https://partner-.example/",
    "https://" + "x" * 64 + ".example/",
    "https://*.example/",
    "https://partner<>.example/",
    "https://part\u200bner.example/",
    # Resolvers read all of these as an address.
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://10.0.0.256/",
]

PRIVATE = [
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://partner.localhost/",
    "https://127.0.0.1/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://255.255.255.255/",
    "https://224.0.0.1/",
    "https://192.0.2.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "http://partner.example/",
    "http://8.8.8.8/",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_public_https_url_is_taken_as_it_is(url: str) -> None:
    assert check_url(url, allow_private=False) == url


@pytest.mark.parametrize("url", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_what_is_no_url_of_a_webhook_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        check_url(url, allow_private=allow_private)


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_are_for_development_only(url: str) -> None:
    with pytest.raises(ValueError, match=r"public address|development"):
        check_url(url, allow_private=False)
    assert check_url(url, allow_private=True) == url


ALLOWED = [ip_network(network) for network in ("10.1.0.0/16", "fd00::/8", "127.0.0.0/8")]


@pytest.mark.parametrize(
    "url", ["https://10.1.2.3/", "https://[fd00::1]/", "https://[::ffff:10.1.2.3]/", "https://localhost/", *GOOD]
)
def test_what_is_in_an_allowed_network_is_taken_by_https(url: str) -> None:
    assert check_url(url, allow_private=False, networks=ALLOWED) == url


@pytest.mark.parametrize(
    "url", ["http://10.1.2.3/", "https://10.2.0.0/", "https://[fc00::1]/", "https://169.254.169.254/", "https://127.1/"]
)
def test_an_allowed_network_allows_nothing_else(url: str) -> None:
    with pytest.raises(ValueError, match=r"public address|development|neither a host name"):
        check_url(url, allow_private=False, networks=ALLOWED)


def partner(name: str, lane: int, status: PartnerStatus = PartnerStatus.ACTIVE, **more: Any) -> Partner:
    secrets = [{"scheme": "v1", "sealed": "x"}]
    fields: dict[str, Any] = {"url": "https://p.example/", "purposes": ("ai",), "secrets": secrets} | more
    return Partner(id=name, name=name, lane=lane, status=status, created_at=NOON, updated_at=NOON, **fields)


REMOVED = PartnerStatus.REMOVED


@pytest.mark.parametrize(
    ("partners", "owing", "expected"),
    [
        ([], set(), 0),
        ([partner("a", 0)], set(), 1),
        ([partner("a", 1)], set(), 0),
        ([partner("a", 0, REMOVED)], set(), 1),
        ([partner("a", 0, REMOVED), partner("b", 1), partner("c", 2)], set(), 0),
        ([partner("a", 0, REMOVED), partner("b", 1), partner("c", 2)], {"a"}, None),
        ([partner("a", 0, REMOVED), partner("b", 1, REMOVED), partner("c", 2)], {"a"}, 1),
        ([partner("a", 0, REMOVED), partner("b", 0), partner("c", 1), partner("d", 2)], set(), None),
        ([partner("a", 0, PartnerStatus.PAUSED), partner("b", 1), partner("c", 2)], set(), None),
        ([partner("a", 0, PartnerStatus.SUSPENDED), partner("b", 1), partner("c", 2)], set(), None),
    ],
)
def test_a_lane_never_used_comes_first_and_then_one_whose_partner_is_gone_and_owes_nothing(
    partners: list[Partner], owing: set[str], expected: int | None
) -> None:
    assert free_lanes(partners, owing, 3) == (None if expected is None else (expected,))


def test_a_wide_partner_gets_lanes_that_nobody_needs_and_new_ones_first() -> None:
    partners = [partner("a", lane=1, more_lanes=(4,)), partner("b", lane=2, status=PartnerStatus.REMOVED)]
    assert free_lanes(partners, set(), 6, 3) == (0, 3, 5)
    assert free_lanes(partners, set(), 6, 4) == (0, 3, 5, 2)
    assert free_lanes(partners, {"b"}, 6, 4) is None
