"""`rescind manifest`: whether an export is what its manifest says. Needs no service, given the public key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from rescind.client import Client
from rescind.options import Json, Url
from rescind.output import complain, print_json, say
from streams import manifests
from streams.errors import InvalidInput
from streams.manifests import Digest
from streams.witness import PublicKey

app = typer.Typer(help="Check what was exported.", no_args_is_help=True)
#: No manifest is so long.
_LONGEST = 16 * 1024 * 1024


@app.callback()
def _manifest() -> None:
    """Check what was exported."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A manifest, as `rescind gate` writes it.")],
    data: Annotated[Path | None, typer.Option(help="The export itself.")] = None,
    withdrawals: Annotated[Path | None, typer.Option(help="The list of those who are withdrawn from it.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="The public key, in base64, or a file with it. Without it the service is asked."),
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Whether a manifest is as the service signed it, and about this very file. Exit code 1 if not.

    Whoever holds the public key (`GET /v1/signing-key`) needs nothing else of the service.
    """
    manifest = _manifest_in(file)
    keys = [_key(text) for text in key] if key else _asked(url)
    wrong = manifests.verify(manifest, keys, None if data is None else _digest(data))
    if withdrawals is not None:
        wrong += _withdrawal_problems(manifest, withdrawals)
    if as_json:
        print_json({"ok": not wrong, "problems": list(wrong), "manifest": manifest})
        raise typer.Exit(1 if wrong else 0)
    for problem in wrong:
        complain(f"{file}: {problem}")
    if wrong:
        raise typer.Exit(1)
    rows = manifest.get("rows") or {}
    counts = f"{rows['cleared']:,} of {rows['read']:,} rows, " if rows else ""
    say(
        f"{manifest['dataset']} {manifest['version']} for {manifest['partner']} ({manifest['purpose']}): {counts}"
        f"{manifest['subjects']:,} subjects, {manifest['withdrawn']['count']:,} withdrawn"
    )
    say(f"signed with the key {manifest['key_id']}" + ("" if data is None else f"; {data} is what was exported"))


def _manifest_in(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            raw = opened.read(_LONGEST + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
    try:
        # Two of a name would be read in two ways; the canonical form has one.
        manifest = orjson.loads(raw) if len(raw) <= _LONGEST else None
    except orjson.JSONDecodeError:
        manifest = None
    if not isinstance(manifest, dict):
        raise InvalidInput(f"{file} is no manifest, which is a JSON object")
    return manifest


def _key(text: str) -> PublicKey:
    path = Path(text)
    try:
        return PublicKey.of(path.read_text("ascii") if path.is_file() else text)
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(f"{text} holds no public key: 32 bytes in base64") from None


def _asked(url: str | None) -> Sequence[PublicKey]:
    with Client(url or "", None) as client:
        return [PublicKey.of(text) for text in client.signing_keys()]


def _digest(path: Path) -> Digest:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Digest(digest, file.tell())
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None


def _withdrawal_problems(manifest: dict[str, Any], path: Path) -> list[str]:
    said = manifest.get("withdrawn")
    found = _digest(path).sha256
    if isinstance(said, dict) and said.get("sha256") == found:
        return []
    return [f"{path} is not the list of those who are withdrawn: its SHA-256 is another one"]
