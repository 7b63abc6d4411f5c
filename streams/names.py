"""The forms of names that travel: subjects, purposes, partner ids."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

_SUBJECT = r"^[a-z][a-z0-9_-]{0,31}:[^\s\x00-\x1f\x7f]{1,255}$"
_PURPOSE = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_PARTNER_ID = r"^[a-z0-9][a-z0-9-]{0,62}$"
_SUBJECT_KIND = r"^[a-z][a-z0-9_-]{0,31}$"
_EVENT_ID = r"^[\x21-\x7e]{1,128}$"
_NAME = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"

#: What is wrong with a text that has not the form, for people.
MEANINGS = {
    _SUBJECT: "not a subject, which is kind:id without white space, such as blog:staff.example.com",
    _PURPOSE: "not a purpose, which is a slug of up to 64 characters, such as ai-training",
    _PARTNER_ID: "not a partner's id, which is a slug of up to 63 characters, such as common-crawl",
    _SUBJECT_KIND: "not a kind of subject, which is a slug of up to 32 characters, such as blog",
    _EVENT_ID: "not an id, which is 1 to 128 printable ASCII characters without white space",
    _NAME: "not a name, which has something to see and no control characters",
}

#: `kind:id`, for instance `blog:staff.example.com`. The kind is a slug; the id is any printable text
#: without white space, and may itself contain colons.
Subject = Annotated[str, StringConstraints(pattern=_SUBJECT, strip_whitespace=False)]

#: A slug such as `ai-training`.
Purpose = Annotated[str, StringConstraints(pattern=_PURPOSE)]

#: A slug such as `common-crawl`.
PartnerId = Annotated[str, StringConstraints(pattern=_PARTNER_ID)]

#: The part of a subject before its first colon.
SubjectKind = Annotated[str, StringConstraints(pattern=_SUBJECT_KIND)]

#: An event's id: printable ASCII without white space, chosen by whoever emits.
EventId = Annotated[str, StringConstraints(pattern=_EVENT_ID)]

#: What people call a partner: something to see, and no control characters; any script otherwise.
Name = Annotated[str, StringConstraints(max_length=200, pattern=_NAME)]


def kind_of(subject: str) -> str:
    """The kind of a subject: `blog` of `blog:staff.example.com`."""
    return subject.partition(":")[0]
