"""Which log stream takes the output of an attempt.

Decides the group and the stream of a container's output (reference/jobs.md section 11.5). Pure: the
API shows these names and the engine hands them to the backend, so both must come from here. Refuses
to know how lines are kept.
"""

from batchyard.model.ids import DefinitionArn, TaskId, name_in_arn
from batchyard.model.limits import STREAM_PREFIX_LENGTH_MAX
from batchyard.model.records import Json

#: Where output goes when the job definition names no group.
DEFAULT_LOG_GROUP = "/aws/batch/job"

_GO_TRUE = ("1", "t", "T", "TRUE", "true", "True")

#: The name of the only container of a job with `containerProperties`.
CONTAINER_NAME = "default"

#: The driver whose output goes to log streams, and which a container has that names none.
STREAM_DRIVER = "awslogs"


def has_log_stream(container: Json) -> bool:
    """Tell whether the output of a container goes to a log stream.

    Any other driver that is accepted (`json-file`, `none`) keeps nothing that callers can read.
    """
    logs = container.get("logConfiguration") or {}
    return bool(logs.get("logDriver", STREAM_DRIVER) == STREAM_DRIVER)


def log_group_of(container: Json) -> str:
    """Name the log group of a job's container, given as DescribeJobs shows it."""
    return str(_options_of(container).get("awslogs-group") or DEFAULT_LOG_GROUP)


def log_region_of(container: Json) -> str | None:
    """Name the region that the definition asks for; None means the job's own."""
    region = _options_of(container).get("awslogs-region")
    return str(region) if region else None


def may_create_log_group(container: Json) -> bool:
    """Tell whether the definition lets the group be made if it is missing (`awslogs-create-group`).

    The driver reads the option as Go reads a boolean.
    """
    return _options_of(container).get("awslogs-create-group") in _GO_TRUE


def log_stream_of(
    container: Json, definition_arn: DefinitionArn, task_id: TaskId, *, name: str = CONTAINER_NAME
) -> str:
    """Name the log stream of a container of one attempt: `<prefix>/<name>/<task id>`.

    The prefix is the option `awslogs-stream-prefix`, or else the start of the definition's name.
    `name` is the container's own in a task of `ecsProperties`.
    """
    prefix = _options_of(container).get("awslogs-stream-prefix")
    if not prefix:
        definition_name = name_in_arn(definition_arn).partition(":")[0]
        prefix = definition_name[:STREAM_PREFIX_LENGTH_MAX]
    return f"{prefix}/{name}/{task_id}"


def _options_of(container: Json) -> Json:
    options = (container.get("logConfiguration") or {}).get("options", {})
    return options if isinstance(options, dict) else {}
