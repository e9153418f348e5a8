"""A task from a service job: the container of one instance of a training job.

Decides what SageMaker's contract and the members of a CreateTrainingJob request become at the port
(docs/decisions/0015-service-jobs.md). Refuses to touch folders: a backend does.
"""

import posixpath
from collections.abc import Mapping

import msgspec

from batchyard.compute.port import (
    ContainerSpec,
    LogTarget,
    Network,
    TaskSpec,
    TrainingChannel,
    TrainingSetting,
)
from batchyard.core.effects import StartTask
from batchyard.engine.launch.environment import AttemptVariables
from batchyard.engine.launch.refusal import CannotLaunch
from batchyard.engine.launch.surroundings import Surroundings
from batchyard.model.ids import TaskId, node_id, task_id_of, whole_id_of
from batchyard.model.records import JobRecord, Json
from batchyard.model.status import EnvironmentKind
from batchyard.model.training_names import (
    TRAINING_LOG_GROUP,
    host_name_of,
    training_job_arn_of,
    training_job_name_of,
    training_stream_of,
)
from batchyard.model.training_requests import (
    BadRequest,
    Channel,
    TrainingRequest,
    check_training_request,
    read_training_request,
)

#: What a container is told to do that nothing else is said of.
_TRAIN = ("train",)
_RECORD_WRAPPER_NONE = "None"
_CHECKPOINTS = "/opt/ml/checkpoints"
_ML_ROOT = "/opt/ml/"
#: SageMaker gives half of an instance's memory to /dev/shm.
_SHARED_MEMORY_PARTS = 2
_SHARED_MEMORY_MIB_MIN = 64


