"""Who was given a subject, and the key that signs what exports held."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel

from gateway.auth import PlatformOrOperator
from gateway.context import Context, context_of
from gateway.handing_over import up_to_date
from gateway.problems import problems
from gateway.subjects import SubjectPath
from ledger import Disclosure, NoticeRow, Wanted
from streams.kinds import Action

router = APIRouter(tags=["platform"])
_PAGE = 1000


class DisclosureOut(BaseModel):
    """A dataset that was handed over with the subject in it, at `disclosed_at`. If it was `withdrawn`, the subject had
    chosen otherwise by then. `notice`, `asked_at` and `became` are of the partner's last notice to delete it since:
    null if there is none; `became` is the notice's status, or how it was completed. Of an open one it is
    `suppressed_only`, if that is all its partner did: the data is still there."""

    export: str
    partner: str
    dataset: str
    version: str
    purpose: str
    disclosed_at: datetime
    imported: bool
    withdrawn: bool
    notice: str | None
    asked_at: datetime | None
    became: str | None


class SubjectDisclosures(BaseModel):
    """The newest first."""

    subject: str
    disclosures: list[DisclosureOut]


class SigningKeyOut(BaseModel):
    """Ed25519 (RFC 8032). `public_key` is its 32 bytes in base64, `pem` the same for other tools; a manifest names the
    `key_id`."""

    key_id: str
    algorithm: str = "Ed25519"
    public_key: str
    pem: str


class SigningKeys(SigningKeyOut):
    """The key that signs now, and those that did before."""

    previous: list[SigningKeyOut]


@router.get("/v1/subjects/{subject:path}/disclosures", summary="Who was given it", responses=problems(422))
async def get_disclosures(request: Request, subject: SubjectPath, key: PlatformOrOperator) -> SubjectDisclosures:
    """Every dataset that was handed over with this subject in it, and what became of it. While not all of that can be
    told, the answer is 503."""
    return SubjectDisclosures(subject=subject, disclosures=await disclosures_of(context_of(request), subject))


@router.get("/v1/signing-key", summary="The key that signs manifests")
async def get_signing_key(request: Request) -> SigningKeys:
    """Needs no key of yours: whoever has a manifest may check it."""
    current, *previous = (
        SigningKeyOut(key_id=key.id, public_key=key.key, pem=key.pem) for key in context_of(request).public_keys
    )
    return SigningKeys(**current.model_dump(), previous=previous)


async def disclosures_of(context: Context, subject: str) -> list[DisclosureOut]:
    await up_to_date(context)
    found = await asyncio.to_thread(context.disclosures.of, subject)
    if not found:
        return []
    wanted = Wanted(subject=subject, action=Action.ERASE)
    page = await asyncio.to_thread(context.ledger.listed, wanted, context.clock(), None, _PAGE)
    return [_out(disclosure, page.notices) for disclosure in found]


def _out(disclosure: Disclosure, notices: Iterable[NoticeRow]) -> DisclosureOut:
    export = disclosure.export
    assert export.disclosed_at is not None  # noqa: S101 - the index gives what was handed over
    # A choice that was made while the export was prepared is about this very export.
    since = min(export.opened_at, export.disclosed_at)
    asked = [
        notice
        for notice in notices
        if (notice.partner, notice.purpose) == (export.partner, export.purpose) and notice.issued_at >= since
    ]
    last = max(asked, key=lambda notice: (notice.issued_at, notice.id), default=None)
    return DisclosureOut(
        export=export.id,
        partner=export.partner,
        dataset=export.dataset,
        version=export.version,
        purpose=export.purpose,
        disclosed_at=export.disclosed_at,
        imported=export.imported,
        withdrawn=disclosure.withdrawn,
        notice=None if last is None else last.id,
        asked_at=None if last is None else last.issued_at,
        became=None if last is None else _became(last),
    )


def _became(notice: NoticeRow) -> str:
    if notice.completed_at is None and notice.outcome is not None:
        return f"{notice.outcome}_only"
    return notice.outcome or notice.reason or notice.status
