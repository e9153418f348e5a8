"""What the outside is asked to do. Each effect is keyed by its task and safe to repeat.

Refuses to know who carries it out. Effects are sent only after the events that led to them are
durable.
"""

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId, TaskId


class StartTask(Struct, frozen=True, kw_only=True):
    """Run the live attempt of the job, child or node on this host."""

    task_id: TaskId
    job_id: JobId
    attempt_number: int
    environment_arn: EnvironmentArn
    host_id: HostId
    #: For the nodes of a multi-node job, but for the main one: where that is reached.
    main_address: str | None = None
    #: Of a service job: what it, or this node of it, has here of its instance.
    share: Amount | None = None


class StopTask(Struct, frozen=True, kw_only=True):
    """Ask the task to end: SIGTERM, and SIGKILL after `grace_ms`."""

    task_id: TaskId
    host_id: HostId
    grace_ms: int


class ForgetTask(Struct, frozen=True, kw_only=True):
    """The task's end is durable here; the backend may drop what it kept of it."""

    task_id: TaskId


Effect = StartTask | StopTask | ForgetTask
