"""What `secrets` and `repositoryCredentials` may say: names, and where values come from. Pure.

Decides which names may be given (reference/jobs.md section 11.4). Refuses to know whether the
secret exists: that is found out when a container starts.
"""

from collections.abc import Sequence

from batchyard.api.batch.rules.choices import check_environment
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.secret_reference import (
    explain_credentials_parameter,
    explain_value_from,
)


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
        if problem := explain_value_from(secret["valueFrom"]):
            raise client_exception(f"secrets.valueFrom: {problem}.")
    names = [secret["name"] for secret in secrets]
    check_names_apart(names, environment)


def check_repository_credentials(container: Json, where: str) -> None:
    """Refuse credentials for a registry that are not a whole secret of Secrets Manager.

    No execution role is asked for: whether AWS does is not known.
    """
    given = container.get("repositoryCredentials")
    if not given:
        return
    text = given["credentialsParameter"]
    if problem := explain_credentials_parameter(text):
        raise client_exception(f"{where}.repositoryCredentials.credentialsParameter: {problem}.")


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
