"""Signing secrets, made and replaced, as pure functions but for the chance in a new secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from streams import signing
from streams.events import MOST_SECRETS, SealedSecret
from streams.sealing import Sealer
from streams.signing import Scheme


def new_secrets(schemes: Iterable[Scheme], sealer: Sealer) -> tuple[tuple[SealedSecret, ...], str | None]:
    """A secret for each scheme, sealed; and the one that the partner must be shown, which is that of `v1`."""
    made = []
    shown = None
    for scheme in schemes:
        if scheme is Scheme.V1A:
            key = signing.new_private_key()
            made.append(SealedSecret(scheme=scheme, sealed=sealer.seal(key), public_key=signing.public_key(key)))
        else:
            shown = signing.new_secret()
            made.append(SealedSecret(scheme=scheme, sealed=sealer.seal(shown)))
    return tuple(made), shown


def rotated(
    held: Sequence[SealedSecret], made: Sequence[SealedSecret], now: datetime, overlap: timedelta
) -> tuple[SealedSecret, ...]:
    """The new secrets before those that were held, which sign until the overlap ends; none of them longer than it
    was to sign already. Of each scheme `MOST_SECRETS` stay, the newest."""
    ends = now + overlap
    replaced = [each.model_copy(update={"expires_at": min(each.expires_at or ends, ends)}) for each in held]
    kept: list[SealedSecret] = []
    counted: Counter[Scheme] = Counter()
    for each in (*made, *replaced):
        counted[each.scheme] += 1
        if counted[each.scheme] <= MOST_SECRETS and (each.expires_at is None or each.expires_at > now):
            kept.append(each)
    return tuple(kept)
