"""The variables that a job sees (reference/jobs.md section 11.1 and 11.2).

Rules: the service's variables win over the definition's; `AWS_REGION`, `AWS_DEFAULT_REGION`,
`AWS_ENDPOINT_URL` and what the operator gives to all jobs are only filled in where neither the
definition nor a secret says otherwise. Of these the operator's win.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchyard.compute.port import Network
from batchyard.core.effects import StartTask
from batchyard.engine.launch.surroundings import Surroundings
from batchyard.model.ids import name_in_arn
from batchyard.model.log_stream import CONTAINER_NAME
from batchyard.model.records import JobRecord, Json
from batchyard.model.roles import explain_role
from batchyard.model.status import EnvironmentKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptVariables:
    """What the containers of one attempt are told."""

    record: JobRecord
    effect: StartTask
    kind: EnvironmentKind
    surroundings: Surroundings
    network: Network
    job_role_arn: str | None

    def of_container(
        self, name: str, container: Json, secrets: Mapping[str, str]
    ) -> dict[str, str]:
        """Put the variables of one container together; `secrets` are values by variable."""
        given = {each["name"]: each.get("value", "") for each in container.get("environment") or ()}
        return {**self._defaults(), **given, **secrets, **self._service(), **self._agent(name)}

    def of_training(self, given: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
        """Put the variables of a training job together: those that it was given, and what it is
        told of itself.
        """
        return {**self._defaults(), **given, **told, **self._agent(CONTAINER_NAME)}

    def _defaults(self) -> dict[str, str]:
        region = self.record.job.scope.region
        defaults = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        url = self.surroundings.url_seen_from(self.network)
        if self.surroundings.is_endpoint_given and url is not None:
            defaults["AWS_ENDPOINT_URL"] = url
        return defaults | dict(self.surroundings.environment)

    def _service(self) -> dict[str, str]:
        job, effect = self.record.job, self.effect
        variables = {
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if self.kind.is_fargate else "AWS_ECS_EC2",
            "AWS_BATCH_JOB_ID": job.id,
            "AWS_BATCH_JOB_ATTEMPT": str(effect.attempt_number),
            "AWS_BATCH_JQ_NAME": name_in_arn(job.queue_arn),
            "AWS_BATCH_CE_NAME": name_in_arn(effect.environment_arn),
        }
        if job.array_size is not None:
            variables["AWS_BATCH_JOB_ARRAY_INDEX"] = str(self.record.index)
            variables["AWS_BATCH_JOB_ARRAY_SIZE"] = str(job.array_size)
        if job.nodes is not None:
            variables["AWS_BATCH_JOB_NODE_INDEX"] = str(self.record.index)
            variables["AWS_BATCH_JOB_MAIN_NODE_INDEX"] = str(job.nodes.main_index)
            variables["AWS_BATCH_JOB_NUM_NODES"] = str(job.nodes.count)
            if effect.main_address is not None:
                variables["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = effect.main_address
        return variables

    def _agent(self, container_name: str) -> dict[str, str]:
        """Tell of the endpoints that only this task may ask."""
        url, tokens = self.surroundings.url_seen_from(self.network), self.surroundings.tokens
        if url is None or tokens is None:
            return {}
        task_id, role_arn = self.effect.task_id, self.job_role_arn
        variables = dict(tokens.metadata_variables(url, task_id, container_name))
        if not self.kind.is_fargate:
            variables |= tokens.instance_variables(url, task_id, container_name)
        may_have_role = role_arn is not None and not explain_role(
            role_arn, self.record.job.scope.account
        )
        if self.surroundings.is_endpoint_given and may_have_role:
            variables |= tokens.credentials_variables(url, task_id)
        return variables
