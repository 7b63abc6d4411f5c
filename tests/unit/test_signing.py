"""Signatures: what we sign, others accept; what others sign, we accept; what is changed, nobody does."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature as Wrong
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from streams import signing
from streams.signing import InvalidSignature, Scheme

BODY = b'{"a":1}'
NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: The example of the libraries of the spec, and that of Svix; the spec shows the latter's signature.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE_KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
KNOWN = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
KNOWN_V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
KNOWN_V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
OTHER = signing.new_secret()
OTHER_PRIVATE = signing.new_private_key()


# -- by what others know


@pytest.mark.parametrize(
    ("keys", "signatures"),
    [
        (SECRET, [KNOWN_V1]),
        (SECRET.removeprefix("whsec_"), [KNOWN_V1]),
        (PRIVATE_KEY, [KNOWN_V1A]),
        ([SECRET, PRIVATE_KEY], [KNOWN_V1, KNOWN_V1A]),
        ((PRIVATE_KEY, SECRET), [KNOWN_V1A, KNOWN_V1]),
    ],
)
def test_we_sign_as_others_do(keys: str | Sequence[str], signatures: list[str]) -> None:
    assert signing.sign(keys, *KNOWN).split(" ") == signatures


def test_a_public_key_is_that_of_its_private_key() -> None:
    assert signing.public_key(PRIVATE_KEY) == PUBLIC_KEY


def test_the_public_library_accepts_what_we_send() -> None:
    headers = signing.headers(OTHER, "msg_1", datetime.now(UTC), BODY)
    assert Webhook(OTHER).verify(BODY.decode(), headers) == {"a": 1}


def test_we_accept_what_the_public_library_signs() -> None:
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": "v1,AAAA " + Webhook(OTHER).sign("msg_1", NOW, BODY.decode()),
    }
    assert signing.verify(OTHER, headers, BODY, NOW) == "msg_1"


def raw(text: str) -> bytes:
    return base64.b64decode(re.split("[_,]", text)[1])


def test_whoever_knows_ed25519_accepts_what_we_send() -> None:
    headers = signing.headers(OTHER_PRIVATE, "msg_1", NOW, BODY)
    content = b"msg_1.%d.%b" % (NOW.timestamp(), BODY)
    public = Ed25519PublicKey.from_public_bytes(raw(signing.public_key(OTHER_PRIVATE)))
    public.verify(raw(headers["webhook-signature"]), content)
    with pytest.raises(Wrong):
        public.verify(raw(headers["webhook-signature"]), content + b" ")


def test_we_accept_what_whoever_knows_ed25519_signs() -> None:
    private = Ed25519PrivateKey.generate()
    content = b"msg_1.%d.%b" % (NOW.timestamp(), BODY)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": "v1a," + base64.b64encode(private.sign(content)).decode(),
    }
    public = "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode()
    assert signing.verify(public, headers, BODY, NOW) == "msg_1"


# -- keys


@pytest.mark.parametrize(
    ("make", "form"),
    [(signing.new_secret, r"whsec_[\w+/]{43}="), (signing.new_private_key, r"whsk_[\w+/]{86}==")],
)
def test_a_new_key_is_like_no_other(make: Callable[[], str], form: str) -> None:
    made = {make() for _ in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch(form, key) for key in made)


#: What is no key to sign with. The last part is what an error must not quote.
NO_KEYS = [
    "",
    "whsec_",
    "whsec_ä",
    "whsec_!!!!",
    "whsec_abc",
    "whsec_" + "QUJD" * 7 + "QUI=",  # 23 bytes
    "whsec_" + "QUJD" * 21 + "QUJ=",  # 65 bytes
    "whsk_",
    "whsk_!!!!",
    "whsk_" + "QUJD" * 10 + "QUI=",  # 32 bytes: no public half
    "whsec_" + PRIVATE_KEY,
    PUBLIC_KEY,
    "secret",
    "\ud800",
]


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key_signs_nothing_and_is_not_quoted(key: str) -> None:
    for keys in (key, [SECRET, key]):
        with pytest.raises(InvalidSignature) as refused:
            signing.sign(keys, *KNOWN)
        text = key.rpartition("_")[2]
        assert len(text) < 4 or text not in str(refused.value)


def test_nothing_is_sent_without_a_signature() -> None:
    with pytest.raises(InvalidSignature, match="no key"):
        signing.headers([], "msg_1", NOW, BODY)


@pytest.mark.parametrize("key", [*(key for key in NO_KEYS if key != PUBLIC_KEY), "whpk_", "whpk_AAAA", PRIVATE_KEY])
def test_what_is_no_key_accepts_nothing_even_beside_one_that_is(key: str) -> None:
    headers = signing.headers([SECRET, PRIVATE_KEY], "msg_1", NOW, BODY)
    for keys in (key, [SECRET, key], [key, SECRET]):
        with pytest.raises(InvalidSignature, match="a key"):
            signing.verify(keys, headers, BODY, NOW)


def test_a_partner_without_keys_accepts_nothing() -> None:
    with pytest.raises(InvalidSignature):
        signing.verify([], signing.headers(SECRET, "msg_1", NOW, BODY), BODY, NOW)


def test_a_secret_is_checked_without_cryptography() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from datetime import UTC, datetime\n"
        "from streams import signing\n"
        "import rescind.partner\n"
        "key, now = signing.new_secret(), datetime.now(UTC)\n"
        "assert signing.verify([key], signing.headers(key, 'm', now, b''), b'', now) == 'm'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- several signatures, several keys

SIGNERS = {"old": SECRET, "new": OTHER, "old pair": PRIVATE_KEY, "new pair": OTHER_PRIVATE}
CHECKERS = {name: signing.public_key(key) if "pair" in name else key for name, key in SIGNERS.items()}
NAMES = st.sets(st.sampled_from(sorted(SIGNERS)), min_size=1).map(sorted)


@settings(deadline=None)
@given(NAMES, NAMES, st.binary(max_size=50))
def test_one_key_in_common_is_enough_and_needed(signers: list[str], checkers: list[str], body: bytes) -> None:
    headers = signing.headers([SIGNERS[name] for name in signers], "msg_1", NOW, body)
    keys = [CHECKERS[name] for name in checkers]
    if set(signers) & set(checkers):
        assert signing.verify(keys, headers, body, NOW) == "msg_1"
    else:
        with pytest.raises(InvalidSignature, match="no signature matches"):
            signing.verify(keys, headers, body, NOW)


@settings(deadline=None)
@given(st.data(), NAMES, st.binary(min_size=1, max_size=50))
def test_what_is_changed_nobody_accepts(data: st.DataObject, names: list[str], body: bytes) -> None:
    headers = signing.headers([SIGNERS[name] for name in names], "msg_1", NOW, body)
    what = data.draw(st.sampled_from(["body", "webhook-id", "webhook-timestamp", "webhook-signature"]))
    if what == "body":
        at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
        body = body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :]
    elif what == "webhook-id":
        headers[what] = data.draw(st.text().filter(lambda text: text != "msg_1" and text.isprintable()))
    elif what == "webhook-timestamp":
        headers[what] = str(int(NOW.timestamp()) + data.draw(st.integers(-300, 300).filter(bool)))
    else:
        # One bit of each signature.
        bit = data.draw(st.integers(0, 255))
        headers[what] = " ".join(flipped(signature, bit) for signature in headers[what].split(" "))
    with pytest.raises(InvalidSignature):
        signing.verify([CHECKERS[name] for name in names], headers, body, NOW)


def flipped(signature: str, bit: int) -> str:
    scheme, _, text = signature.partition(",")
    value = bytearray(base64.b64decode(text))
    value[bit // 8] ^= 1 << bit % 8
    return f"{scheme},{base64.b64encode(value).decode()}"


V1, V1A = signing.headers([SECRET, PRIVATE_KEY], "msg_1", NOW, BODY)["webhook-signature"].split(" ")


@pytest.mark.parametrize("key", [SECRET, PUBLIC_KEY])
@pytest.mark.parametrize(
    "signatures",
    [
        "",
        " ",
        "v1",
        "v1a",
        "v1,",
        "v1a,",
        "v1,AAAA v1a,AAAA v1,",
        "v1,ä v1a,ä",
        "v1a,====",
        V1.removeprefix("v1,"),
        V1A.removeprefix("v1a,"),
        V1.replace("v1,", "v1a,"),
        V1A.replace("v1a,", "v1,"),
        V1.replace("v1,", "v2,"),
        V1.upper(),
        V1A.upper(),
        V1[:-1],
        V1A[:-4],
        V1A + "AAAA",
        f"{V1},{V1A}",
        f"{V1}\t{V1A}",
    ],
)
def test_what_is_no_signature_is_refused(key: str, signatures: str) -> None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(NOW.timestamp())), "webhook-signature": signatures}
    with pytest.raises(InvalidSignature, match="no signature matches"):
        signing.verify(key, headers, BODY, NOW)


def test_a_header_full_of_signatures_is_refused_unread() -> None:
    headers = signing.headers([PRIVATE_KEY] * (signing.MOST_SIGNATURES - 1) + [SECRET], "msg_1", NOW, BODY)
    assert signing.verify(SECRET, headers, BODY, NOW) == "msg_1"
    headers["webhook-signature"] = f"v1a,AAAA {headers['webhook-signature']}"
    with pytest.raises(InvalidSignature, match="more than 16"):
        signing.verify(SECRET, headers, BODY, NOW)


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize(
    ("change", "body", "later"),
    [
        ({}, b"{}", 0),
        ({"webhook-id": "msg_2"}, BODY, 0),
        ({"webhook-timestamp": "x"}, BODY, 0),
        ({}, BODY, 301),
        ({}, BODY, -301),
    ],
)
def test_what_is_refused(scheme: Scheme, change: dict[str, str], body: bytes, later: int) -> None:
    signer, key = (SECRET, SECRET) if scheme is Scheme.V1 else (PRIVATE_KEY, PUBLIC_KEY)
    headers = signing.headers(signer, "msg_1", NOW, BODY)
    assert signing.verify(key, headers, BODY, NOW) == "msg_1"
    with pytest.raises(InvalidSignature):
        signing.verify(key, headers | change, body, NOW + timedelta(seconds=later))


def test_a_missing_header_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        signing.verify(SECRET, {}, BODY, NOW)
