"""A trace: jobs with the times at which they came and how long they ran, whoever wrote them down.

Owns the terms that every reader of traces fills and every simulation reads. Refuses to know file
formats, and under which configuration the jobs will run: a queue or a share is a name here.

Units: times are milliseconds since the beginning of the trace, durations milliseconds, amounts as
in `model.amounts`. What a source does not know is None, never a number that stands for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.records import NodePlan


class Run(Struct, frozen=True, kw_only=True, gc=False):
    """How one attempt of a job went."""

    #: From the start of its process to its end.
    run_ms: int
    #: 0 is success; None: no process ever told one.
    exit_code: int | None = 0
    #: As AWS shows it, `<ErrorName>: <text>`; None: its process exited.
    reason: str | None = None


class TraceJob(Struct, frozen=True, kw_only=True, gc=False):
    """A job as it was submitted, and what became of it."""

    #: Unique in its trace.
    id: str
    #: Since the beginning of the trace; never negative.
    submitted_ms: int
    #: Of its last attempt: from the start of its process to its end. Of each child of an array
    #: without `child_runs`.
    run_ms: int
    #: What one attempt needs: of an array, each child; of a multi-node job, all its nodes together.
    demand: Amount
    #: The nodes of a multi-node job, each of which runs like the job; None: it is none.
    nodes: NodePlan | None = None
    #: How many instances of which type of SageMaker it takes as a service job: in a queue of those,
    #: where it must have some. In other queues it is a job like any other, of this demand.
    capacity_use: tuple[UnitQuantity, ...] = ()
    #: Of a service job: how often it may be preempted and go on; None: any number.
    preemption_retries_max: int | None = None
    #: Of its last attempt, and of every one that follows.
    exit_code: int | None = 0
    #: See `Run`.
    reason: str | None = None
    #: The attempts before the last one, in their order: they ended like that, whenever they run.
    earlier: tuple[Run, ...] = ()
    #: By index: how the children of an array went, each in one attempt. Empty: like the array.
    child_runs: tuple[Run, ...] = ()
    #: 1..10: how often it is tried.
    attempts_max: int = 1
    #: Each attempt is stopped after it, counted from its start; None: never.
    timeout_ms: int | None = None
    #: What its owner said that it would run at most; None: nothing. Decides nothing here.
    requested_ms: int | None = None
    #: The name of its queue; empty: it has none.
    queue: str = ""
    #: Whom its use is counted for; None: its user.
    share_identifier: str | None = None
    #: 0..9999, higher goes first within its share.
    scheduling_priority: int = 0
    #: Ids of jobs of the trace that must succeed first. They are submitted at the same time or
    #: before.
    depends_on: tuple[str, ...] = ()
    #: 2..10,000: the children of an array; None: it is none.
    array_size: int | None = None
    user: str | None = None
    group: str | None = None

    def run_of(self, attempt_number: int, index: int | None = None) -> Run:
        """Tell how an attempt goes, from 1; `index` is of an array's child."""
        if index is not None and self.child_runs:
            return self.child_runs[index]
        if attempt_number <= len(self.earlier):
            return self.earlier[attempt_number - 1]
        return Run(run_ms=self.run_ms, exit_code=self.exit_code, reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Jobs in the order of their submission, and what is known of where they ran."""

    #: What it is called in reports: its file, without folders.
    name: str
    #: By `submitted_ms`; equal times in the order of the source.
    jobs: Sequence[TraceJob]
    #: When it began, in Unix milliseconds; 0: nobody knows.
    began_ms: int = 0
    #: How many processors the machine had that it comes from; None: nobody knows.
    processors: int | None = None
    #: What a reader left out or changed, each a sentence.
    notes: tuple[str, ...] = ()


class BadTrace(Exception):
    """A source is not what it should be. The text names the file, and the line where it is one."""
