"""A task from a stored job: the containers, their limits, places, variables and logs.

Decides what each member of a stored container becomes at the port. Refuses to check what the API
has checked: a spec that does not fit raises what Python raises.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from batchyard.compute.port import (
    Condition,
    ContainerSpec,
    Device,
    Mount,
    Network,
    RegistryAuth,
    Sharing,
    StartsAfter,
    Target,
    TaskSpec,
    Tmpfs,
    Ulimit,
)
from batchyard.core.effects import StartTask
from batchyard.engine.launch.environment import AttemptVariables
from batchyard.engine.launch.logs import target_of
from batchyard.engine.launch.refusal import CannotLaunch
from batchyard.engine.launch.surroundings import Surroundings
from batchyard.engine.launch.training import training_task_of
from batchyard.engine.launch.volumes import NotMapped, mounts_of, sources_of
from batchyard.engine.launch.workload import Workload, name_of, workload_of
from batchyard.model.amounts import Amount
from batchyard.model.ids import Scope, TaskId
from batchyard.model.log_options import log_driver_failed
from batchyard.model.log_stream import (
    DEFAULT_LOG_GROUP,
    has_log_stream,
    log_group_of,
    log_region_of,
    log_stream_of,
    may_create_log_group,
)
from batchyard.model.records import JobRecord, Json
from batchyard.model.secret_reference import (
    SecretReference,
    parse_credentials_parameter,
    parse_value_from,
)
from batchyard.model.status import EnvironmentKind

_SHARED_MEMORY_MIB_DEFAULT = 64
_MS_PER_SECOND = 1000
_LOG_GROUP_OPTION = b'"awslogs-group"'
_SECRETS_MEMBERS = (b'"valueFrom"', b'"credentialsParameter"')
_PERMISSION_LETTERS = {"READ": "r", "WRITE": "w", "MKNOD": "m"}
_SHARING_BY_MODE = {"task": Sharing.TASK, "host": Sharing.HOST}


def task_of(
    record: JobRecord,
    effect: StartTask,
    kind: EnvironmentKind,
    surroundings: Surroundings,
    secrets: Mapping[SecretReference, str],
) -> TaskSpec:
    """Build the task of one attempt; `secrets` has the value of each that `secrets_of` names.

    Raises `CannotLaunch`, and `KeyError`, `TypeError` or `ValueError` for a spec that is not ours.
    """
    if record.job.capacity_use:
        return training_task_of(record, effect, kind, surroundings)
    work = workload_of(record)
    network = Network.HOST if record.job.nodes is None else Network.OWN
    try:
        sources = sources_of(work.shared.get("volumes") or (), surroundings.folder_by_file_system)
    except NotMapped as error:
        raise CannotLaunch(f"ResourceInitializationError: {error}") from error
    variables = AttemptVariables(
        record=record,
        effect=effect,
        kind=kind,
        surroundings=surroundings,
        network=network,
        job_role_arn=work.job_role_arn,
    )
    containers = [
        _container(
            container,
            amount,
            environment=variables.of_container(
                name_of(container), container, _values(container, work.scope, secrets)
            ),
            mounts=mounts_of(container, sources),
            log=_log_target(work, container, effect.task_id, is_fargate=kind.is_fargate),
        )
        for container, amount in zip(work.containers, work.amounts, strict=True)
    ]
    return TaskSpec(
        task_id=effect.task_id,
        containers=tuple(
            replace(made, registry_auth=_registry_auth(container, secrets))
            for made, container in zip(containers, work.containers, strict=True)
        ),
        is_cpu_capped=kind.is_fargate,
        network=network,
        processes=_SHARING_BY_MODE.get(work.shared.get("pidMode") or "", Sharing.NONE),
        ipc=_SHARING_BY_MODE.get(work.shared.get("ipcMode") or "", Sharing.NONE),
    )


def needed_log_groups_of(record: JobRecord) -> Sequence[tuple[Scope, str]]:
    """Name the log groups that must exist before an attempt starts; others are made on demand.

    AWS Batch makes its own group, and others only where the definition says so.
    """
    if record.job.capacity_use or _LOG_GROUP_OPTION not in record.job.spec:
        return ()  # nearly every job: not worth reading its spec twice
    return tuple(
        (Scope(record.job.scope.account, _region_of(record.job.scope, container)), group)
        for container in workload_of(record).containers
        if has_log_stream(container)
        and (group := log_group_of(container)) != DEFAULT_LOG_GROUP
        and not may_create_log_group(container)
    )


def secrets_of(record: JobRecord) -> frozenset[SecretReference]:
    """Name the secrets that an attempt's containers are given, or are pulled with."""
    has_some = any(member in record.job.spec for member in _SECRETS_MEMBERS)
    if record.job.capacity_use or not has_some:
        return frozenset()
    work = workload_of(record)
    given = {
        parse_value_from(each["valueFrom"], work.scope.region)
        for container in work.containers
        for each in container.get("secrets") or ()
    }
    credentials = (_credentials_of(container) for container in work.containers)
    return frozenset(given.union(each for each in credentials if each is not None))


