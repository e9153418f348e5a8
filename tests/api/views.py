"""ECS and EC2 over the store of a Yard, with a hand in the place of the engine's memory."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from batchyard.api import ec2, ecs
from batchyard.core.instance_uses import InstanceUse
from batchyard.engine.task_facts import task_describer
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, JobId, TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.records import Attempt, InstanceRecord
from batchyard.model.refusal import Refusal
from batchyard.model.task_facts import TaskGlance
from batchyard.store import instances
from batchyard.wire.call import Call
from tests.api.conftest import SCOPE, Yard, strangers

_SESSION = botocore.session.get_session()
_MODELS = {name: _SESSION.get_service_model(name) for name in ("ecs", "ec2")}


class Views:
    """Calls operations of `ecs` and `ec2`; a test says which tasks the engine would name."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.live: dict[EnvironmentArn, list[TaskGlance]] = {}
        self.ended: dict[EnvironmentArn, list[TaskGlance]] = {}
        self.uses: dict[InstanceId, InstanceUse] = {}
        #: Tasks that were described, each as often as it was.
        self.described: list[TaskId] = []
        describe = task_describer(yard.store, self._find_job)

        async def describe_task(task_id: TaskId) -> Any:
            self.described.append(task_id)
            return await describe(task_id)

        service = ecs.Service(
            store=yard.store,
            describe_task=describe_task,
            list_tasks=lambda arn: self.live.get(arn, []),
            list_ended_tasks=lambda arn: self.ended.get(arn, []),
            find_use=self.uses.get,
        )
        self._handlers = {**ecs.handlers(service), **ec2.handlers(yard.store)}

    def _find_job(self, task_id: TaskId) -> JobId | None:
        every = [*self.live.values(), *self.ended.values()]
        found = (each.job_id for tasks in every for each in tasks if each.task_id == task_id)
        return next(found, None)

    def note(self, job_id: JobId, attempt: Attempt) -> str:
        """Let the engine know of a task; gives its id."""
        tasks = self.live if attempt.stopped_ms is None else self.ended
        tasks.setdefault(attempt.environment_arn, []).append(
            TaskGlance(
                task_id=attempt.task_id,
                job_id=job_id,
                instance_id=attempt.instance_id,
                is_running=attempt.started_ms is not None,
                is_stopping=attempt.stop_cause is not None or attempt.stopped_ms is not None,
            )
        )
        return attempt.task_id

    async def call(self, service: str, operation: str, /, **request: Any) -> Any:
        call = Call(
            scope=SCOPE,
            principal_arn=f"arn:aws:iam::{SCOPE.account}:root",
            user_id=SCOPE.account,
            access_key_id="AKIDEXAMPLE",
            request_id="the-request-id",
            now_ms=self.yard.now_ms,
            body_size=100,
        )
        answer = await self._handlers[service, operation](call, request)
        shape = _MODELS[service].operation_model(operation).output_shape
        assert strangers(answer, shape) == []
        return answer

    async def refused(self, service: str, operation: str, /, **request: Any) -> tuple[str, str]:
        """Give code and text of the refusal that the call must meet."""
        with pytest.raises(Refusal) as refused:
            await self.call(service, operation, **request)
        code = refused.value.code
        assert refused.value.http_status == (412 if code == "DryRunOperation" else 400)
        return code, refused.value.message

    async def cluster(self, name: str = "ce") -> str:
        described = await self.yard.call("DescribeComputeEnvironments", computeEnvironments=[name])
        return str(described["computeEnvironments"][0]["ecsClusterArn"])

    async def instance(self, number: int, **changes: Any) -> InstanceId:
        """Store an instance of `ce`; its number is its id's."""
        record = InstanceRecord(
            **{
                "id": InstanceId(f"i-{number:017x}"),
                "environment_arn": SCOPE.environment_arn("ce"),
                "host_id": "this-machine",
                "instance_type": "c6i.large",
                "capacity": Amount(cpu_milli=2000, memory_mib=3000),
                "launched_ms": self.yard.now_ms,
                "ready_ms": self.yard.now_ms,
                "is_spot": False,
                **changes,
            }
        )

        def work(conn: Any) -> None:
            instances.insert_instance(conn, record)
            if record.terminated_ms is not None and record.cause is not None:
                instances.end_instance(
                    conn, record.id, at_ms=record.terminated_ms, cause=record.cause
                )

        await self.yard.store.write(work)
        return record.id
