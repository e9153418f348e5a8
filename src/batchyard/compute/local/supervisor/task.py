"""A task as the supervisor holds it in memory: its containers, and what they have in common.

Owns no decision (`group` makes them) and no act (`life` does them).
"""

from __future__ import annotations

from batchyard.compute.local.supervisor.records import End, Kept, TaskRecord, unit_ids_for
from batchyard.compute.local.supervisor.unit import Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import SpecShape, TaskShape
    from batchyard.compute.local.supervisor.bundle import Surroundings


class Task:
    """A task and where it stands: waiting for images, open (its containers may start), or ended."""

    __slots__ = (
        "end",
        "is_start_told",
        "is_stopping",
        "opened_clock_ms",
        "record",
        "spec",
        "started_at_ms",
        "stop_grace_ms",
        "surroundings",
        "unit_by_name",
        "units",
    )

    def __init__(self, spec: SpecShape, record: TaskRecord) -> None:
        self.spec = spec
        self.record = record
        unit_ids = unit_ids_for(spec["task_id"], len(spec["containers"]))
        self.units = [
            Unit(
                container,
                task_id=spec["task_id"],
                unit_id=unit_id,
                number=number,
                spool_path=record.spool_path(unit_id),
            )
            for number, (container, unit_id) in enumerate(
                zip(spec["containers"], unit_ids, strict=True)
            )
        ]
        self.unit_by_name = {unit.spec["name"]: unit for unit in self.units}
        #: When all images were here, by the monotonic clock.
        self.opened_clock_ms: int | None = None
        #: What its containers share, once the first of them is about to be made.
        self.surroundings: Surroundings | None = None
        self.is_stopping = False
        self.stop_grace_ms = 0
        self.is_start_told = False
        self.started_at_ms: int | None = None
        self.end: End | None = None

    @property
    def task_id(self) -> str:
        return self.record.task_id

    @property
    def is_group(self) -> bool:
        """It has several containers."""
        return len(self.units) > 1

    @property
    def address(self) -> str | None:
        if self.surroundings is not None:
            return self.surroundings.address
        return self.end.address if self.end else None

    def missing_images(self) -> list[str]:
        """Name the images that are not here yet."""
        names = [unit.spec["image"] for unit in self.units if unit.image is None]
        return list(dict.fromkeys(names))

    def images(self) -> list[str] | None:
        """Give the images of all containers; None while one is missing."""
        images = [unit.image for unit in self.units if unit.image is not None]
        return images if len(images) == len(self.units) else None

    def adopt(self, kept: Kept) -> None:
        """Take over what an earlier supervisor wrote."""
        for unit in self.units:
            if kept.images is not None:
                unit.image = kept.images[unit.number]
            unit.end = kept.end_by_unit.get(unit.number)
            if unit.spool:
                unit.spool.adopt()
        if kept.end is not None:
            self.end = kept.end
            self.started_at_ms = kept.end.started_at_ms

    def describe(self) -> TaskShape:
        return {
            "task_id": self.task_id,
            "units": [unit.describe() for unit in self.units],
            "missing_images": [] if self.end else self.missing_images(),
            "started_at_ms": self.started_at_ms,
            "address": self.address,
            "end": self.end.to_plain() if self.end else None,
        }
