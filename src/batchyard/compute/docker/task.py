"""A task as the server holds it in memory: its containers, and where they stand.

Owns no decision (`local.supervisor.group` makes them) and no act (`life` does them). Everything
here comes back from the record and from the engine.

Rule: all times are of the wall clock, because they must mean the same after a restart.
"""

import asyncio
from typing import Final

from batchyard.compute.docker.records import (
    Ended,
    Fact,
    Launched,
    Opened,
    Signalled,
    Started,
    StopAsked,
    TaskRecord,
    UnitEnd,
    UnitEnded,
)
from batchyard.compute.local.shapes import ContainerShape, SpecShape
from batchyard.compute.local.supervisor.records import unit_ids_for
from batchyard.compute.local.targets import target_of
from batchyard.compute.port import ContainerEnded, TaskEnded, TaskStarted
from batchyard.model.ids import TaskId

NAME_PREFIX: Final = "batchyard-"


class Unit:
    """One container of a task: waiting, launched, or ended."""

    def __init__(self, spec: ContainerShape, *, unit_id: str, number: int) -> None:
        self.spec = spec
        self.number = number
        #: What the engine knows it by; derived, so that it can be made only once.
        self.engine_name = f"{NAME_PREFIX}{unit_id}"
        self.target = target_of(spec["log"])
        #: Its id there, once it was made.
        self.container_id: str | None = None
        self.gpus: tuple[str, ...] = ()
        #: The engine was told to start it, or was about to be.
        self.is_launched = False
        self.started_at_ms: int | None = None
        self.signalled_at_ms: int | None = None
        #: SIGTERM has arrived, from this server.
        self.is_signal_sent = False
        self.is_killed = False
        #: Something happened to it: ask the engine.
        self.is_look_due = False
        #: The engine said that it is over.
        self.is_over_told = False
        self.end: UnitEnd | None = None
        #: Set when the engine says that its process is gone.
        self.has_exited = asyncio.Event()
        #: What it prints has a place in the sink.
        self.has_stream = self.target is None
        #: All of what it printed is in the sink.
        self.is_output_done = self.target is None
        #: The engine refused to start it: it has a stream all the same, an empty one.
        self.is_refused = False

    @property
    def started_clock_ms(self) -> int | None:
        return self.started_at_ms

    @property
    def is_waiting(self) -> bool:
        return not self.is_launched and self.end is None

    @property
    def is_unsure(self) -> bool:
        """It may have been started: nobody has seen what came of it."""
        return self.is_launched and self.started_at_ms is None and self.end is None

    @property
    def is_running(self) -> bool:
        return self.started_at_ms is not None and self.end is None

    @property
    def has_output(self) -> bool:
        """Tell whether a stream is there, or will be."""
        return self.started_at_ms is not None or self.is_refused

    @property
    def is_settled(self) -> bool:
        """Nothing of it is outstanding: it is over, and its output stored."""
        return self.end is not None and (not self.has_output or self.is_output_done)


class Task:
    """A task and where it stands."""

    def __init__(self, spec: SpecShape, record: TaskRecord) -> None:
        self.spec = spec
        self.record = record
        unit_ids = unit_ids_for(spec["task_id"], len(spec["containers"]))
        self.units = [
            Unit(each, unit_id=unit_id, number=number)
            for number, (each, unit_id) in enumerate(zip(spec["containers"], unit_ids, strict=True))
        ]
        self.unit_by_name = {unit.spec["name"]: unit for unit in self.units}
        #: When all images were here.
        self.opened_clock_ms: int | None = None
        #: What its containers share is there, and they are made.
        self.is_prepared = False
        self.is_stopping = False
        self.stop_grace_ms = 0
        self.address: str | None = None
        self.started_at_ms: int | None = None
        self.ended: Ended | None = None
        self.is_lost = False
        self.is_start_told = False
        self.is_end_told = False
        #: Something happened since it was last advanced; somebody advances it now.
        self.is_dirty = False
        self.is_busy = False
        self.timer: asyncio.TimerHandle | None = None

    @property
    def task_id(self) -> TaskId:
        return TaskId(self.record.task_id)

    @property
    def is_group(self) -> bool:
        return len(self.units) > 1

    def adopt(self, facts: list[Fact]) -> None:
        """Take over what an earlier server noted."""
        for fact in facts:
            if isinstance(fact, Opened):
                self.opened_clock_ms = fact.at_ms
            elif isinstance(fact, StopAsked):
                self.is_stopping, self.stop_grace_ms = True, fact.grace_ms
            elif isinstance(fact, Started):
                self.started_at_ms, self.address = fact.at_ms, fact.address
            elif isinstance(fact, Ended):
                self.ended, self.is_lost = fact, fact.is_lost
            else:
                _adopt_unit(self.units[fact.unit], fact)
        if self.ended is None:
            for unit in self.units:
                # Its output may not be stored yet.
                unit.is_look_due = unit.is_launched and unit.end is not None

    def started_report(self) -> TaskStarted:
        assert self.started_at_ms is not None
        return TaskStarted(task_id=self.task_id, at_ms=self.started_at_ms, address=self.address)

    def ended_report(self) -> TaskEnded:
        assert self.ended is not None
        ends = [
            ContainerEnded(
                name=unit.spec["name"],
                is_essential=unit.spec["is_essential"],
                exit_code=unit.end.exit_code,
                reason=unit.end.reason,
                was_stopped=unit.end.was_stopped,
            )
            for unit in self.units
            if unit.end is not None
        ]
        return TaskEnded(
            task_id=self.task_id,
            at_ms=self.ended.at_ms,
            exit_code=None if self.is_group else ends[0].exit_code,
            reason=None if self.is_group else ends[0].reason,
            is_lost=self.ended.is_lost,
            containers=tuple(ends) if self.is_group else (),
        )


def _adopt_unit(unit: Unit, fact: Launched | Signalled | UnitEnded) -> None:
    if isinstance(fact, Launched):
        unit.is_launched = True
        unit.container_id, unit.gpus = fact.container_id, fact.gpus
    elif isinstance(fact, Signalled):
        unit.signalled_at_ms = fact.at_ms
    else:
        unit.end = fact.end
