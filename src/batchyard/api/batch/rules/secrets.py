"""What `secrets` may say: names of variables, and where their values come from. Pure.

Decides the forms of `valueFrom` (reference/jobs.md section 11.4). Refuses to know whether the
secret exists: that is found out when a container starts.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.rules.choices import check_environment
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_SCOPED_ARN = r"arn:aws[a-z-]*:{service}:[a-z0-9-]+:[0-9]{{12}}:"
#: `secret:<name>`, and `:<json key>:<version stage>:<version id>` with all its colons.
_SECRET = re.compile(
    _SCOPED_ARN.format(service="secretsmanager")
    + r"secret:[A-Za-z0-9/_+=.@-]{1,519}(?::[^:]*:(?P<stage>[^:]*):(?P<id>[^:]*))?"
)
_PARAMETER_ARN = re.compile(
    _SCOPED_ARN.format(service="ssm") + r"parameter/[A-Za-z0-9_./-]{1,1011}(?::[A-Za-z0-9_.-]+)?"
)
_PARAMETER = re.compile(r"[A-Za-z0-9_./-]{1,1011}(?::[A-Za-z0-9_.-]+)?")


def check_secrets(
    secrets: Sequence[Json], *, environment: Sequence[Json], execution_role: str | None
) -> None:
    """Refuse secrets that cannot be read, or that share a name. They need an execution role."""
    if not secrets:
        return
    if not execution_role:
        raise client_exception(
            "When you are specifying container secrets, you must also specify a value for"
            " 'executionRoleArn'."
        )
    check_environment(secrets)
    for secret in secrets:
        _check_source(secret["valueFrom"])
    names = [secret["name"] for secret in secrets]
    check_names_apart(names, environment)


def check_names_apart(names: Sequence[str], environment: Sequence[Json]) -> None:
    """Refuse a secret that has the name of another one, or of a variable, in ECS's words."""
    taken = {variable["name"] for variable in environment}
    for name in names:
        if name in taken:
            raise client_exception(
                "The secret name must be unique and not shared with any new or existing"
                f" environment variables set on the container, such as '{name}'."
            )
        taken.add(name)


def _check_source(value: str) -> None:
    if match := _SECRET.fullmatch(value):
        if match["stage"] and match["id"]:
            raise client_exception(
                f"secrets.valueFrom {value} must not have both a version stage and a version id."
            )
        return
    is_arn = value.startswith("arn:")
    if not (_PARAMETER_ARN if is_arn else _PARAMETER).fullmatch(value):
        raise client_exception(
            f"secrets.valueFrom {value} must be the ARN of a secret of Secrets Manager, or the name"
            " or ARN of a parameter of Systems Manager."
        )
