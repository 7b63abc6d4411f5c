"""Class-data sharing: Java keeps the classes of one run as they are in memory, and later runs start in half the
time and CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.kafka.broker import Broker
from tests.kafka.distribution import QUICK, Distribution, locked


def share_classes(distribution: Distribution) -> None:
    """See to it that the archive is there, by a broker's life if it is not."""
    with locked(distribution.home):
        if distribution.archive.exists():
            return
        made = distribution.archive.with_suffix(".new")
        made.unlink(missing_ok=True)
        with (
            tempfile.TemporaryDirectory() as scratch,
            Broker(distribution, Path(scratch), jvm=(*QUICK, f"-XX:ArchiveClassesAtExit={made}")) as broker,
        ):
            broker.start()
            broker.stop()
        made.rename(distribution.archive)
