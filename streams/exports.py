"""What is said of exports on `rescind.disclosures`: one dataset version, for one partner and one purpose.

An export is *opened*, its rows pass the gate, the subjects that went out are *disclosed* in blocks, it is *closed* when
it is handed over, and *settled* when it is known who had chosen otherwise by then. Then those are asked for back. All
of it stands in one partition, under the dataset's name, so everybody reads it in the same order; and of what may be
said once only, the first word counts.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams import ids
from streams.events import Data
from streams.moments import Moment
from streams.names import Dataset, EventId, PartnerId, Purpose, Version

Count = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: What the gate lets through where nothing is known of a subject: all, or nothing.
Regime = Literal["opt-out", "opt-in"]
#: As of when: by topic and partition, the offset of the first record that was not considered.
Watermark = Annotated[dict[str, dict[str, Count]], Field(max_length=16)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rows(_Part):
    """What the gate read, let through, and dropped, by reason."""

    read: Count
    cleared: Count
    dropped: Annotated[dict[str, Count], Field(max_length=100)] = {}


class Output(_Part):
    """The file that came out of the gate."""

    sha256: Sha256
    bytes: Count
    format: Annotated[str, Field(min_length=1, max_length=50)]


class Withdrawn(_Part):
    """Subjects that chose otherwise between watermark and hand-over. The digest is of their list, sorted, as the
    service gives it out; see `streams.manifests.listed`."""

    count: Count
    sha256: Sha256


#: A block of `streams.blocks`, in base64.
Block = Annotated[str, Field(min_length=1, max_length=2 * 1024 * 1024)]
#: Blocks of one export: eight billion subjects.
MOST_BLOCKS = 1_000_000
Number = Annotated[int, Field(ge=0, lt=MOST_BLOCKS)]


def export_id(dataset: str, version: str, partner: str, purpose: str) -> str:
    """Who opens an export again opens the same one."""
    return ids.derive("export", dataset, version, partner, purpose)


class _OfExport(Data):
    export: EventId
    dataset: Dataset

    def key(self) -> str:
        return self.dataset


class ExportOpened(_OfExport):
    """Somebody prepares to hand a dataset over. What left before Rescind knew of it is `imported`, and left when
    `exported_at` says."""

    TYPE: ClassVar[str] = "io.rescind.export.opened"
    version: Version
    partner: PartnerId
    purpose: Purpose
    #: What the gate lets through where nothing is known of a subject.
    regime: Regime
    opened_at: Moment
    imported: Literal[True] | None = None
    exported_at: Moment | None = None


class SubjectsDisclosed(_OfExport):
    """Subjects of the export. Until it is closed, a block takes the place of the one with its number."""

    TYPE: ClassVar[str] = "io.rescind.subjects.disclosed"
    number: Number
    subjects: Annotated[int, Field(ge=1)]
    block: Block


class ExportClosed(_OfExport):
    """The export is handed over: blocks 0 to below `blocks`, with so many subjects in all. It counts only if they are
    there, and in order. `watermark` is as of when the rows were gated."""

    TYPE: ClassVar[str] = "io.rescind.export.closed"
    watermark: Watermark
    blocks: Count
    subjects: Count
    rows: Rows | None = None
    output: Output | None = None
    closed_at: Moment


class SubjectsWithdrawn(_OfExport):
    """Some of those who had chosen otherwise before the hand-over. `withdrawal` is the digest of their whole list:
    several ledgers may look at once, and not see the same."""

    TYPE: ClassVar[str] = "io.rescind.subjects.withdrawn"
    withdrawal: Sha256
    number: Number
    subjects: Annotated[int, Field(ge=1)]
    block: Block


class ExportSettled(_OfExport):
    """Who is withdrawn from the export: so many `blocks` of this list, which counts if they are there. The manifest is
    as it was signed, byte for byte, and never another one."""

    TYPE: ClassVar[str] = "io.rescind.export.settled"
    withdrawn: Withdrawn
    blocks: Count
    manifest: Annotated[str, Field(max_length=100_000)]
    settled_at: Moment


class WithdrawalsRequested(_OfExport):
    """The partner is asked to delete everybody who is withdrawn: each `DeletionRequested` is durable."""

    TYPE: ClassVar[str] = "io.rescind.withdrawals.requested"
    requested_at: Moment


EXPORTS = (ExportOpened, SubjectsDisclosed, ExportClosed, SubjectsWithdrawn, ExportSettled, WithdrawalsRequested)
