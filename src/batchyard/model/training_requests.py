"""What a service job asks of SageMaker: the members of a CreateTrainingJob request. Pure.

Decides how the request in `serviceRequestPayload` reads, and what of it can be carried out here
(docs/decisions/0015-service-jobs.md). Both the API and the engine read it through here. Refuses to
know machines and folders. What is not named here is passed over.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.limits import NODE_COUNT_MAX, TRAINING_SECONDS_MAX

#: What the instances of a job are called that does not name groups of them.
HOMOGENEOUS_GROUP = "homogeneousCluster"

_CHANNEL_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")
#: The second is like the first here: all data are in place.
_MODES = ("File", "FastFile")


class BadRequest(ValueError):
    """The request is not one that a training job could be made of here. The text says why."""


class _Part(Struct, frozen=True, rename="pascal"):
    """A structure of SageMaker's, as far as it means something here."""


class InstanceGroup(_Part, frozen=True, kw_only=True):
    """Instances of one type."""

    instance_type: str
    instance_count: int
    instance_group_name: str = HOMOGENEOUS_GROUP


class ResourceConfig(_Part, frozen=True):
    """Which instances a job runs on: of one type, or in groups."""

    instance_type: str | None = None
    instance_count: int | None = None
    instance_groups: tuple[InstanceGroup, ...] | None = None


class AlgorithmSpecification(_Part, frozen=True):
    """What runs."""

    training_image: str | None = None
    algorithm_name: str | None = None
    training_input_mode: str | None = None
    #: None: the image's own.
    container_entrypoint: tuple[str, ...] | None = None
    container_arguments: tuple[str, ...] | None = None


class S3DataSource(_Part, frozen=True, kw_only=True):
    """Data below a prefix of S3."""

    s3_uri: str
    s3_data_type: str | None = None
    s3_data_distribution_type: str | None = None


class FileSystemDataSource(_Part, frozen=True, kw_only=True):
    """Data in a folder of a file system."""

    file_system_id: str
    directory_path: str = "/"
    file_system_access_mode: str | None = None


class DataSource(_Part, frozen=True):
    """Where the data of a channel are: exactly one is given."""

    s3_data_source: S3DataSource | None = None
    file_system_data_source: FileSystemDataSource | None = None


class Channel(_Part, frozen=True, kw_only=True):
    """Data that a job reads, by name."""

    channel_name: str
    data_source: DataSource
    content_type: str | None = None
    record_wrapper_type: str | None = None
    input_mode: str | None = None


class OutputDataConfig(_Part, frozen=True):
    """Where the results go."""

    s3_output_path: str | None = None
    compression_type: str | None = None


class CheckpointConfig(_Part, frozen=True):
    """Where checkpoints are kept beyond the job."""

    s3_uri: str | None = None
    local_path: str | None = None


class StoppingCondition(_Part, frozen=True):
    """How long a job may take."""

    max_runtime_in_seconds: int | None = None


_NO_ALGORITHM = AlgorithmSpecification()
_NO_RESOURCES = ResourceConfig()


