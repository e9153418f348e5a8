"""Who would have started earlier, and who later: two runs of one trace, job by job.

Owns the comparison of two schedules. Refuses to say which of them is better.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from batchyard.sim.config import Config
from batchyard.sim.job_table import JobTable
from batchyard.sim.simulation import Simulation
from batchyard.sim.trace import Trace, TraceJob


class Moved(Struct, frozen=True, kw_only=True):
    """A job, or a child of an array, in both schedules. Times are since the trace's beginning."""

    id: str
    index: int | None
    queue: str
    share_identifier: str | None
    #: None: it never starts.
    before_ms: int | None
    after_ms: int | None

    @property
    def later_ms(self) -> int | None:
        """How much later it starts; None: it starts in one schedule at most."""
        if self.before_ms is None or self.after_ms is None:
            return None
        return self.after_ms - self.before_ms


class GroupGain(Struct, frozen=True, kw_only=True):
    """The jobs of one queue and share together."""

    queue: str
    share_identifier: str | None
    job_count: int
    earlier_count: int
    later_count: int
    #: Over those that start in both schedules; negative: earlier.
    later_ms_mean: float


class Gains(Struct, frozen=True, kw_only=True):
    """Two schedules of one trace."""

    before: str
    after: str
    groups: tuple[GroupGain, ...]
    #: In the order of the trace.
    jobs: tuple[Moved, ...]


def compare_schedules(trace: Trace, before: Config, after: Config, *, seed: int = 0) -> Gains:
    """Run a trace under both, and compare when each job starts for the first time."""
    first, second = (_starts(trace, config, seed) for config in (before, after))
    table = JobTable(trace.jobs)
    moved = tuple(
        _moved(trace.jobs[number], row - table.first_row(number), first[row], second[row])
        for row, number in enumerate(table.numbers())
    )
    return Gains(before=before.name, after=after.name, groups=_groups_of(moved), jobs=moved)


def _starts(trace: Trace, config: Config, seed: int) -> Sequence[int]:
    run = Simulation(trace, config, seed=seed)
    run.driver.run()
    return run.meter.table.started_ms


def _moved(job: TraceJob, index: int, before_ms: int, after_ms: int) -> Moved:
    return Moved(
        id=job.id,
        index=None if job.array_size is None else index,
        queue=job.queue,
        share_identifier=job.share_identifier or job.user,
        before_ms=None if before_ms < 0 else before_ms,
        after_ms=None if after_ms < 0 else after_ms,
    )


def _groups_of(moved: Iterable[Moved]) -> tuple[GroupGain, ...]:
    found: dict[tuple[str, str | None], list[Moved]] = {}
    for each in moved:
        found.setdefault((each.queue, each.share_identifier), []).append(each)
    return tuple(_group(*key, of) for key, of in found.items())


def _group(queue: str, share_identifier: str | None, of: Sequence[Moved]) -> GroupGain:
    laters = [each.later_ms for each in of if each.later_ms is not None]
    return GroupGain(
        queue=queue,
        share_identifier=share_identifier,
        job_count=len(of),
        earlier_count=sum(each < 0 for each in laters),
        later_count=sum(each > 0 for each in laters),
        later_ms_mean=sum(laters) / len(laters) if laters else 0.0,
    )
