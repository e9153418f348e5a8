"""When Spot instances are reclaimed of themselves, for testing how jobs take it.

Decides the moment for each Spot instance: drawn from its id and a seed, as a constant rate an hour
draws it. So it is the same after a restart, with nothing stored, and nothing is drawn for the core,
which is told like by an operator. Refuses to know what comes of an interruption.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from batchyard.core import events as e
from batchyard.core.inputs import InterruptInstance
from batchyard.model.instances import InstanceId
from batchyard.model.limits import SPOT_NOTICE_SECONDS
from batchyard.model.records import InstanceRecord

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionRate:
    """How often each Spot instance is reclaimed, in times an hour; 0 is never."""

    per_hour: float = 0.0
    seed: int = 0
    notice_ms: int = SPOT_NOTICE_SECONDS * 1000


class Interruptions:
    """The Spot instances that will be reclaimed, soonest first."""

    def __init__(self, rate: InterruptionRate) -> None:
        self._rate = rate
        self._due: list[tuple[int, InstanceId]] = []

    def expect(self, record: InstanceRecord) -> None:
        """Draw the moment of an instance, if it is Spot capacity."""
        if self._rate.per_hour and record.is_spot:
            chance = Random(f"{self._rate.seed} {record.id}")  # noqa: S311 -- no secret
            hours = chance.expovariate(self._rate.per_hour)
            heapq.heappush(self._due, (record.launched_ms + round(hours * _HOUR_MS), record.id))

    def note(self, happened: Iterable[e.Event]) -> None:
        """Take up the instances that were launched."""
        if self._rate.per_hour:
            for event in happened:
                if isinstance(event, e.InstanceLaunched):
                    self.expect(event.record)

    def pop_due(self, now_ms: int) -> list[InterruptInstance]:
        """Give the interruptions whose moment has come; of what is gone already, too."""
        due: list[InterruptInstance] = []
        while self._due and self._due[0][0] <= now_ms:
            _, instance_id = heapq.heappop(self._due)
            due.append(InterruptInstance(instance_id=instance_id, notice_ms=self._rate.notice_ms))
        return due

    def next_ms(self) -> int | None:
        """Tell when the next one is due; None: none is."""
        return self._due[0][0] if self._due else None
