"""The files that pages load: few, small, and named by what is in them, so that browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources

from fastapi import APIRouter, Request, Response

from gateway.problems import Problem

router = APIRouter(include_in_schema=False)
_TYPES = {"room.css": "text/css", "room.js": "text/javascript", "icon.svg": "image/svg+xml"}
_FILES = {name: resources.files("gateway").joinpath("static", name).read_bytes() for name in _TYPES}
_PACKED = {name: gzip.compress(content, 9) for name, content in _FILES.items()}
_HEADERS = {
    "vary": "accept-encoding",
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


def address(name: str) -> str:
    """Where a file is; another one when it changes."""
    return f"/dashboard/static/{hashlib.sha256(_FILES[name]).hexdigest()[:12]}/{name}"


def accepts_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


@router.get("/dashboard/static/{digest}/{name}")
async def file(request: Request, digest: str, name: str) -> Response:
    if name not in _FILES:
        raise Problem(404, "not-found", f"there is no file {name:.100}")
    kind = f"{_TYPES[name]}; charset=utf-8"
    if accepts_gzip(request):
        return Response(_PACKED[name], media_type=kind, headers=_HEADERS | {"content-encoding": "gzip"})
    return Response(_FILES[name], media_type=kind, headers=_HEADERS)
