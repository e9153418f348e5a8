"""The shapes of the JSON that server and supervisor exchange and keep; for the type checker alone.

Never imported at run time by the supervisor: `typing` and friends cost memory in a process that
should be small. The shapes of specs follow `batchyard.compute.port.TaskSpec` member by member, but
for `registry_auth` and `training`, which are never handed on.
"""

from typing import NotRequired, TypedDict


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
    volume: str
    destination: str
    is_read_only: bool
    #: Missing in records from before it existed.
    is_own: NotRequired[bool]


class UlimitShape(TypedDict):
    name: str
    soft: int
    hard: int


class TmpfsShape(TypedDict):
    destination: str
    size_mib: int
    options: list[str]


class DeviceShape(TypedDict):
    source: str
    destination: str
    permissions: str


class StartsAfterShape(TypedDict):
    container: str
    condition: str


class ContainerShape(TypedDict):
    name: str
    image: str
    limits: AmountShape
    log: LogShape | None
    command: list[str] | None
    #: Missing in records from before it existed.
    entrypoint: NotRequired[list[str] | None]
    environment: list[tuple[str, str]]
    user: str | None
    is_root_read_only: bool
    is_privileged: bool
    has_init: bool
    mounts: list[MountShape]
    ulimits: list[UlimitShape]
    tmpfs: list[TmpfsShape]
    devices: list[DeviceShape]
    shared_memory_mib: int
    swap_mib: int | None
    swappiness: int | None
    is_essential: bool
    starts_after: list[StartsAfterShape]
    start_timeout_ms: int | None
    stop_timeout_ms: int | None


class SpecShape(TypedDict):
    task_id: str
    containers: list[ContainerShape]
    is_cpu_capped: bool
    network: str
    processes: str
    ipc: str
    #: Both missing in records from before they existed.
    host_name: NotRequired[str | None]
    hosts_path: NotRequired[str | None]


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


class ContainerEndShape(TypedDict):
    exit_code: int | None
    reason: str | None
    was_stopped: bool
    spool_size: int
    lost_bytes: int


class EndShape(TypedDict):
    """How a task ended; `containers` in the order of its spec."""

    at_ms: int
    is_lost: bool
    started_at_ms: int | None
    address: str | None
    containers: list[ContainerEndShape]


class UnitShape(TypedDict):
    """A container of a task as the supervisor describes it to a server that has just connected."""

    name: str
    is_essential: bool
    log: LogShape | None
    spool_size: int


class TaskShape(TypedDict):
    """A task as the supervisor describes it to a server that has just connected."""

    task_id: str
    units: list[UnitShape]
    missing_images: list[str]
    started_at_ms: int | None
    address: str | None
    end: EndShape | None


class GpuShape(TypedDict):
    """A GPU: what NVIDIA's tools call it, and its device nodes."""

    id: str
    paths: list[str]


class SettingsShape(TypedDict):
    """What the server decides for containers to come; sent with every greeting."""

    runtime_name: str
    runtime_path: str
    init_path: str | None
    host_paths: list[str]
    device_paths: list[str]
    is_privileged_allowed: bool
    gpus: list[GpuShape]
    #: Devices that every container with a GPU gets, and the hook that brings the driver's files.
    gpu_control_paths: list[str]
    gpu_hook_path: str | None
    #: The addresses of tasks with a network of their own, as `10.213.0.0/16`.
    network_range: str


class OrderShape(TypedDict, total=False):
    """One line from the server. `number` is there if an answer is wanted."""

    do: str
    number: int
    settings: SettingsShape
    #: A task and, for each of its containers, the image's id if it is here.
    tasks: list[tuple[SpecShape, list[str | None]]]
    task_id: str
    #: As the spec names it.
    image: str
    image_id: str
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
    #: Task id, time, address.
    started: list[tuple[str, int, str | None]]
    #: How large each container's spool is.
    output: dict[str, int]
    ended: list[tuple[str, EndShape]]
