"""What a running task may show to be let in: the tokens of its endpoints, and where they are.

Owns the paths of the endpoints that jobs are told of, the variables that tell them, and the secret
of the installation that all of it is derived from. Nothing is stored per task: a token is a keyed
digest of the task's id, so it can neither be guessed nor serve another task, and it is the same
after a restart. Whether a task still runs is for others to say.
"""

import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

from batchyard.access.keys import CredentialsFileError
from batchyard.access.private_file import create_private_file
from batchyard.model.ids import TaskId

#: `<path>v4/<task id>/<container>/<token>` and below it, as the ECS agent has them.
METADATA_PATH = "/batchyard/v1/metadata/"
#: `<path><task id>/<container>/<token>/`, and below it what EC2 has at 169.254.169.254.
INSTANCE_METADATA_PATH = "/batchyard/v1/instance-metadata/"
#: `<path><task id>`.
CREDENTIALS_PATH = "/batchyard/v1/credentials/"

SECRET_FILE = "session-secret"  # noqa: S105 -- a file's name
_SECRET_LENGTH = 32


def load_or_create_secret(data_dir: Path) -> bytes:
    """Give the secret kept in `session-secret` of `data_dir`; make one on the first call.

    Raises CredentialsFileError if the file is not what we wrote.
    """
    path = data_dir / SECRET_FILE
    create_private_file(path, secrets.token_bytes(_SECRET_LENGTH))
    secret = path.read_bytes()
    if len(secret) != _SECRET_LENGTH:
        raise CredentialsFileError(
            f"{path} is not what batchyard wrote; remove it to get a new secret: jobs that run then"
            " lose their endpoints"
        )
    return secret


class TaskTokens:
    """Makes and checks the tokens of tasks."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"task tokens", "sha256")

    def metadata_variables(self, url: str, task_id: TaskId, container: str) -> Mapping[str, str]:
        """Tell a container where its metadata is; `url` is the server's as the container sees it.

        The container agent's own address, `ECS_AGENT_URI`, is left out: nothing answers there.
        """
        path = f"{task_id}/{container}/{self._metadata_token(task_id, container)}"
        return {
            "ECS_CONTAINER_METADATA_URI": f"{url}{METADATA_PATH}v3/{path}",
            "ECS_CONTAINER_METADATA_URI_V4": f"{url}{METADATA_PATH}v4/{path}",
        }

    def instance_variables(self, url: str, task_id: TaskId, container: str) -> Mapping[str, str]:
        """Tell a container, and the SDKs in it, where the metadata of its instance are."""
        path = f"{task_id}/{container}/{self._metadata_token(task_id, container)}"
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{url}{INSTANCE_METADATA_PATH}{path}/"}

    def credentials_variables(self, url: str, task_id: TaskId) -> Mapping[str, str]:
        """Tell a container where the keys of its role are. SDKs ask only a `url` on loopback."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}{CREDENTIALS_PATH}{task_id}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._credentials_token(task_id),
        }

    def is_metadata_token(self, task_id: TaskId, container: str, text: str) -> bool:
        return _is_same(self._metadata_token(task_id, container), text)

    def is_credentials_token(self, task_id: TaskId, text: str) -> bool:
        return _is_same(self._credentials_token(task_id), text)

    def _metadata_token(self, task_id: TaskId, container: str) -> str:
        return self._token(f"metadata {task_id} {container}")

    def _credentials_token(self, task_id: TaskId) -> str:
        return self._token(f"credentials {task_id}")

    def _token(self, purpose: str) -> str:
        return hmac.digest(self._key, purpose.encode(), "sha256").hex()


def _is_same(token: str, text: str) -> bool:
    return hmac.compare_digest(token.encode(), text.encode())
