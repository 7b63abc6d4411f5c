"""What is known: the ledger, a projection of the log that can be dropped and rebuilt, and the API keys."""

from ledger.again import Askable, Span
from ledger.closeup import Attempt, Board, Closeup, Funnel, Oldest
from ledger.disclosed import Disclosure, Disclosures, Export, ExportStatus
from ledger.disclosing import DisclosureIndex
from ledger.extending import Extended
from ledger.history import Block
from ledger.keys import ApiKey, KeyStore, Role
from ledger.lag import Percentiles, Window
from ledger.listing import Listed, Wanted
from ledger.metering import Clocked, Metered
from ledger.partner_state import LagState
from ledger.reading import LedgerReader
from ledger.reporting import ReportRow, ReportTotals, Summary
from ledger.store import Ledger, LedgerGap
from ledger.transitions import Progress, Verdict, fits, judge
from ledger.views import (
    Amount,
    Became,
    Cancelled,
    Consent,
    Contradiction,
    Done,
    Entry,
    KindLag,
    NoticeRow,
    NoticeStatus,
    PartnerLag,
    Poisoned,
    Redriven,
    Refused,
    Replies,
    ReplyNotices,
    Statement,
    TimelineEntry,
    Totals,
    UnclearReply,
    WindowLag,
)

__all__ = [
    "Amount",
    "ApiKey",
    "Askable",
    "Attempt",
    "Became",
    "Block",
    "Board",
    "Cancelled",
    "Clocked",
    "Closeup",
    "Consent",
    "Contradiction",
    "Disclosure",
    "DisclosureIndex",
    "Disclosures",
    "Done",
    "Entry",
    "Export",
    "ExportStatus",
    "Extended",
    "Funnel",
    "KeyStore",
    "KindLag",
    "LagState",
    "Ledger",
    "LedgerGap",
    "LedgerReader",
    "Listed",
    "Metered",
    "NoticeRow",
    "NoticeStatus",
    "Oldest",
    "PartnerLag",
    "Percentiles",
    "Poisoned",
    "Progress",
    "Redriven",
    "Refused",
    "Replies",
    "ReplyNotices",
    "ReportRow",
    "ReportTotals",
    "Role",
    "Span",
    "Statement",
    "Summary",
    "TimelineEntry",
    "Totals",
    "UnclearReply",
    "Verdict",
    "Wanted",
    "Window",
    "WindowLag",
    "fits",
    "judge",
]
