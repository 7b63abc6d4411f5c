"""Standard Webhooks signatures over `id.timestamp.body`: `v1` is HMAC-SHA256, `v1a` is Ed25519.

A key is text, and its prefix says what it is for: `whsec_` a secret of both sides, for `v1`; `whsk_` a private key that
signs `v1a`, and `whpk_` the public key that checks it. Where keys are asked for, one will do as well as several: while
a secret is being replaced, a request is signed with the old and the new one, and a receiver may hold both.

Spec: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from streams.errors import RescindError

SECRET = "whsec_"  # noqa: S105 - a prefix, as are the next two
PRIVATE = "whsk_"
PUBLIC = "whpk_"
#: How far a timestamp may lie from the receiver's clock; the spec's libraries allow five minutes.
TOLERANCE = timedelta(minutes=5)
#: Signatures of one request at most. We send six at most; and whoever makes up a header full of them must not
#: keep a receiver busy.
MOST_SIGNATURES = 16
#: Of a private key (its seed, RFC 8032 section 5.1.5) and of a public one. A `whsk_` is both, one behind the other.
_KEY_BYTES = 32


#: As it is signed, so that what is kept of a request can be checked by anybody: `int` would take `+1_0` and `010`.
_TIMESTAMP = re.compile("0|[1-9][0-9]{0,15}")


class Scheme(StrEnum):
    V1 = "v1"
    V1A = "v1a"


class InvalidSignature(RescindError):
    """The request does not prove that it comes from whom it claims; or a key is none."""


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64 (the spec asks for 24 to 64)."""
    return SECRET + _text(secrets.token_bytes(32))


def new_private_key() -> str:
    """A fresh private key: `whsk_` and 64 bytes in base64, of which the last 32 are the public key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - see `_ed25519`

    made = Ed25519PrivateKey.generate()
    return PRIVATE + _text(made.private_bytes_raw() + made.public_key().public_bytes_raw())


def public_key(private_key: str) -> str:
    """The `whpk_...` of a `whsk_...`, for whoever is to check what that one signs."""
    return PUBLIC + _text(_private_bytes(private_key)[_KEY_BYTES:])


def sign(keys: str | Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a signature by each key, in their order. `timestamp` is in seconds since the
    epoch. Raises `InvalidSignature` if there is no key, or one cannot sign."""
    content = _content(webhook_id, timestamp, body)
    signatures = [_signature(key, content) for key in _listed(keys)]
    if not signatures:
        raise InvalidSignature("there is no key to sign with")
    return " ".join(signatures)


def headers(keys: str | Sequence[str], webhook_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of a signed request. Raises as `sign` does."""
    timestamp = int(now.timestamp())
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(keys, webhook_id, timestamp, body),
    }


def verify(keys: str | Sequence[str], received: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Check a received request and return its `webhook-id`. One signature that holds by one of the keys will do.

    Header names are looked up in lower case, as `http.client`, aiohttp and Starlette offer them. Raises
    `InvalidSignature`, also if any of the keys is none: that is to be noticed now, not when it is the only one left.
    """
    try:
        webhook_id = received["webhook-id"]
        written = received["webhook-timestamp"]
        signatures = received["webhook-signature"].split(" ")
    except KeyError:
        raise InvalidSignature("a webhook header is missing") from None
    if not _TIMESTAMP.fullmatch(written):
        raise InvalidSignature("the timestamp is not a number of seconds in plain digits")
    timestamp = int(written)
    if abs(now.timestamp() - timestamp) > TOLERANCE.total_seconds():
        raise InvalidSignature("the timestamp is too far from now")
    if len(signatures) > MOST_SIGNATURES:
        raise InvalidSignature(f"there are more than {MOST_SIGNATURES} signatures")
    content = _content(webhook_id, timestamp, body)
    checks = [_check(key, content) for key in _listed(keys)]
    if not any(check(signature) for check in checks for signature in signatures):
        raise InvalidSignature("no signature matches")
    return webhook_id


def _listed(keys: str | Sequence[str]) -> Sequence[str]:
    return [keys] if isinstance(keys, str) else keys


def _content(webhook_id: str, timestamp: int, body: bytes) -> bytes:
    return b".".join((webhook_id.encode(), str(timestamp).encode(), body))


def _signature(key: str, content: bytes) -> str:
    if not key.startswith(PRIVATE):
        return _hmac(key, content)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - see `_ed25519`

    private = Ed25519PrivateKey.from_private_bytes(_private_bytes(key)[:_KEY_BYTES])
    return f"{Scheme.V1A},{_text(private.sign(content))}"


def _check(key: str, content: bytes) -> Callable[[str], bool]:
    """What says whether a signature is that of the content, by this key."""
    if key.startswith(PUBLIC):
        return _ed25519(_raw(key, PUBLIC, _KEY_BYTES, _KEY_BYTES), content)
    expected = _hmac(key, content).encode()
    return lambda signature: hmac.compare_digest(expected, signature.encode())


def _hmac(key: str, content: bytes) -> str:
    digest = hmac.digest(_raw(key, SECRET, 24, 64), content, "sha256")
    return f"{Scheme.V1},{_text(digest)}"


def _ed25519(public: bytes, content: bytes) -> Callable[[str], bool]:
    # Imported here: a partner that checks with a secret needs nothing but the standard library.
    from cryptography.exceptions import InvalidSignature as Wrong  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    key = Ed25519PublicKey.from_public_bytes(public)

    def holds(signature: str) -> bool:
        scheme, _, text = signature.partition(",")
        if scheme != Scheme.V1A:
            return False
        try:
            key.verify(base64.b64decode(text, validate=True), content)
        except (ValueError, Wrong):
            return False
        return True

    return holds


def _private_bytes(key: str) -> bytes:
    return _raw(key, PRIVATE, 2 * _KEY_BYTES, 2 * _KEY_BYTES)


def _raw(key: str, prefix: str, least: int, most: int) -> bytes:
    """The bytes of a key. An error never quotes it."""
    try:
        raw = base64.b64decode(key.removeprefix(prefix), validate=True)
    except ValueError:
        raise InvalidSignature(f"a key is not {prefix} and base64") from None
    if not least <= len(raw) <= most:
        raise InvalidSignature(f"a key of {prefix} has not the length of one")
    return raw


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