def training_task_of(
    record: JobRecord, effect: StartTask, kind: EnvironmentKind, surroundings: Surroundings
) -> TaskSpec:
    """Build the task of one instance of an attempt.

    Raises `CannotLaunch` in SageMaker's words, and `KeyError` for a spec that is not ours.
    """
    request = _request_of(record)
    index, first_id = record.index or 0, _first_task_of(record, effect)
    name = training_job_name_of(record.job.name, first_id)
    scope, amount = record.job.scope, effect.share or record.job.demand
    is_alone = record.job.nodes is None
    network = Network.HOST if is_alone else Network.OWN
    variables = AttemptVariables(
        record=record,
        effect=effect,
        kind=kind,
        surroundings=surroundings,
        network=network,
        job_role_arn=request.role_arn,
    )
    algorithm = request.algorithm
    assert algorithm.training_image is not None, record.job.id
    command = algorithm.container_arguments
    if algorithm.container_entrypoint is None and command is None:
        command = _TRAIN
    container = ContainerSpec(
        image=algorithm.training_image,
        limits=amount,
        log=LogTarget(
            account=scope.account,
            region=scope.region,
            group=TRAINING_LOG_GROUP,
            stream=training_stream_of(name, index, effect.task_id),
        ),
        command=command,
        entrypoint=algorithm.container_entrypoint,
        environment=tuple(
            variables.of_training(
                request.environment or {},
                {"TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": training_job_arn_of(scope, name)},
            ).items()
        ),
        shared_memory_mib=max(_SHARED_MEMORY_MIB_MIN, amount.memory_mib // _SHARED_MEMORY_PARTS),
    )
    return TaskSpec(
        task_id=effect.task_id,
        containers=(container,),
        is_cpu_capped=True,
        network=network,
        host_name=host_name_of(index),
        training=_setting_of(record, request, surroundings, name=name, first_id=first_id),
    )


def _request_of(record: JobRecord) -> TrainingRequest:
    spec: Json = msgspec.json.decode(record.job.spec)
    try:
        request = read_training_request(spec["serviceRequestPayload"])
        check_training_request(request)
    except BadRequest as error:
        raise CannotLaunch(f"ValidationException: {error}") from None
    return request


def _first_task_of(record: JobRecord, effect: StartTask) -> TaskId:
    """Name the task of the attempt's first instance."""
    if record.job.nodes is None:
        return effect.task_id
    first = node_id(whole_id_of(record.job.id), record.job.nodes.main_index)
    return task_id_of(first, effect.attempt_number)


def _setting_of(
    record: JobRecord,
    request: TrainingRequest,
    surroundings: Surroundings,
    *,
    name: str,
    first_id: TaskId,
) -> TrainingSetting:
    checkpoints, output = request.checkpoint_config, request.output_data_config
    checkpoint_uri = None if checkpoints is None else checkpoints.s3_uri
    destination = (None if checkpoints is None else checkpoints.local_path) or _CHECKPOINTS
    if not posixpath.normpath(destination).startswith(_ML_ROOT):
        raise CannotLaunch(f"ValidationException: LocalPath must be below {_ML_ROOT}")
    output_uri = None if output is None else output.s3_output_path
    return TrainingSetting(
        attempt_id=first_id,
        instance_count=1 if record.job.nodes is None else record.job.nodes.count,
        job_name=name,
        config=_config_of(record, request),
        channels=tuple(_channel_of(each, surroundings) for each in request.channels),
        checkpoint_path=_needed(surroundings, checkpoint_uri) if checkpoint_uri else None,
        checkpoint_destination=destination,
        results_path=_find(surroundings.folder_by_prefix, output_uri) if output_uri else None,
    )


def _config_of(record: JobRecord, request: TrainingRequest) -> dict[str, str]:
    """Give the files of `/opt/ml/input/config`."""
    hosts: list[str] = []
    groups, types = [], []
    for group in request.groups:
        names = [host_name_of(len(hosts) + at) for at in range(group.instance_count)]
        hosts += names
        types += [group] * group.instance_count
        groups.append(
            {
                "instance_group_name": group.instance_group_name,
                "instance_type": group.instance_type,
                "hosts": names,
            }
        )
    index = record.index or 0
    resources = {
        "current_host": hosts[index],
        "current_instance_type": types[index].instance_type,
        "current_group_name": types[index].instance_group_name,
        "hosts": hosts,
        "instance_groups": groups,
        "network_interface_name": "lo" if record.job.nodes is None else "eth0",
    }
    channels = {each.channel_name: _told_of(each, request) for each in request.channels}
    files = {
        "hyperparameters": dict(request.hyper_parameters or {}),
        "resourceconfig": resources,
        "inputdataconfig": channels,
    }
    return {f"{name}.json": msgspec.json.encode(each).decode() for name, each in files.items()}


def _told_of(channel: Channel, request: TrainingRequest) -> dict[str, str]:
    told = {
        "TrainingInputMode": request.mode_of(channel),
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": channel.record_wrapper_type or _RECORD_WRAPPER_NONE,
    }
    if channel.content_type is not None:
        told["ContentType"] = channel.content_type
    return told


def _channel_of(channel: Channel, surroundings: Surroundings) -> TrainingChannel:
    source = channel.data_source
    if source.s3_data_source is not None:
        uri = source.s3_data_source.s3_uri
        path = _needed(surroundings, uri)
        return TrainingChannel(name=channel.channel_name, path=path, source=uri)
    file_system = source.file_system_data_source
    assert file_system is not None, channel.channel_name
    base = surroundings.folder_by_file_system.get(file_system.file_system_id)
    if base is None:
        raise CannotLaunch(
            f"ClientError: Data download failed: file system {file_system.file_system_id} has no"
            " folder on this machine: map it in the setting file_systems"
        )
    return TrainingChannel(
        name=channel.channel_name,
        path=_below(base, file_system.directory_path),
        source=f"{file_system.file_system_id}:{file_system.directory_path}",
        is_read_only=file_system.file_system_access_mode != "rw",
    )


def _needed(surroundings: Surroundings, uri: str) -> str:
    path = _find(surroundings.folder_by_prefix, uri)
    if path is None:
        raise CannotLaunch(
            f"ClientError: Data download failed: {uri} has no folder on this machine: map a prefix"
            " of it in the setting training_folders"
        )
    return path


def _find(folders: Mapping[str, str], uri: str) -> str | None:
    """Give what stands for an S3 URI: below the folder of the longest prefix that it has."""
    for prefix in sorted(folders, key=len, reverse=True):
        stem = prefix.rstrip("/")
        if uri == stem or uri.startswith(f"{stem}/"):
            return _below(folders[prefix], uri[len(stem) :])
    return None


def _below(base: str, rest: str) -> str:
    """Go on below a folder; taken apart as if it were absolute, nothing leads out of it."""
    below = posixpath.normpath("/" + rest.strip("/"))
    return base if below == "/" else base.rstrip("/") + below
