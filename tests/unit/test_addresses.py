"""Which addresses may be dialled."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

import pytest
from yarl import URL

from agents.addresses import UnsafeAddress, check
from agents.webhooks import Answer, HttpSender
from rescind.options import settings
from streams import signing
from streams.addresses import address_of, is_public, may_be_dialled
from streams.errors import InvalidInput
from tests.misbehaving import Seen, answer, certificate, listening, trusting
from tests.unit.fakes import written_notice

PUBLIC = {
    "around private ranges": "100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 169.255.0.0 "
    "172.15.255.255 172.32.0.0 192.0.1.255 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255",
    "name servers": "1.1.1.1 8.8.8.8 9.9.9.9 2606:4700:4700::1111 2620:fe::fe",
    "the ends of what is given out": "2000:: 2001:200::1 2a00:1450:4001::200e 3ffe:ffff::1",
    "IPv4 in IPv6": "::ffff:8.8.8.8 ::ffff:808:808 64:ff9b::808:808 64:ff9b::8.8.8.8 2002:808:808::10.0.0.1",
}

#: By what they are. Where it matters, the first and the last of a range.
NOT_PUBLIC = {
    "this network": "0.0.0.0 0.0.0.1 0.255.255.255 ::",
    "loopback": "127.0.0.1 127.255.255.255 ::1",
    "private": "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255",
    "carriers' NAT": "100.64.0.0 100.127.255.255",
    "link-local": "169.254.0.0 169.254.255.255 fe80::1 febf:ffff::1",
    "metadata services": "169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254",
    "protocol assignments": "192.0.0.0 192.0.0.8 192.0.0.9 192.0.0.170 192.0.0.255",
    "6to4 relays": "192.88.99.1",
    "benchmarks": "198.18.0.0 198.19.255.255 2001:2::1",
    "documentation": "192.0.2.0 198.51.100.255 203.0.113.1 2001:db8::1 2001:db8:ffff::1 3fff::1 3fff:fff::1",
    "multicast": "224.0.0.0 239.255.255.255 ff02::1 ff0e::1 ::ffff:224.0.0.1",
    "reserved": "240.0.0.0 255.255.255.254 255.255.255.255 100::1 4000::1 5f00::1 8000::1 e000::1",
    "unique local": "fc00:: fc00::1 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "site-local": "fec0::1 feff::1",
    "mapped": "::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe ::ffff:192.0.0.192",
    "compatible": "::127.0.0.1 ::8.8.8.8 ::ffff:0:8.8.8.8",
    "NAT64": "64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808 64:ff9b:1:ffff::1 64:ff9b:0:1::1",
    "6to4": "2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::1 2002:c0a8:101::8.8.8.8",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2 2001::1 2001:0:808:808::f7f7:f7f7",
    "overlays": "2001:10::1 2001:20::1 2001:1ff:ffff::1",
    "with a zone": "fe80::1%eth0 ::1%lo fc00::1%1 ff02::1%eth0",
}  # fmt: skip


def known(text: str) -> Any:
    address = address_of(text)
    assert address is not None
    return address


@pytest.mark.parametrize("addresses", PUBLIC.values(), ids=PUBLIC)
def test_public(addresses: str) -> None:
    assert [address for address in addresses.split() if not is_public(known(address))] == []


@pytest.mark.parametrize("addresses", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_not_public(addresses: str) -> None:
    assert [address for address in addresses.split() if is_public(known(address))] == []


def test_what_an_operator_allows_is_dialled_although_not_public_and_nothing_beside_it() -> None:
    networks = [ipaddress.ip_network(network) for network in ("10.1.0.0/16", "fd00::/8", "64:ff9b:1::/48")]
    for address in ("10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "64:ff9b:1::1"):
        assert may_be_dialled(known(address), networks), address
    assert may_be_dialled(known("8.8.8.8"), networks)
    for address in ("10.0.255.255", "10.2.0.0", "fc00::1", "::1", "127.0.0.1", "169.254.169.254", "64:ff9b:2::1"):
        assert not may_be_dialled(known(address), networks), address


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::1%25lo]", "127.1", "2130706433", "0", "0177.0.0.1", "8.8.8.8."],
)
def test_a_host_that_is_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(UnsafeAddress):
        check(URL(f"https://{host}/"), is_public)


def test_names_are_left_to_the_resolver() -> None:
    check(URL("https://partner.example/"), is_public)
    check(URL("https://8.8.8.8/"), is_public)


def test_what_is_no_https_is_refused_wherever_it_goes() -> None:
    with pytest.raises(UnsafeAddress, match="http:// is for development only"):
        check(URL("http://8.8.8.8/"), is_public)


class Changeable:
    """A name server that says something else each time it is asked."""

    def __init__(self, *answers: str) -> None:
        self.left = list(answers)

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (self.left.pop(0), port))]


async def send(port: int, names: Changeable) -> Answer:
    """From a sender that starts, hence knows no name yet."""
    networks = [ipaddress.ip_network("127.0.0.1/32")]
    sender = HttpSender(5, allow_private=False, networks=networks, tls=trusting(), getaddrinfo=names.getaddrinfo)
    payload = sender.payload([written_notice()], single=False, gzip=False)
    try:
        url = f"https://partner.example:{port}/hook"
        return await sender.send(url, signing.new_secret(), "msg_1", payload, datetime.now(UTC))
    finally:
        await sender.close()


async def test_the_address_that_was_checked_is_the_one_that_is_dialled_and_tls_asks_for_the_name() -> None:
    asked: list[str | None] = []
    tls = certificate("good")
    tls.sni_callback = lambda _, name, __: asked.append(name)
    names = Changeable("127.0.0.1", "127.0.0.2", "10.0.0.1")
    async with listening(answer(200), Seen(), tls) as port:
        answered = await send(port, names)
        assert (answered.attempt.status, answered.address) == (200, f"127.0.0.1:{port}")
        # It was asked once, and nobody dialled what it would have said next.
        assert names.left == ["127.0.0.2", "10.0.0.1"]
        assert "127.0.0.2, which is not public" in ((await send(port, names)).attempt.error or "")
        assert "10.0.0.1, which is not public" in ((await send(port, names)).attempt.error or "")
    assert asked == ["partner.example"]


async def test_an_allowed_address_gets_nothing_if_its_certificate_is_another_s() -> None:
    seen = Seen()
    async with listening(answer(200), seen, certificate("other")) as port:
        error = (await send(port, Changeable("127.0.0.1"))).attempt.error or ""
    assert error == "TLS: the certificate is not valid: it is for another host"
    assert seen.requests == 0


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.1.0.0/16,fd00::/8", ("10.1.0.0/16", "fd00::/8")),
        (" 10.1.2.3 , ", ("10.1.2.3/32",)),
        ("", ()),
    ],
)
def test_networks_come_from_the_environment(
    text: str, networks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_ALLOWED_NETWORKS", text)
    assert tuple(str(network) for network in settings().allowed_networks) == networks


@pytest.mark.parametrize("text", ["10.1.2.3/16", "10.1", "partner.example", "10.0.0.0/8;fd00::/8", "[]"])
def test_what_is_no_network_is_told_in_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_ALLOWED_NETWORKS", text)
    with pytest.raises(InvalidInput, match=r"allowed_networks: .*(has host bits set|IPv4 or IPv6 network)$"):
        settings()
