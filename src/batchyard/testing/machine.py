"""The pretended machine of a yard: the backend's twin, whose containers do what `Jobs` says.

Owns the way from a task to the job that it is an attempt of. Refuses to decide what containers do.
"""

from collections.abc import Iterator, Sequence

from batchyard.compute.port import ContainerSpec, OutputSink, TaskSpec
from batchyard.compute.twin import TwinBackend, TwinMachine
from batchyard.model.ids import JobId, TaskId, name_in_arn
from batchyard.model.records import NewJob
from batchyard.store import Store
from batchyard.store.jobs import read_specs
from batchyard.testing.behaviour import Container, Jobs

_JOB_ID = "AWS_BATCH_JOB_ID"


class PretendedBackend(TwinBackend):
    """The port to the machine. The job of a task is looked up before the task is taken."""

    def __init__(self, machine: TwinMachine, store: Store, sink: OutputSink, jobs: Jobs) -> None:
        super().__init__(machine, sink)
        self._twin = machine
        self._records = store
        self._jobs = jobs
        self._seen: dict[TaskId, list[Container]] = {}

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        ids = list({job_id for task in tasks if (job_id := _job_id_of(task))})
        records = await self._records.read(lambda conn: read_specs(conn, ids))
        for task in tasks:
            record = records.get(_job_id_of(task))
            job = None if record is None else record.job
            seen = [_seen_as(task, each, job) for each in task.containers]
            self._seen[task.task_id] = seen
            self._twin.accept(task, [self._jobs.script_of(each) for each in seen])

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        await super().forget(task_ids)
        for task_id in task_ids:
            self._seen.pop(task_id, None)

    async def leave_if_idle(self) -> bool:
        return True

    def live(self) -> Iterator[tuple[TaskId, Container]]:
        """Give the containers that have not ended, in the order of their tasks."""
        for task_id, seen in list(self._seen.items()):
            task = self._twin.tasks.get(task_id)
            if task is not None and task.ended is None:
                for each in seen:
                    if task.named(each.name).ended is None:
                        yield task_id, each


def _job_id_of(task: TaskSpec) -> JobId:
    """Name the job, child or node; empty for a training job, which is not told."""
    return JobId(dict(task.containers[0].environment).get(_JOB_ID, ""))


def _seen_as(task: TaskSpec, spec: ContainerSpec, job: NewJob | None) -> Container:
    environment = dict(spec.environment)
    training = task.training
    return Container(
        job_id=_job_id_of(task),
        job_name=job.name if job is not None else training.job_name if training else "",
        definition=name_in_arn(job.definition_arn) if job is not None else "",
        queue=name_in_arn(job.queue_arn) if job is not None else "",
        attempt=int(environment.get("AWS_BATCH_JOB_ATTEMPT", "1")),
        array_index=_number(environment.get("AWS_BATCH_JOB_ARRAY_INDEX")),
        node_index=_number(environment.get("AWS_BATCH_JOB_NODE_INDEX")),
        name=spec.name,
        image=spec.image,
        command=spec.command or (),
        environment=environment,
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
