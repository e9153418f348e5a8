"""Merges `containerOverrides` over a container. Pure (reference/jobs.md section 2.5).

Rules: the command is replaced; the environment is merged by name; requirements are merged by type,
and the deprecated members only fill what the definition gave through deprecated members.
"""

from collections.abc import Mapping

from batchyard.api.batch.rules.choices import check_command, check_environment, merged_by_name
from batchyard.api.batch.rules.container import not_deprecated_on_fargate
from batchyard.api.batch.rules.ground import Ground
from batchyard.api.batch.rules.requirements import check_requirements, merged_requirements
from batchyard.api.batch.rules.secrets import check_names_apart
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.requirements import DEPRECATED_MEMBER_BY_TYPE


def check_overrides(overrides: Json, ground: Ground) -> None:
    """Refuse overrides of a container, or of one in a task, that AWS would refuse."""
    check_command(overrides.get("command", ()))
    check_environment(overrides.get("environment", ()))
    check_requirements(overrides.get("resourceRequirements", ()), ground)
    if overrides.get("instanceType") and not ground.is_multinode:
        raise client_exception("instanceType is only applicable for multi-node parallel jobs.")
    for member in DEPRECATED_MEMBER_BY_TYPE.values():
        if ground.is_fargate and member in overrides:
            raise not_deprecated_on_fargate(member)


def merge_container(container: Json, overrides: Json) -> Json:
    """Give the container with the overrides applied; neither argument is changed.

    Merging the same overrides a second time changes nothing. Refuses a variable that has the name
    of a secret.
    """
    merged: Json = {**container}
    if overrides.get("command"):
        merged["command"] = list(overrides["command"])
    if overrides.get("environment"):
        merged["environment"] = merged_by_name(
            container.get("environment", ()), overrides["environment"]
        )
        names = [secret["name"] for secret in container.get("secrets", ())]
        check_names_apart(names, merged["environment"])
    _merge_deprecated(merged, overrides)
    if overrides.get("resourceRequirements"):
        merged["resourceRequirements"] = merged_requirements(
            merged.get("resourceRequirements", ()), overrides["resourceRequirements"]
        )
        for requirement in overrides["resourceRequirements"]:
            merged.pop(DEPRECATED_MEMBER_BY_TYPE.get(requirement["type"], ""), None)
    if overrides.get("instanceType"):
        merged["instanceType"] = overrides["instanceType"]
    return merged


def merge_parameters(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Give the job's parameters: those of the submission over the definition's defaults."""
    return {**defaults, **given}


def _merge_deprecated(merged: Json, overrides: Json) -> None:
    types = [requirement["type"] for requirement in merged.get("resourceRequirements", ())]
    for kind, member in DEPRECATED_MEMBER_BY_TYPE.items():
        if kind not in types and member in merged and member in overrides:
            merged[member] = overrides[member]
