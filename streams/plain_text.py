"""Makes text that others wrote safe to show in a log, on a terminal or in a sentence of ours."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with a question mark in place of each character that is not printable, such as those that control a
    terminal.

    >>> printable("a\\x1b[31m")
    'a?[31m'
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def one_line(text: str) -> str:
    """What is printable of a text, on one line, with one blank for each run of white space.

    >>> one_line(" a\\n  b")
    'a b'
    """
    return printable(" ".join(text.split()))
