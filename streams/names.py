"""The forms of names that travel: subjects, purposes, partner ids."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from streams.forms import EVENT_ID, PURPOSE, SUBJECT

_PARTNER_ID = r"^[a-z0-9][a-z0-9-]{0,62}$"
_SUBJECT_KIND = r"^[a-z][a-z0-9_-]{0,31}$"
_NAME = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"

#: What is wrong with a text that has not the form, for people.
MEANINGS = {
    SUBJECT: "not a subject, which is kind:id without white space, such as blog:staff.example.com",
    PURPOSE: "not a purpose, which is a slug of up to 64 characters, such as ai-training",
    _PARTNER_ID: "not a partner's id, which is a slug of up to 63 characters, such as common-crawl",
    _SUBJECT_KIND: "not a kind of subject, which is a slug of up to 32 characters, such as blog",
    EVENT_ID: "not an id, which is 1 to 128 printable ASCII characters without white space",
    _NAME: "not a name, which has something to see and no control characters",
}

#: `kind:id`, for instance `blog:staff.example.com`. The kind is a slug; the id is any printable text
#: without white space, and may itself contain colons.
Subject = Annotated[str, StringConstraints(pattern=SUBJECT, strip_whitespace=False)]

#: A slug such as `ai-training`.
Purpose = Annotated[str, StringConstraints(pattern=PURPOSE)]

#: A slug such as `common-crawl`.
PartnerId = Annotated[str, StringConstraints(pattern=_PARTNER_ID)]

#: The part of a subject before its first colon.
SubjectKind = Annotated[str, StringConstraints(pattern=_SUBJECT_KIND)]

#: An event's id: printable ASCII without white space, chosen by whoever emits.
EventId = Annotated[str, StringConstraints(pattern=EVENT_ID)]

#: What people call a partner: something to see, and no control characters; any script otherwise.
Name = Annotated[str, StringConstraints(max_length=200, pattern=_NAME)]

#: What a platform calls something that it hands over, and one of its versions.
Dataset = Annotated[str, StringConstraints(max_length=200, pattern=_NAME)]
Version = Annotated[str, StringConstraints(max_length=100, pattern=_NAME)]

#: Why somebody did something, in a line.
Reason = Annotated[str, StringConstraints(max_length=500, pattern=_NAME)]


def kind_of(subject: str) -> str:
    """The kind of a subject: `blog` of `blog:staff.example.com`."""
    return subject.partition(":")[0]
