"""Who reads which partition: on one machine, everybody reads all of them."""

from __future__ import annotations

from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP


class Assignor(PartitionAssignor):
    """Everything belongs to this process. A global table's changelog is followed as a standby."""

    def _changelogs(self, *, of_global: bool) -> set[TP]:
        return {
            TP(name, partition)
            for name, table in self.app.tables._changelogs.items()
            if table.is_global is of_global
            for partition in range(self.app.consumer.topic_partitions(name) or 0)
        }

    def assigned_standbys(self) -> set[TP]:
        return self._changelogs(of_global=True)

    def assigned_actives(self) -> set[TP]:
        return set(self.app.consumer.assignment()) - self.assigned_standbys()

    def is_active(self, tp: TP) -> bool:
        return tp in self.assigned_actives()

    def is_standby(self, tp: TP) -> bool:
        return tp in self.assigned_standbys()

    def group_for_topic(self, topic: str) -> int:
        return 0
