"""Signatures: what we sign, the public library accepts; what is changed, nobody does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from streams import signing

BODY = b'{"a":1}'


def test_the_public_library_accepts_what_we_send() -> None:
    secret = signing.new_secret()
    headers = signing.headers(secret, "msg_1", datetime.now(UTC), BODY)
    assert Webhook(secret).verify(BODY.decode(), headers) == {"a": 1}


def test_we_accept_what_the_public_library_signs() -> None:
    secret = signing.new_secret()
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": "v1,AAAA " + Webhook(secret).sign("msg_1", now, BODY.decode()),
    }
    assert signing.verify(secret, headers, BODY, now) == "msg_1"


@pytest.mark.parametrize(
    ("change", "body", "later"),
    [
        ({}, b"{}", 0),
        ({"webhook-id": "msg_2"}, BODY, 0),
        ({"webhook-timestamp": "x"}, BODY, 0),
        ({"webhook-signature": "v1,AAAA"}, BODY, 0),
        ({"webhook-signature": "v1,ä"}, BODY, 0),
        ({}, BODY, 301),
        ({}, BODY, -301),
    ],
)
def test_what_is_refused(change: dict[str, str], body: bytes, later: int) -> None:
    secret = signing.new_secret()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    headers = signing.headers(secret, "msg_1", now, BODY) | change
    with pytest.raises(signing.InvalidSignature):
        signing.verify(secret, headers, body, now + timedelta(seconds=later))


def test_a_missing_header_is_refused() -> None:
    with pytest.raises(signing.InvalidSignature):
        signing.verify(signing.new_secret(), {}, BODY, datetime.now(UTC))
