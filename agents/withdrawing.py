"""Who must be asked back of what was handed over, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger import Export
from streams import ids
from streams.blocks import cut, decode_leaf, encode_block
from streams.cloudevents import Envelope
from streams.events import DatasetVersion, DeletionRequested
from streams.exports import Withdrawn
from streams.manifests import withdrawn
from streams.trusting import trusted

_requested = trusted(DeletionRequested)


def opposed(leaves: Iterable[tuple[str, bytes]], chosen: Iterable[str], *, out: bool) -> Iterator[str]:
    """Of the subjects in leaves, which come with their first ones and in order, those who are among the chosen; or,
    unless to be chosen is to be `out`, those who are not. The chosen are sorted too. A leaf that none of them can be in
    is not even unpacked."""
    following = iter(chosen)
    subject = next(following, None)
    for first, data, end in _with_ends(leaves):
        here = set()
        while subject is not None and (end is None or subject < end):
            if subject >= first:
                here.add(subject)
            subject = next(following, None)
        if here or not out:
            yield from (each for each in decode_leaf(data) if (each in here) is out)


def gathered(subjects: Iterable[str]) -> tuple[Withdrawn, list[tuple[int, bytes]]]:
    """A sorted list of subjects: what a manifest says of it, and its blocks with their lengths."""
    blocks: list[tuple[int, bytes]] = []

    def passing() -> Iterator[str]:
        for some in cut(subjects):
            blocks.append((len(some), encode_block(some)))
            yield from some

    return withdrawn(passing()), blocks


def request(export: Export, subject: str, rank: str | None = None) -> Envelope:
    """That the partner deletes a subject who is withdrawn from a settled export, under an id that is always the same.
    `rank` is that of the subject's opt-out, if it stands."""
    assert export.settled_at is not None  # noqa: S101 - before, nobody knows who is withdrawn
    data = _requested(
        subject=subject,
        purpose=export.purpose,
        toggle_id=export.id,
        occurred_at=export.settled_at,
        accepted_at=export.settled_at,
        partner=export.partner,
        datasets=(DatasetVersion(dataset=export.dataset, version=export.version),),
        rank=rank,
    )
    return Envelope(ids.derive("withdrawal", export.id, subject), export.settled_at, data)


def _with_ends(leaves: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes, str | None]]:
    """Each leaf with the first subject of the next one."""
    before: tuple[str, bytes] | None = None
    for leaf in leaves:
        if before is not None:
            yield *before, leaf[0]
        before = leaf
    if before is not None:
        yield *before, None
