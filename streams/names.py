"""The forms of names that travel: subjects, purposes, partner ids."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

#: `kind:id`, for instance `blog:staff.example.com`. The kind is a slug; the id is any printable text
#: without white space, and may itself contain colons.
Subject = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}:[^\s\x00-\x1f\x7f]{1,255}$", strip_whitespace=False),
]

#: A slug such as `ai-training`.
Purpose = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]

#: A slug such as `common-crawl`.
PartnerId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]

#: The part of a subject before its first colon.
SubjectKind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]

#: An event's id: printable ASCII without white space, chosen by whoever emits.
EventId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$")]


def kind_of(subject: str) -> str:
    """The kind of a subject: `blog` of `blog:staff.example.com`."""
    return subject.partition(":")[0]
