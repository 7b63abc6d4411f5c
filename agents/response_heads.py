"""The heads of partners' answers: how much of one is read, and what is wrong with one that is not HTTP. Pure.

The grammar is RFC 9112 sections 2 to 5. What the parser takes beyond it (bare line feeds, folded lines, a missing
reason) is no fault here either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from streams.plain_text import printable

#: Bytes of a head, from its status line to the empty line that ends it.
HEAD_CAP = 64 * 1024
#: Lines of a head, without the status line and the empty one.
LINES_CAP = 1_000

_END = re.compile(rb"\n\r?\n")
_BEGIN = re.compile(rb"[\r\n]*")
_VERSION = re.compile(rb"HTTP/(1\.0|1\.1|0\.9|2\.0)(?= )")
_STATUS = re.compile(rb" [0-9]{3}( |\r|\n|$)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Bytes of what a partner said that are quoted.
_QUOTED = 40


class Head:
    """One head, as it comes in."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.complete = False
        self._breaks = 0

    def take(self, data: bytes, start: int) -> int:
        """Add the part of `data` from `start` on that belongs to the head; return where that part ends."""
        seen = len(self.data)
        self.data += data[start : start + HEAD_CAP - seen]
        first = _BEGIN.match(self.data)
        found = _END.search(self.data, max(seen - 2, 0 if first is None else first.end()))
        if found is not None:
            self.complete = True
            del self.data[found.end() :]
        self._breaks += self.data.count(b"\n", seen)
        return start + len(self.data) - seen

    def fault(self) -> str | None:
        """Why no more of it is read, in words; None if it may go on."""
        if self._breaks - 1 - self.complete > LINES_CAP:
            too_long = f"has more than {LINES_CAP:,} lines"
        elif len(self.data) >= HEAD_CAP and not self.complete:
            too_long = f"is longer than {HEAD_CAP // 1024} KiB"
        else:
            return None
        return _fault_of_status_line(_lines(bytes(self.data))[0]) or f"the head of the answer {too_long}"


def fault(head: bytes) -> str:
    """What is wrong with a head that the parser has refused, which may be incomplete, in words.

    >>> fault(b"http/1.1 200 OK\\r\\n\\r\\n")
    "the status line begins with 'http/1.1' and not with HTTP/1.1"
    >>> fault(b"HTTP/1.1 200 OK\\r\\nX-Foo : bar\\r\\n\\r\\n")
    "a space stands before the colon of header 'X-Foo'"
    """
    status, *fields = _lines(head)
    found = _fault_of_status_line(status)
    if found is None:
        found = next((why for line in fields if (why := _fault_of_field(line)) is not None), None)
    return found or _fault_of_length(fields) or "the head of the answer breaks the rules of HTTP"


def fault_of_body(reason: str) -> str:
    """What is wrong with the framing of a body, in words. `reason` is what the parser (llhttp) calls it."""
    if "chunk size" in reason or "Chunk size" in reason:
        return "the size of a chunk of the body is not a hexadecimal number on a line of its own"
    if "chunk data" in reason:
        return "a chunk of the body is longer than its size says"
    if "chunk extension" in reason:
        return "the extension of a chunk of the body holds what may not stand there"
    if "Too many headers" in reason:
        return "too many lines follow the last chunk of the body"
    if "eader" in reason:
        return "a line after the last chunk of the body is no header"
    return "the body is not framed as HTTP has it"


def _lines(head: bytes) -> list[bytes]:
    """The status line and the headers. The last one may be incomplete."""
    return [line.removesuffix(b"\r") for line in head.lstrip(b"\r\n").split(b"\n")]


def _fault_of_status_line(line: bytes) -> str | None:
    if line[:2] in (b"\x16\x03", b"\x15\x03"):
        return "it speaks TLS; the URL must begin with https://"
    version = _VERSION.match(line)
    if version is None:
        first = line.split(b" ")[0] or line
        like_http = first[:5].upper() == b"HTTP/" or line[:4].upper() == b"HTTP"
        what = "the status line begins" if like_http else "it begins"
        return f"{what} with {_shown(first)} and not with HTTP/1.1"
    if line[version.end() :].startswith(b"  "):
        return "more than one space stands before the status"
    if _STATUS.match(line, version.end()) is None:
        return f"the status in {_shown(line)} is not of three digits"
    if b"\r" in line:
        return "a line of the head ends with a carriage return without a line feed"
    return None


def _fault_of_field(line: bytes) -> str | None:
    if not line or line[:1] in b" \t":
        return None
    name, colon, value = line.partition(b":")
    bare = name.rstrip(b" \t")
    why = None
    if not colon or not name:
        why = f"the line {_shown(line)} is no header: it has no {'name' if colon else 'colon'}"
    elif bare != name and _TOKEN.fullmatch(bare):
        why = f"a space stands before the colon of header {_shown(bare)}"
    elif not _TOKEN.fullmatch(name):
        why = f"the name of header {_shown(name)} holds what may not stand there"
    elif b"\r" in value:
        why = f"header {_shown(name)} holds a carriage return without a line feed"
    elif b"\0" in value:
        why = f"header {_shown(name)} holds a zero byte"
    return why


def _fault_of_length(fields: Sequence[bytes]) -> str | None:
    named = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in fields)]
    lengths = [value for name, value in named if name == b"content-length"]
    if len(lengths) > 1:
        return "it has more than one Content-Length"
    for length in lengths:
        if not length.isdigit() or len(length) > 18:
            return f"its Content-Length is {_shown(length)} and not a number of bytes"
        if any(name == b"transfer-encoding" for name, _ in named):
            return "it has both a Content-Length and a Transfer-Encoding"
    return None


def _shown(said: bytes) -> str:
    cut = said[:_QUOTED].decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")
    return f"'{printable(cut)}{'…' if len(said) > _QUOTED else ''}'"
