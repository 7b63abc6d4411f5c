"""Text of others, made fit for people's eyes: for a log, a terminal or a sentence of ours."""

from __future__ import annotations


def printable(text: str) -> str:
    """With a question mark for each letter that a terminal would obey, or that is no letter at all.

    >>> printable("a\\x1b[31m")
    'a?[31m'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def one_line(text: str) -> str:
    """The same, on one line, with single blanks.

    >>> one_line(" a\\n  b")
    'a b'
    """
    return printable(" ".join(text.split()))
