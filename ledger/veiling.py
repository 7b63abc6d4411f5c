"""How a ledger's file says whom it is about: in plain words, or sealed.

A sealed ledger holds in the place of a subject what AES-SIV (RFC 5297) makes of it with a key that is derived from the
service's. Its first 16 bytes are a keyed hash of the subject: whoever has the key finds a subject by it, equal ones
meet in the indexes, and without the key a guess cannot even be checked. The rest is the subject, encrypted, for what
must go out again: a notice that is issued once more, a page for an operator. The same is done to whatever partners and
platforms wrote in their own words, since they may name a subject there, and to the ids of toggles, without which the
ids that derive from a toggle and its subject could be guessed along.

It is the same for the same text, so that ledgers can be compared, and made anew, by their content.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from sqlite_utils import Database

#: What is sealed begins with it, so that it is opened wherever a row brings it.
MARK = "~siv~"
_BYTES_MARK = MARK.encode()
#: Bytes of secret that a veil is made of: the key of AES-SIV, and what the veil is known by.
SECRET_BYTES = 64 + 8


class Veil(Protocol):
    """What a ledger's file makes of subjects, and of whatever may name one."""

    #: As the file has it, to be told from every other one.
    name: str

    def text(self, text: str) -> str: ...

    def maybe(self, text: str | None) -> str | None: ...

    def blob(self, data: bytes) -> bytes: ...

    def opened(self, value: Any) -> Any:
        """What a column says, in plain words."""
        ...

    def reading(self, database: Database) -> Database:
        """The same, with rows in plain words; what it is asked for must be veiled."""
        ...


class Plain:
    name = "plain"

    def text(self, text: str) -> str:
        return text

    def maybe(self, text: str | None) -> str | None:
        return text

    def blob(self, data: bytes) -> bytes:
        return data

    def opened(self, value: Any) -> Any:
        return value

    def reading(self, database: Database) -> Database:
        return database


PLAIN = Plain()


class Sealed:
    """`secret` are `SECRET_BYTES`, derived for this purpose only."""

    def __init__(self, secret: bytes) -> None:
        self._siv = AESSIV(secret[:64])
        self.name = f"sealed {secret[64:].hex()}"
        # One subject stands in a dozen rows that come close to each other.
        self.text = lru_cache(maxsize=16384)(self._text)

    def maybe(self, text: str | None) -> str | None:
        return None if text is None else self._text(text)

    def blob(self, data: bytes) -> bytes:
        return _BYTES_MARK + self._siv.encrypt(data, None) if data else data

    def reading(self, database: Database) -> Database:
        return _Opening(database, self)

    def opened(self, value: Any) -> Any:
        """What is not sealed stays as it is, also if it only begins as if it were."""
        try:
            if isinstance(value, str) and value.startswith(MARK):
                return self._siv.decrypt(base64.urlsafe_b64decode(value[len(MARK) :]), None).decode()
            if isinstance(value, bytes) and value.startswith(_BYTES_MARK):
                return self._siv.decrypt(value[len(MARK) :], None)
        except (InvalidTag, ValueError):
            pass
        return value

    def _text(self, text: str) -> str:
        # What is empty names nobody, and AES-SIV does not take it.
        return MARK + base64.urlsafe_b64encode(self._siv.encrypt(text.encode(), None)).decode() if text else text


class _Opening(Database):  # type: ignore[misc] # sqlite-utils has no types
    """Opens what is sealed in the rows of a query; `execute` brings them as they stand."""

    def __init__(self, database: Database, veil: Sealed | Hidden) -> None:
        super().__init__(database.conn)
        self._veil = veil

    def query(self, sql: str, params: Any = None) -> Generator[dict[str, Any], None, None]:
        for row in super().query(sql, params):
            yield {name: self._veil.opened(value) for name, value in row.items()}


class Hidden:
    """For the care of a ledger without its key: a sealed value reads as `(sealed)`."""

    def reading(self, database: Database) -> Database:
        return _Opening(database, self)

    def opened(self, value: Any) -> Any:
        sealed = value.startswith(MARK) if isinstance(value, str) else False
        return "(sealed)" if sealed else value


def fitting(veils: Sequence[Veil], name: str) -> Veil | None:
    return next((veil for veil in veils if veil.name == name), None)


def misfit(veils: Sequence[Veil], name: str) -> str:
    """Why none of these fits."""
    stands, wanted = (each.partition(" ")[0] for each in (name, veils[0].name))
    why = (
        "was sealed with another key than there is now: bring that one back, or"
        if stands == wanted
        else f"keeps subjects {stands}, and RESCIND_LEDGER_SUBJECTS asks for {wanted}:"
    )
    return f"{why} make it anew with `rescind ledger rebuild`"
