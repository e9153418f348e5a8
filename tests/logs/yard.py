"""Calls the operations of CloudWatch Logs as the wire would, at a time that the test sets."""

from dataclasses import dataclass

import pytest

from batchyard.api.logs import handlers
from batchyard.compute.port import LogTarget, OutputLine
from batchyard.logs import LogStore
from batchyard.model.ids import Scope, TaskId
from batchyard.model.refusal import Refusal
from batchyard.wire.call import Call

SCOPE = Scope("111122223333", "eu-west-1")
JOBS = "/aws/batch/job"
DAY_MS = 24 * 60 * 60 * 1000
NOW_MS = 1_750_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def now(self) -> int:
        return self.now_ms


@dataclass
class Yard:
    logs: LogStore
    clock: Clock

    @property
    def sink(self) -> LogStore:
        return self.logs

    async def call(self, operation: str, *, scope: Scope = SCOPE, **request):
        """Call an operation; None members are left out, as the wire leaves them out."""
        call = Call(
            scope=scope,
            principal_arn=f"arn:aws:iam::{scope.account}:root",
            user_id=scope.account,
            access_key_id="AKIDEXAMPLE",
            request_id="r",
            now_ms=self.clock.now_ms,
        )
        given = {member: value for member, value in request.items() if value is not None}
        return await handlers(self.logs)["logs", operation](call, given)

    async def refused(self, operation: str, **request) -> tuple[str, str]:
        """Call an operation that must be refused; give the code and the text."""
        with pytest.raises(Refusal) as caught:
            await self.call(operation, **request)
        assert caught.value.http_status == 400
        return caught.value.code, caught.value.message

    async def write(self, *lines: str, stream="s", group=JOBS, at_ms=NOW_MS, step_ms=1) -> None:
        """Let a task write lines, each a millisecond after the other."""
        target = LogTarget(account=SCOPE.account, region=SCOPE.region, group=group, stream=stream)
        task_id = TaskId(stream)
        position = await self.sink.read_position(task_id, target)
        await self.sink.append(
            task_id,
            target,
            position=position + len(lines),
            lines=[
                OutputLine(at_ms=at_ms + index * step_ms, text=text)
                for index, text in enumerate(lines)
            ],
        )

    async def messages(self, stream="s", group=JOBS, **request) -> list[str]:
        """Read a whole stream."""
        answer = await self.call(
            "GetLogEvents",
            logGroupName=group,
            logStreamName=stream,
            startFromHead=True,
            **request,
        )
        return messages(answer)


def messages(answer) -> list[str]:
    return [event["message"] for event in answer["events"]]
