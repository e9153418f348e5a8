"""The state of everything live: jobs that are not terminal, environments, queues, hosts.

Owns the collections and what each one holds. Only `evolve` (and `restore`, at start) writes them. A
finished job leaves memory and stays in the store. Refuses to know how the state came about.
"""

from dataclasses import dataclass, field

from batchyard.core.deadlines import Deadlines
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn, TaskId
from batchyard.model.records import ExitRule, JobProgress
from batchyard.model.status import EnvironmentKind, ResourceState


@dataclass(slots=True, kw_only=True)
class Job:
    """A live job."""

    id: JobId
    #: Submission number: the order among jobs of a queue.
    seq: int
    queue_arn: QueueArn
    #: What one attempt needs.
    demand: Amount
    #: 1..10.
    attempts_max: int
    #: Decide, in this order, whether a failed attempt is tried again; none: it is.
    exit_rules: tuple[ExitRule, ...]
    #: Per attempt, from its start; None is no timeout.
    timeout_ms: int | None
    #: Dependencies that are not over yet; empty unless PENDING.
    unmet: list[JobId]
    progress: JobProgress


@dataclass(slots=True, kw_only=True)
class Environment:
    """A compute environment."""

    arn: EnvironmentArn
    kind: EnvironmentKind
    state: ResourceState
    #: `maxvCpus`, in thousandths. Lowering it below what is used stops nothing that runs.
    cpu_milli_max: int
    #: Why it is INVALID; None if it is VALID.
    fault: str | None
    is_draining: bool = False
    #: Sum of the demands of the live attempts in it.
    used: Amount = field(default_factory=Amount)
    #: Number of live attempts in it.
    attempt_count: int = 0


@dataclass(slots=True, kw_only=True)
class Queue:
    """A job queue."""

    arn: QueueArn
    #: Creation order.
    seq: int
    state: ResourceState
    #: Higher goes first.
    priority: int
    #: In the order in which they are tried.
    environment_arns: tuple[EnvironmentArn, ...]
    is_draining: bool = False
    #: Holds all and only the RUNNABLE jobs of the queue.
    line: WaitingLine = field(default_factory=WaitingLine)
    #: Holds all and only the live jobs of the queue, in the order in which they were accepted.
    jobs: dict[JobId, None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Host:
    """A machine that a backend offers."""

    id: HostId
    capacity: Amount
    #: Sum of the demands of the live attempts on it.
    used: Amount = field(default_factory=Amount)


@dataclass(slots=True)
class State:
    """Everything live."""

    #: Holds all and only jobs that are not terminal.
    jobs: dict[JobId, Job] = field(default_factory=dict)
    #: The PENDING jobs that wait for each live job, in the order in which they were accepted. A
    #: job that failed meanwhile stays listed until its dependency ends; readers skip what is not
    #: in `jobs`.
    dependents: dict[JobId, list[JobId]] = field(default_factory=dict)
    #: Holds all and only the live attempts' tasks.
    job_by_task: dict[TaskId, JobId] = field(default_factory=dict)
    environments: dict[EnvironmentArn, Environment] = field(default_factory=dict)
    queues: dict[QueueArn, Queue] = field(default_factory=dict)
    hosts: dict[HostId, Host] = field(default_factory=dict)
    #: Deadlines of started attempts with a timeout; entries of ended ones are dropped lazily.
    deadlines: Deadlines = field(default_factory=Deadlines)

    def job_of_task(self, task_id: TaskId) -> Job | None:
        job_id = self.job_by_task.get(task_id)
        return None if job_id is None else self.jobs[job_id]

    def next_deadline_ms(self) -> int | None:
        """Tell when a `Tick` is needed next, in Unix milliseconds; None if nothing is timed."""
        return self.deadlines.next_ms(self.job_by_task.__contains__)
