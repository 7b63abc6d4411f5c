"""What signs a partner's requests."""

from __future__ import annotations

from datetime import datetime

from streams.events import Partner
from streams.sealing import SealBroken, Sealer


def live_secrets(partner: Partner, sealer: Sealer, now: datetime) -> tuple[str, ...]:
    """The secrets, opened, that sign what is sent to a partner now; the newest first. Raises `SealBroken`."""
    opened = []
    for secret in partner.live_secrets(now):
        try:
            opened.append(sealer.open(secret.sealed))
        except SealBroken:
            # One that is being replaced may be missing: whoever rotates because the sealing key is lost must not
            # wait for the overlap to end.
            if secret.expires_at is None:
                raise
    return tuple(opened)
