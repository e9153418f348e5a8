"""What a running task may ask the server about itself: its metadata, and the keys of its role.

A plain ASGI surface beside the AWS wire, for the paths of `access.task_tokens`. Decides who is let
in: peers on this machine that show the token of the very task, while that task runs. Refuses to
know jobs: what is true of a task comes from `describe_task`. An answer is small and has no
side effect, so nothing but GET is taken.

The forms follow the container agent (reference/integrations.md section 4.6); a refusal of
the credentials endpoint has the members that botocore reads, `code` and `message`.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from ipaddress import IPv6Address, ip_address
from typing import Any

import msgspec

from batchyard.access.sessions import SessionKeys
from batchyard.access.task_tokens import CREDENTIALS_PATH, METADATA_PATH, TaskTokens
from batchyard.model.addresses import TASK_ENDPOINT_ADDRESS
from batchyard.model.ids import TaskId
from batchyard.model.records import Json
from batchyard.model.task_facts import ContainerFacts, TaskFacts
from batchyard.store import StoreTrouble
from batchyard.wire.app import AsgiApp, Receive, Send, read_wall_clock_ms
from batchyard.wire.task_metadata import (
    find_container,
    show_container,
    show_stats,
    show_task,
    show_task_stats,
    show_time,
)

#: Tells what is true of a task; None: no such task runs.
DescribeTask = Callable[[TaskId], Awaitable[TaskFacts | None]]

_Answer = tuple[int, Json]
_Find = Callable[[str, Mapping[bytes, bytes]], Awaitable[_Answer]]

#: Ours: how long the keys of a role are good. SDKs ask for new ones a quarter of an hour before.
ROLE_KEYS_LIFE_MS = 60 * 60 * 1000

#: `v4/<task id>/<container>/<token>`.
_METADATA_PARTS = 4

_OK, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED, _UNAVAILABLE = 200, 403, 404, 405, 503


class TaskEndpoint:
    """Answers tasks. `sessions` None: no task is given keys."""

    def __init__(
        self,
        *,
        describe_task: DescribeTask,
        tokens: TaskTokens,
        sessions: SessionKeys | None = None,
        now_ms: Callable[[], int] = read_wall_clock_ms,
    ) -> None:
        self._describe_task = describe_task
        self._tokens = tokens
        self._sessions = sessions
        self._now_ms = now_ms

    def routes(self) -> Mapping[str, AsgiApp]:
        """Give what `Server` takes as `extra_routes`."""
        return {
            METADATA_PATH: _app(self._answer_metadata),
            CREDENTIALS_PATH: _app(self._answer_credentials),
        }

    async def _answer_metadata(self, path: str, _headers: Mapping[bytes, bytes]) -> _Answer:
        version, *rest = path.removeprefix(METADATA_PATH).split("/", _METADATA_PARTS)
        if version not in ("v3", "v4") or len(rest) < _METADATA_PARTS - 1:
            return _refuse(_NOT_FOUND, "NotFound", "There is nothing at this path.")
        task_id, name, token = TaskId(rest[0]), rest[1], rest[2]
        if not self._tokens.is_metadata_token(task_id, name, token):
            return _refuse(_FORBIDDEN, "AccessDenied", "The token is not the container's.")
        task = await self._describe_task(task_id)
        container = None if task is None else find_container(task.containers, name)
        if task is None or container is None:
            return _refuse(_NOT_FOUND, "NotFound", "No such container runs.")
        what = "/".join(rest[3:]).rstrip("/")
        shown = self._show(what, task, container, is_v4=version == "v4")
        if shown is None:
            return _refuse(_NOT_FOUND, "NotFound", "There is nothing at this path.")
        return _OK, shown

    def _show(
        self, what: str, task: TaskFacts, container: ContainerFacts, *, is_v4: bool
    ) -> Json | None:
        match what:
            case "":
                return show_container(task, container, is_v4=is_v4)
            case "task" | "taskWithTags":
                return show_task(task, is_v4=is_v4, has_tags=what != "task")
            case "stats":
                return show_stats(task, container, now_ms=self._now_ms())
            case "task/stats":
                return show_task_stats(task, now_ms=self._now_ms())
        return None

    async def _answer_credentials(self, path: str, headers: Mapping[bytes, bytes]) -> _Answer:
        task_id = TaskId(path.removeprefix(CREDENTIALS_PATH))
        token = headers.get(b"authorization", b"").decode("latin-1")
        if self._sessions is None or not self._tokens.is_credentials_token(task_id, token):
            return _refuse(_FORBIDDEN, "AccessDenied", "The token is not the task's.")
        task = await self._describe_task(task_id)
        if task is None or task.role_arn is None:
            return _refuse(
                _NOT_FOUND, "InvalidIdInRequest", "No such task runs, or it has no role."
            )
        given = self._sessions.issue(
            account=task.scope.account,
            role_arn=task.role_arn,
            session_name=task_id,
            expires_ms=self._now_ms() + ROLE_KEYS_LIFE_MS,
        )
        return _OK, {
            "RoleArn": task.role_arn,
            "AccessKeyId": given.access_key_id,
            "SecretAccessKey": given.secret,
            "Token": given.token,
            "Expiration": show_time(given.expires_ms),
        }


def is_on_this_machine(peer: str, ours: str) -> bool:
    """Tell whether the other end of a connection is on this machine.

    It is, if it has a loopback address, or the very address at which it reached us; or if it asks
    at the address that only tasks with a network of their own have a way to.
    """
    if ours == TASK_ENDPOINT_ADDRESS:
        return True
    address = ip_address(peer)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or peer == ours


def _app(find: _Find) -> AsgiApp:
    """Make an ASGI application of what finds an answer by path and headers."""

    async def app(scope: MutableMapping[str, Any], _receive: Receive, send: Send) -> None:
        if not is_on_this_machine(scope["client"][0], scope["server"][0]):
            status, shown = _refuse(
                _FORBIDDEN, "AccessDenied", "Only jobs on this machine may ask."
            )
        elif scope["method"] != "GET":
            status, shown = _refuse(_NOT_ALLOWED, "MethodNotAllowed", "Use GET.")
        else:
            try:
                status, shown = await find(scope["path"], dict(scope["headers"]))
            except StoreTrouble as trouble:
                status, shown = _refuse(_UNAVAILABLE, "ServiceUnavailable", str(trouble))
        body = msgspec.json.encode(shown)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _refuse(status: int, code: str, message: str) -> _Answer:
    return status, {"code": code, "message": message}
