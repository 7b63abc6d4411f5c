"""What is known: the ledger, a projection of the log that can be dropped and rebuilt, and the API keys."""

from ledger.keys import ApiKey, KeyStore, Role
from ledger.lag import LagState, Percentiles
from ledger.store import Ledger, LedgerGap
from ledger.transitions import Progress, Verdict, fits, judge
from ledger.views import Consent, Entry, NoticeRow, NoticeStatus, PartnerLag, TimelineEntry, Totals

__all__ = [
    "ApiKey",
    "Consent",
    "Entry",
    "KeyStore",
    "LagState",
    "Ledger",
    "LedgerGap",
    "NoticeRow",
    "NoticeStatus",
    "PartnerLag",
    "Percentiles",
    "Progress",
    "Role",
    "TimelineEntry",
    "Totals",
    "Verdict",
    "fits",
    "judge",
]
