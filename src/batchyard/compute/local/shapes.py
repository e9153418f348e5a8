"""The shapes of the JSON that server and supervisor exchange and keep; for the type checker alone.

Never imported at run time by the supervisor: `typing` and friends cost memory in a process that
should be small. The shapes of specs follow `batchyard.compute.port.TaskSpec` member by member.
"""

from typing import TypedDict


class AmountShape(TypedDict):
    cpu_milli: int
    memory_mib: int
    gpu_count: int


class LogShape(TypedDict, total=False):
    """A `LogTarget`, or a `FileTarget`: that has no stream."""

    account: str
    region: str
    group: str
    stream: str
    starts_event: str | None
    container: str
    bytes_max: int | None
    files_max: int


class MountShape(TypedDict):
    source: str | None
    destination: str
    is_read_only: bool


class UlimitShape(TypedDict):
    name: str
    soft: int
    hard: int


class TmpfsShape(TypedDict):
    destination: str
    size_mib: int
    options: list[str]


class SpecShape(TypedDict):
    task_id: str
    image: str
    limits: AmountShape
    log: LogShape | None
    command: list[str] | None
    environment: list[tuple[str, str]]
    is_cpu_capped: bool
    user: str | None
    is_root_read_only: bool
    has_init: bool
    mounts: list[MountShape]
    ulimits: list[UlimitShape]
    tmpfs: list[TmpfsShape]
    shared_memory_mib: int


class ConfigShape(TypedDict, total=False):
    """The part of an image's configuration that docker calls `Config` (OCI: `config`)."""

    Env: list[str] | None
    Entrypoint: list[str] | None
    Cmd: list[str] | None
    User: str | None
    WorkingDir: str | None
    Volumes: dict[str, object] | None


class ImageShape(TypedDict):
    """`images/records/<image id>.json`; `layers` are directory names, the lowest first."""

    id: str
    layers: list[str]
    config: ConfigShape
    size_bytes: int
    created_at_ms: int


class EndShape(TypedDict):
    at_ms: int
    exit_code: int | None
    reason: str | None
    is_lost: bool
    started_at_ms: int | None
    spool_size: int
    lost_bytes: int


class TaskShape(TypedDict):
    """A task as the supervisor describes it to a server that has just connected."""

    task_id: str
    image: str
    log: LogShape | None
    is_waiting: bool
    started_at_ms: int | None
    spool_size: int
    end: EndShape | None


class SettingsShape(TypedDict):
    """What the server decides for containers to come; sent with every greeting."""

    runtime_name: str
    runtime_path: str
    init_path: str | None
    host_paths: list[str]


class OrderShape(TypedDict, total=False):
    """One line from the server. `number` is there if an answer is wanted."""

    do: str
    number: int
    settings: SettingsShape
    tasks: list[tuple[SpecShape, str | None]]
    task_id: str
    image: str
    reason: str
    grace_ms: int
    positions: dict[str, int]
    task_ids: list[str]


class NewsShape(TypedDict, total=False):
    """One line to the server: what happened, or the answer to the order with `answer` as number."""

    answer: int
    version: int
    snapshot: list[TaskShape]
    is_done: bool
    started: list[tuple[str, int]]
    output: dict[str, int]
    ended: list[tuple[str, EndShape]]