class TrainingRequest(_Part, frozen=True):
    """A CreateTrainingJob request."""

    algorithm_specification: AlgorithmSpecification | None = None
    #: Whose keys the containers get, where the operator gives them any.
    role_arn: str | None = None
    hyper_parameters: Mapping[str, str] | None = None
    environment: Mapping[str, str] | None = None
    resource_config: ResourceConfig | None = None
    input_data_config: tuple[Channel, ...] | None = None
    output_data_config: OutputDataConfig | None = None
    checkpoint_config: CheckpointConfig | None = None
    stopping_condition: StoppingCondition | None = None
    enable_network_isolation: bool | None = None

    @property
    def algorithm(self) -> AlgorithmSpecification:
        return self.algorithm_specification or _NO_ALGORITHM

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self.input_data_config or ()

    @property
    def groups(self) -> tuple[InstanceGroup, ...]:
        """Give the instances in the order in which they are numbered."""
        resources = self.resource_config or _NO_RESOURCES
        if resources.instance_groups:
            return resources.instance_groups
        if resources.instance_type is None or resources.instance_count is None:
            return ()
        return (
            InstanceGroup(
                instance_type=resources.instance_type, instance_count=resources.instance_count
            ),
        )

    @property
    def capacity_use(self) -> tuple[UnitQuantity, ...]:
        """Count the instances by type."""
        counts: dict[str, int] = {}
        for group in self.groups:
            count = counts.get(group.instance_type, 0)
            counts[group.instance_type] = count + group.instance_count
        return tuple(UnitQuantity(unit=unit, quantity=count) for unit, count in counts.items())

    @property
    def max_runtime_s(self) -> int | None:
        return None if (stop := self.stopping_condition) is None else stop.max_runtime_in_seconds

    def mode_of(self, channel: Channel) -> str:
        """Tell how a channel's data are to come."""
        return channel.input_mode or self.algorithm.training_input_mode or _MODES[0]


def read_training_request(text: str) -> TrainingRequest:
    """Read the request of a service job, as far as it must be known before it can be queued.

    Raises `BadRequest` for what is no such request, names no image, or asks for no instances.
    """
    try:
        request = msgspec.json.decode(text, type=TrainingRequest)
    except msgspec.DecodeError as error:
        raise BadRequest(str(error)) from None
    if request.algorithm.algorithm_name:
        raise BadRequest("AlgorithmSpecification.AlgorithmName is not supported: name an image")
    if not request.algorithm.training_image:
        raise BadRequest("AlgorithmSpecification.TrainingImage must be given")
    if not request.groups:
        raise BadRequest("ResourceConfig.InstanceType and InstanceCount must be given")
    if any(group.instance_count < 1 for group in request.groups):
        raise BadRequest("InstanceCount must be at least 1")
    if sum(group.instance_count for group in request.groups) > NODE_COUNT_MAX:
        raise BadRequest(f"a training job cannot have more than {NODE_COUNT_MAX} instances here")
    if request.max_runtime_s is not None and not 1 <= request.max_runtime_s <= TRAINING_SECONDS_MAX:
        raise BadRequest(
            f"StoppingCondition.MaxRuntimeInSeconds must be between 1 and {TRAINING_SECONDS_MAX}"
        )
    return request


def check_training_request(request: TrainingRequest) -> None:
    """Refuse what cannot be carried out here. Raises `BadRequest`."""
    if request.enable_network_isolation:
        raise BadRequest("EnableNetworkIsolation is not supported: the network cannot be cut off")
    output = request.output_data_config
    if output is not None and output.compression_type == "NONE":
        raise BadRequest("OutputDataConfig.CompressionType NONE is not supported")
    for channel in request.channels:
        _check_channel(channel, request.mode_of(channel))
    names = [channel.channel_name for channel in request.channels]
    if len(set(names)) < len(names):
        raise BadRequest("InputDataConfig must not repeat a ChannelName")


def _check_channel(channel: Channel, mode: str) -> None:
    name, source = channel.channel_name, channel.data_source
    if not _CHANNEL_NAME.fullmatch(name):
        raise BadRequest(f"ChannelName {name} is not the name of a folder")
    if mode not in _MODES:
        raise BadRequest(f"InputMode {mode} of channel {name} is not supported: use File")
    s3 = source.s3_data_source
    if (s3 is None) is (source.file_system_data_source is None):
        raise BadRequest(f"channel {name} needs S3DataSource or FileSystemDataSource")
    if s3 is not None and s3.s3_data_type not in (None, "S3Prefix"):
        raise BadRequest(f"S3DataType {s3.s3_data_type} of channel {name} is not supported")
    if s3 is not None and s3.s3_data_distribution_type == "ShardedByS3Key":
        raise BadRequest(f"ShardedByS3Key of channel {name} is not supported")
