"""An engine over a real SQLite store and the twin backend, with a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from batchyard.compute.twin import TwinBackend, TwinMachine
from batchyard.engine.clock import LoopClock
from batchyard.engine.launch import Surroundings
from batchyard.engine.loop import Engine
from batchyard.engine.recording import RecordingLimits
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, JobId
from batchyard.model.records import ConsumableNeed, JobRecord, Json, NewJob, WishKind
from batchyard.model.secret_reference import SecretReference
from batchyard.model.status import JobStatus, ResourceState
from batchyard.store import Store, environments, jobs, policies, queues, wishes
from tests.builders import SCOPE, environment_arn, job_id, policy_arn, queue_arn


class Sink:
    """Takes output, and keeps the position as the real one does."""

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}

    async def read_position(self, task_id, target) -> int:
        return self.positions.get(task_id, 0)

    async def append(self, task_id, target, *, position, lines) -> None:
        self.positions[task_id] = max(position, self.positions.get(task_id, 0))

    async def forget(self, task_ids) -> None:
        for task_id in task_ids:
            self.positions.pop(task_id, None)


class Stage:
    """A store and a machine that outlive engines, and the wishes that callers write."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_ms = 1_000_000
        self.machine = TwinMachine(now_ms=lambda: self.now_ms)
        self.sink = Sink()
        self.recording = RecordingLimits(days=7)
        self.surroundings = Surroundings()
        self.secrets: dict[SecretReference, str] = {}

    async def read_secrets(self, wanted):
        return {each: self.secrets[each] for each in wanted}

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """Run an engine; leaving the block ends it at once, wherever it is, like a crash."""
        backend = TwinBackend(self.machine, self.sink)
        await backend.open()
        engine = Engine(
            store=self.store,
            backend=backend,
            forget_output=self.sink.forget,
            read_secrets=self.read_secrets,
            surroundings=self.surroundings,
            clock=LoopClock(lambda: self.now_ms),
            recording=self.recording,
        )
        running = asyncio.ensure_future(engine.run())
        try:
            await engine.wait_until_ready()
            yield engine
        finally:
            running.cancel()
            await asyncio.wait([running])
            await backend.close()
            assert running.cancelled(), running.exception()

    async def create(
        self, *, vcpus: int = 4, policy: Json | None = None, kind: str = "EC2"
    ) -> None:
        """Wish for the environment `ce` and the queue `jq`, which has the policy, if any."""

        def work(conn) -> None:
            if policy is not None:
                policies.insert_policy(
                    conn,
                    arn=policy_arn(),
                    scope=SCOPE,
                    name="policy",
                    detail={"fairsharePolicy": policy},
                    tags={},
                )
            insert_environment(conn, {"computeResources": {"type": kind, "maxvCpus": vcpus}})
            insert_queue(conn, {} if policy is None else {"schedulingPolicyArn": policy_arn()})
            self.store.note_wish()

        await self.store.write(work)

    async def change_policy(self, policy: Json) -> None:
        def work(conn) -> None:
            policies.update_policy(conn, policy_arn(), {"fairsharePolicy": policy})
            self.store.note_wish()

        await self.store.write(work)

    async def submit(self, *numbers: int, image: str = "image", **job) -> None:
        for number in numbers:
            await self.store.append_job(a_new_job(number, image=image, **job))

    async def wish(self, kind: WishKind, number: int, reason: str) -> None:
        def work(conn) -> None:
            wishes.add_wish(conn, kind, job_id(number), reason)
            self.store.note_wish()

        await self.store.write(work)

    async def job(self, number: int) -> JobRecord:
        records = await self.store.read(lambda conn: jobs.read_specs(conn, [job_id(number)]))
        return records[job_id(number)]

    async def until(self, number: int, *statuses: JobStatus) -> JobRecord:
        """Wait until a job is in one of the statuses, as the store tells."""
        return await self.until_true(lambda record: record.progress.status in statuses, number)

    async def until_true(self, holds: Callable[[JobRecord], bool], number: int) -> JobRecord:
        while not holds(record := await self.job(number)):
            await asyncio.sleep(0)
        return record


def insert_environment(conn, detail: Json) -> None:
    environments.insert_environment(
        conn,
        arn=environment_arn(),
        scope=SCOPE,
        name="ce",
        uuid="u",
        state=ResourceState.ENABLED,
        detail=detail,
        tags={},
    )


def insert_queue(
    conn, detail: Json, name: str = "jq", environment: EnvironmentArn | None = None
) -> None:
    queues.insert_queue(
        conn,
        arn=queue_arn(name),
        scope=SCOPE,
        name=name,
        state=ResourceState.ENABLED,
        priority=1,
        environment_arns=[environment or environment_arn()],
        detail=detail,
        tags={},
    )


def a_new_job(
    number: int,
    *,
    image: str = "image",
    attempts: int = 1,
    timeout_ms=None,
    after=(),
    log_options: dict[str, str] | None = None,
    needs: tuple[ConsumableNeed, ...] = (),
    share: str | None = None,
    cpu_milli: int = 1000,
    secret: str | None = None,
):
    container: dict[str, object] = {"image": image, "command": ["true"]}
    if log_options is not None:
        container["logConfiguration"] = {"logDriver": "awslogs", "options": log_options}
    if secret is not None:
        container["secrets"] = [{"name": "KEY", "valueFrom": secret}]
    return NewJob(
        id=job_id(number),
        scope=SCOPE,
        queue_arn=queue_arn(),
        name=f"job-{number}",
        definition_arn=SCOPE.definition_arn("def", 1),
        created_ms=1_000_000,
        demand=Amount(cpu_milli=cpu_milli, memory_mib=128),
        attempts_max=attempts,
        timeout_ms=timeout_ms,
        depends_on=tuple(JobId(job_id(each)) for each in after),
        needs=needs,
        share_identifier=share,
        scheduling_priority=None if share is None else 0,
        spec=msgspec.json.encode({"container": container}),
        tags={},
    )
