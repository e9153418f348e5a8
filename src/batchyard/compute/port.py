"""The port to whatever runs containers: this machine, Docker, Kubernetes, Slurm.

Owns the words that the engine and a backend exchange. A backend carries out and reports; it never
decides what runs, when, or again. Refuses to know jobs, queues and retries: a *task* is one
attempt's containers, named by a task id that the engine derives from the attempt.

Rules that every backend keeps (`tests/ports/test_backend_port.py` checks them on each one):

1. `start` is safe to repeat: a task id is run at most once, for ever, until it is forgotten.
2. A task outlives the server. After a restart, `list_tasks` names every task not yet forgotten.
3. Reports are delivered at least once, in order for each task, and again after a restart, until
   `forget`. A task ends with exactly one distinct `TaskEnded`, also when it never started.
   What it waits for before it starts (`TaskFetching`) is told while it does, and again after a
   restart if it still does.
4. All output of a task has reached the `OutputSink`, or was given up with a line that says so,
   before its `TaskEnded` is reported.
5. `stop` sends SIGTERM to the container's first process, and SIGKILL after the grace time.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from batchyard.core.inputs import ContainerEnded as ContainerEnded
from batchyard.core.inputs import TaskEnded as TaskEnded
from batchyard.core.inputs import TaskFetching as TaskFetching
from batchyard.core.inputs import TaskStarted as TaskStarted
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, TaskId


class Trouble(Exception):
    """The outside failed: runtime, disk, network, machine. The text is fit for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTarget:
    """Where a task's output goes: a stream of CloudWatch Logs."""

    account: str
    region: str
    group: str
    stream: str
    #: An RE2 pattern that finds the lines with which an event begins: those up to the next one are
    #: one event. None: each line is one.
    starts_event: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTarget:
    """Where a task's output goes instead: files of the server, in the form of docker's json-file.

    A file that has reached `bytes_max` is followed by a new one (None: never), and the oldest is
    dropped when there would be more than `files_max`.
    """

    container: str
    bytes_max: int | None = None
    files_max: int = 1


Target = LogTarget | FileTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """One line of a container's output, without its line break, and when it was read.

    Where lines are grouped to events, an event: lines that each end in a line break.
    """

    at_ms: int
    text: str
    #: It came from stderr. Told for files alone: a stream of CloudWatch Logs does not show it.
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Something made visible in the container at `destination`: a host path, or a task's volume.

    `source` is a path of the host. Without one, `volume` names a volume that lives and dies with
    the task: mounts of the same name, in any container of the task, show the same files, and it
    begins with what the image has at the first mount's destination.
    """

    source: str | None = None
    volume: str = ""
    destination: str
    is_read_only: bool = False
    #: It lies in the folder that the backend's data folder has for training jobs; jobs themselves
    #: cannot ask for that. Else `source` must be among what the operator lets jobs mount.
    is_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """A file system in memory, mounted at `destination` with mount options (`rw`, `mode=1777`,
    …)."""

    destination: str
    size_mib: int
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the host in the container. `permissions` is made of `r`, `w` and `m`."""

    source: str
    destination: str
    permissions: str = "rwm"


