"""The variables that a job sees (reference/jobs.md section 11.1 and 11.2).

Rules: the service's variables win over the definition's; `AWS_REGION`, `AWS_DEFAULT_REGION` and
`AWS_ENDPOINT_URL` are only filled in where neither the definition nor a secret says otherwise.
"""

from collections.abc import Mapping

from batchyard.compute.port import Network
from batchyard.core.effects import StartTask
from batchyard.engine.launch.surroundings import Surroundings
from batchyard.model.ids import name_in_arn
from batchyard.model.records import JobRecord, Json
from batchyard.model.roles import explain_role
from batchyard.model.status import EnvironmentKind


def environment_of(
    container: Json,
    secrets: Mapping[str, str],
    *,
    defaults: Mapping[str, str],
    service: Mapping[str, str],
) -> dict[str, str]:
    """Put the variables of one container together."""
    given = {each["name"]: each.get("value", "") for each in container.get("environment") or ()}
    return {**defaults, **given, **secrets, **service}


def default_variables(
    record: JobRecord, surroundings: Surroundings, network: Network
) -> dict[str, str]:
    """Give what is filled in where the definition is silent."""
    region = record.job.scope.region
    defaults = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    url = surroundings.url_seen_from(network)
    if surroundings.is_endpoint_given and url is not None:
        defaults["AWS_ENDPOINT_URL"] = url
    return defaults


def service_variables(
    record: JobRecord, effect: StartTask, kind: EnvironmentKind
) -> dict[str, str]:
    """Give what the service tells every container of an attempt."""
    job = record.job
    variables = {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if kind.is_fargate else "AWS_ECS_EC2",
        "AWS_BATCH_JOB_ID": job.id,
        "AWS_BATCH_JOB_ATTEMPT": str(effect.attempt_number),
        "AWS_BATCH_JQ_NAME": name_in_arn(job.queue_arn),
        "AWS_BATCH_CE_NAME": name_in_arn(effect.environment_arn),
    }
    if job.array_size is not None:
        variables["AWS_BATCH_JOB_ARRAY_INDEX"] = str(record.index)
        variables["AWS_BATCH_JOB_ARRAY_SIZE"] = str(job.array_size)
    if job.nodes is not None:
        variables["AWS_BATCH_JOB_NODE_INDEX"] = str(record.index)
        variables["AWS_BATCH_JOB_MAIN_NODE_INDEX"] = str(job.nodes.main_index)
        variables["AWS_BATCH_JOB_NUM_NODES"] = str(job.nodes.count)
        if effect.main_address is not None:
            variables["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = effect.main_address
    return variables


def agent_variables(
    effect: StartTask,
    *,
    container_name: str,
    account: str,
    job_role_arn: str | None,
    surroundings: Surroundings,
    network: Network,
) -> dict[str, str]:
    """Give what a container is told of the endpoints that only it may ask."""
    url, tokens = surroundings.url_seen_from(network), surroundings.tokens
    if url is None or tokens is None:
        return {}
    variables = dict(tokens.metadata_variables(url, effect.task_id, container_name))
    has_role = job_role_arn is not None and explain_role(job_role_arn, account) is None
    if surroundings.is_endpoint_given and has_role:
        variables |= tokens.credentials_variables(url, effect.task_id)
    return variables
