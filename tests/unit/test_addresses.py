"""Which addresses may be dialled."""

from __future__ import annotations

import pytest

from agents.addresses import UnsafeAddress, check_literal
from streams.addresses import address_of, is_public


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public(address: str) -> None:
    assert (known := address_of(address)) is not None
    assert is_public(known)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1", "fe80::1%eth0",
        "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:db8::1",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert (known := address_of(address)) is not None
    assert not is_public(known)


def test_literals_are_checked_and_names_are_left_to_the_resolver() -> None:
    check_literal("partner.example")
    check_literal("8.8.8.8")
    for host in (
        "127.0.0.1",
        "[::1]",
        "::ffff:127.0.0.1",
        "[::1%lo]",
        "127.1",
        "2130706433",
        "0",
        "0177.0.0.1",
        "8.8.8.8.",
        "1::2::3",
    ):
        with pytest.raises(UnsafeAddress):
            check_literal(host)