class Condition(StrEnum):
    """What another container of the task must have come to before a container starts."""

    #: It runs, or has run.
    START = "START"
    #: It has exited, with whatever code.
    COMPLETE = "COMPLETE"
    #: It has exited with 0.
    SUCCESS = "SUCCESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartsAfter:
    """A container that waits for another one of its task."""

    container: str
    condition: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAuth:
    """How to log in to the registry of an image. Shown nowhere: not in a text, not in a log."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container of a task.

    `command` replaces the image's CMD (its ENTRYPOINT stays); None keeps the image's own, but
    with an `entrypoint`, which replaces the image's own, there is none then. `limits`
    are real: memory is a hard limit; CPU is a weight, or a hard ceiling where the task
    `is_cpu_capped`; GPUs are whole devices that no other task has meanwhile. `user` has docker's
    forms (`user`, `uid`, `user:group`, …); None is the image's user. `swap_mib` None is no swap, as
    AWS Batch has it where `maxSwap` is left out; `swappiness` is 0..100. `log` None: nothing of the
    output is kept.
    """

    #: Unique in its task.
    name: str = "default"
    image: str
    limits: Amount
    log: Target | None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    is_root_read_only: bool = False
    is_privileged: bool = False
    has_init: bool = False
    mounts: tuple[Mount, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    devices: tuple[Device, ...] = ()
    shared_memory_mib: int = 64
    swap_mib: int | None = None
    swappiness: int | None = None
    #: Its end, whatever the code, ends the task: the other containers are stopped.
    is_essential: bool = True
    #: All must hold before the container is started.
    starts_after: tuple[StartsAfter, ...] = ()
    #: How long `starts_after` may take to come true before the container is given up (and the task
    #: fails, if it is essential); None: for ever. As the ECS agent reads it, also how long after
    #: its own start this container may keep others waiting for its end.
    start_timeout_ms: int | None = None
    #: From SIGTERM to SIGKILL, instead of what `stop` says; None: as `stop` says.
    stop_timeout_ms: int | None = None
    #: Used for pulling the image, instead of what the backend knows by itself; kept no longer.
    registry_auth: RegistryAuth | None = None


class Network(StrEnum):
    """Where a task's sockets live."""

    #: In the host's network, as AWS has it for single-node jobs on EC2.
    HOST = "HOST"
    #: In a network of its own with an address of its own, which the other tasks of that kind, and
    #: the host, can reach on all ports.
    OWN = "OWN"


class Sharing(StrEnum):
    """Which processes, or which IPC objects, the containers of a task see."""

    #: Each its own.
    NONE = "NONE"
    #: Those of the task.
    TASK = "TASK"
    #: Those of the host.
    HOST = "HOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingChannel:
    """Data of the host that a training job reads: a folder, or a single file."""

    name: str
    path: str
    is_read_only: bool = True
    #: What its owner calls it, an S3 URI or a file system with a path: told when nothing is there.
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetting:
    """What surrounds the container of a training job, by SageMaker's contract (`/opt/ml`)."""

    #: The instances of an attempt that have the same share their model, and know each other.
    attempt_id: TaskId
    instance_count: int
    #: Of the training job: names where its results are kept.
    job_name: str
    #: The files of `/opt/ml/input/config`, by name.
    config: Mapping[str, str]
    channels: tuple[TrainingChannel, ...] = ()
    #: Where checkpoints are kept, and what shows them in the container; None: nowhere.
    checkpoint_path: str | None = None
    checkpoint_destination: str = "/opt/ml/checkpoints"
    #: The folder that gets the results, in a folder of the job's name; None: the server's own.
    results_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """Everything a backend needs to run one attempt: one container, or several that share a life.

    The task has started when all essential containers run. It ends when every container has: with
    the first essential one that ends, the others are stopped; a task without a running essential
    container never goes on.
    """

    task_id: TaskId
    containers: tuple[ContainerSpec, ...]
    is_cpu_capped: bool = False
    network: Network = Network.HOST
    processes: Sharing = Sharing.NONE
    ipc: Sharing = Sharing.NONE
    #: What the task's machine is called; None: by its id.
    host_name: str | None = None
    #: A file of the backend's own (see `Mount.is_own`) that is `/etc/hosts` for the task: with a
    #: network of its own the backend adds a line with the task's address before anything runs.
    hosts_path: str | None = None
    #: Set for training jobs: see `compute.training`. Other backends never get to see it.
    training: TrainingSetting | None = None


#: A report is an input of the core as it stands.
Report = TaskFetching | TaskStarted | TaskEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine that a backend offers, and what of it may be given to jobs."""

    host_id: HostId
    capacity: Amount


#: How the reason begins where a container was made, its output had a place, and then it did not
#: start: as docker, which makes the log stream before it runs the command.
START_REFUSED = "CannotStartContainerError"


class OutputSink(Protocol):
    """Takes the output of tasks; exactly once, across crashes of either side.

    `position` counts what the backend has read of a container's output, in units of its own (bytes
    of its spool, say); the sink stores it, for each task and target, together with the lines, in
    one transaction.
    """

    async def read_position(self, task_id: TaskId, target: Target) -> int:
        """Tell up to where the output of the task is stored; 0 for a task it never heard of."""
        ...

    async def append(
        self, task_id: TaskId, target: Target, *, position: int, lines: Sequence[OutputLine]
    ) -> None:
        """Store the lines and the position after them; return once both are durable.

        Creates the stream (and the default group) if missing, also when `lines` is empty.
        """
        ...


class Backend(Protocol):
    """What runs tasks. One asyncio loop calls it; no method blocks that loop."""

    async def open(self) -> None:
        """Make ready, and adopt what an earlier server left running. Raises `Trouble`."""
        ...

    async def close(self) -> None:
        """Let go of everything, but stop no task: tasks outlive the server."""
        ...

    async def list_hosts(self) -> Sequence[Host]: ...

    async def list_tasks(self) -> frozenset[TaskId]:
        """Name every task that was started and not yet forgotten."""
        ...

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        """Begin to run the tasks. Returns as soon as they cannot be lost any more.

        What goes wrong with one task is reported as its `TaskEnded`, never raised.
        """
        ...

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        """Ask the task to end. Unknown, ended or already stopping tasks are left as they are.

        A task stopped before its process runs ends with exit code None and no reason.
        """
        ...

    def reports(self) -> AsyncIterator[Sequence[Report]]:
        """Yield what happened, in batches, for as long as the backend is open."""
        ...

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        """Drop what is kept of ended tasks. Called once their end is durable elsewhere."""
        ...
