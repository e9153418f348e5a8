"""Merges what SubmitJob says over a job definition. Pure (reference/jobs.md section 2.5).

Rules: the command is replaced; the environment is merged by name; requirements are merged by type,
and the deprecated members only fill what the definition gave through deprecated members.
"""

from collections.abc import Mapping, Sequence

from batchyard.api.batch.refusals import refuse_given
from batchyard.api.batch.rules.container import check_environment
from batchyard.api.batch.rules.requirements import DEPRECATED_MEMBER_BY_TYPE, check_requirements
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception


def check_overrides(overrides: Json, *, is_fargate: bool) -> None:
    """Refuse container overrides that AWS would refuse."""
    refuse_given(overrides, ("instanceType",), within="containerOverrides")
    if "" in overrides.get("command", ()):
        raise client_exception("Command cannot be empty")
    check_environment(overrides.get("environment", ()))
    check_requirements(overrides.get("resourceRequirements", ()))
    for member in DEPRECATED_MEMBER_BY_TYPE.values():
        if is_fargate and member in overrides:
            raise client_exception(
                f"{member} is not applicable for Fargate. Use resource requirements instead."
            )


def merge_container(container: Json, overrides: Json) -> Json:
    """Give the container with the overrides applied; neither argument is changed.

    Merging the same overrides a second time changes nothing.
    """
    merged: Json = {**container}
    if overrides.get("command"):
        merged["command"] = list(overrides["command"])
    if overrides.get("environment"):
        merged["environment"] = _merge_environment(
            container.get("environment", ()), overrides["environment"]
        )
    _merge_deprecated(merged, overrides)
    if overrides.get("resourceRequirements"):
        merged["resourceRequirements"] = _merge_requirements(
            merged.get("resourceRequirements", ()), overrides["resourceRequirements"]
        )
        for requirement in overrides["resourceRequirements"]:
            merged.pop(DEPRECATED_MEMBER_BY_TYPE[requirement["type"]], None)
    return merged


def merge_parameters(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Give the job's parameters: those of the submission over the definition's defaults."""
    return {**defaults, **given}


def _merge_environment(ours: Sequence[Json], over: Sequence[Json]) -> list[Json]:
    merged = {variable["name"]: variable for variable in ours}
    merged.update((variable["name"], variable) for variable in over)
    return list(merged.values())


def _merge_requirements(ours: Sequence[Json], over: Sequence[Json]) -> list[Json]:
    merged = {requirement["type"]: requirement for requirement in ours}
    merged.update((requirement["type"], requirement) for requirement in over)
    return list(merged.values())


def _merge_deprecated(merged: Json, overrides: Json) -> None:
    types = [requirement["type"] for requirement in merged.get("resourceRequirements", ())]
    for kind, member in DEPRECATED_MEMBER_BY_TYPE.items():
        if kind not in types and member in merged and member in overrides:
            merged[member] = overrides[member]
