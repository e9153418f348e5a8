"""What a task may ask about the instance under it, as EC2's instance metadata service tells it.

Serves the part of that service that jobs look at: the notice of a Spot interruption first of all,
and what the instance is. Both versions of the service: a session token is given to whoever asks and
none is demanded, because the path has the token of the very task already. Refuses to give
credentials of the instance: a job gets only what its own role grants. Everything else is not found.

Paths and forms: AWS's pages on instance metadata and on Spot Instance interruption notices.
"""

from collections.abc import MutableMapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

from batchyard.access.task_tokens import INSTANCE_METADATA_PATH, TaskTokens
from batchyard.model.ids import TaskId
from batchyard.model.task_facts import InstanceFacts, TaskFacts
from batchyard.store import StoreTrouble
from batchyard.wire.app import Receive, Send
from batchyard.wire.task_endpoint import DescribeTask, is_on_this_machine

#: `<task id>/<container>/<token>/<path of the service>`.
_PARTS = 4
_SESSION_TOKEN = "/latest/api/token"  # noqa: S105 -- a path
_SESSION_TOKEN_TTL = b"x-aws-ec2-metadata-token-ttl-seconds"
_DATA = "meta-data/"

_Answer = tuple[HTTPStatus, str]


class InstanceMetadata:
    """An ASGI application for the paths below INSTANCE_METADATA_PATH."""

    def __init__(self, *, describe_task: DescribeTask, tokens: TaskTokens) -> None:
        self._describe_task = describe_task
        self._tokens = tokens

    async def __call__(
        self, scope: MutableMapping[str, Any], _receive: Receive, send: Send
    ) -> None:
        """Serve one request (ASGI)."""
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
        try:
            status, text = await self._answer(scope)
        except StoreTrouble as trouble:
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, str(trouble)
        if scope["method"] == "PUT" and status is HTTPStatus.OK:
            headers.append(
                (_SESSION_TOKEN_TTL, dict(scope["headers"]).get(_SESSION_TOKEN_TTL, b"1"))
            )
        body = text.encode()
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any]) -> _Answer:
        if not is_on_this_machine(scope["client"][0], scope["server"][0]):
            return HTTPStatus.FORBIDDEN, "Only jobs on this machine may ask."
        parts = scope["path"].removeprefix(INSTANCE_METADATA_PATH).split("/", _PARTS - 1)
        if len(parts) < _PARTS:
            return _NOT_FOUND
        task_id, container, token, path = TaskId(parts[0]), parts[1], parts[2], f"/{parts[3]}"
        if not self._tokens.is_metadata_token(task_id, container, token):
            return HTTPStatus.FORBIDDEN, "The token is not the container's."
        if scope["method"] == "PUT":
            return (HTTPStatus.OK, token) if path == _SESSION_TOKEN else _NOT_FOUND
        if scope["method"] != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, "Use GET."
        task = await self._describe_task(task_id)
        text = None if task is None else _find(path, task)
        return _NOT_FOUND if text is None else (HTTPStatus.OK, text)


_NOT_FOUND: _Answer = (HTTPStatus.NOT_FOUND, "404 - Not Found")


def _find(path: str, task: TaskFacts) -> str | None:
    """Give what stands at a path; a path of a folder lists it."""
    instance = task.instance
    if instance is None:
        return None
    texts = _texts_of(task, instance)
    name = path.removeprefix("/latest/").removeprefix("/")
    if not name.startswith(_DATA.rstrip("/")):
        return None
    name = name.removeprefix(_DATA.rstrip("/")).strip("/")
    if name in texts:
        return texts[name]
    folder = f"{name}/" if name else ""
    below = [each.removeprefix(folder) for each in texts if each.startswith(folder)]
    names = dict.fromkeys(f"{each.partition('/')[0]}/" if "/" in each else each for each in below)
    return "\n".join(sorted(names)) or None


def _texts_of(task: TaskFacts, instance: InstanceFacts) -> dict[str, str]:
    texts = {
        "instance-id": instance.id,
        "instance-type": instance.type,
        "instance-life-cycle": "spot" if instance.is_spot else "on-demand",
        "placement/availability-zone": task.availability_zone,
        "placement/region": task.scope.region,
    }
    if instance.interrupted_ms is not None:
        time = datetime.fromtimestamp(instance.interrupted_ms // 1000, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        action = msgspec.json.encode({"action": "terminate", "time": time}).decode()
        texts |= {"spot/instance-action": action, "spot/termination-time": time}
    return texts