def _container(
    container: Json,
    amount: Amount,
    *,
    environment: Mapping[str, str],
    mounts: Iterable[Mount],
    log: Target | None,
) -> ContainerSpec:
    linux: Json = container.get("linuxParameters") or {}
    command = container.get("command")
    return ContainerSpec(
        name=name_of(container),
        image=container["image"],
        limits=amount,
        log=log,
        command=tuple(command) if command else None,
        environment=tuple(environment.items()),
        user=container.get("user"),
        is_root_read_only=bool(container.get("readonlyRootFilesystem")),
        is_privileged=bool(container.get("privileged")),
        has_init=bool(linux.get("initProcessEnabled")),
        mounts=tuple(mounts),
        ulimits=tuple(
            Ulimit(name=each["name"], soft=each["softLimit"], hard=each["hardLimit"])
            for each in container.get("ulimits") or ()
        ),
        tmpfs=tuple(_tmpfs(linux.get("tmpfs") or ())),
        devices=tuple(_devices(linux.get("devices") or ())),
        shared_memory_mib=linux.get("sharedMemorySize") or _SHARED_MEMORY_MIB_DEFAULT,
        swap_mib=linux.get("maxSwap"),
        # AWS ignores it unless there is swap to speak of.
        swappiness=None if linux.get("maxSwap") is None else linux.get("swappiness"),
        is_essential=container.get("essential") is not False,
        starts_after=tuple(
            StartsAfter(container=each["containerName"], condition=Condition(each["condition"]))
            for each in container.get("dependsOn") or ()
        ),
        start_timeout_ms=_milliseconds(container.get("startTimeout")),
        stop_timeout_ms=_milliseconds(container.get("stopTimeout")),
    )


def _credentials_of(container: Json) -> SecretReference | None:
    """Name the secret that a container's image is pulled with, if it says so."""
    given = container.get("repositoryCredentials")
    return parse_credentials_parameter(given["credentialsParameter"]) if given else None


def _registry_auth(container: Json, secrets: Mapping[SecretReference, str]) -> RegistryAuth | None:
    """Read the secret that an image is pulled with. Raises `CannotLaunch`, without its value."""
    reference = _credentials_of(container)
    if reference is None:
        return None
    try:
        return msgspec.json.decode(secrets[reference], type=RegistryAuth)
    except msgspec.DecodeError:
        raise CannotLaunch(
            "ResourceInitializationError: unable to pull secrets or registry auth: the secret"
            f" {reference.id} is no JSON object with username and password"
        ) from None


def _log_target(
    work: Workload, container: Json, task_id: TaskId, *, is_fargate: bool
) -> Target | None:
    name = name_of(container)
    stream = log_stream_of(container, work.definition_arn, task_id, name=name)
    try:
        return target_of(container, scope=work.scope, stream=stream, name=name)
    except ValueError as error:
        raise CannotLaunch(log_driver_failed(str(error), is_fargate=is_fargate)) from error


def _region_of(scope: Scope, container: Json) -> str:
    return log_region_of(container) or scope.region


def _values(
    container: Json, scope: Scope, secrets: Mapping[SecretReference, str]
) -> dict[str, str]:
    return {
        each["name"]: secrets[parse_value_from(each["valueFrom"], scope.region)]
        for each in container.get("secrets") or ()
    }


def _tmpfs(given: Iterable[Json]) -> Iterable[Tmpfs]:
    for each in given:
        yield Tmpfs(
            destination=each["containerPath"],
            size_mib=each["size"],
            options=tuple(each.get("mountOptions") or ()),
        )


def _devices(given: Iterable[Json]) -> Iterable[Device]:
    for each in given:
        permissions = each.get("permissions") or list(_PERMISSION_LETTERS)
        yield Device(
            source=each["hostPath"],
            destination=each.get("containerPath") or each["hostPath"],
            permissions="".join(_PERMISSION_LETTERS[name] for name in permissions),
        )


def _milliseconds(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * _MS_PER_SECOND
