"""The pretended machine of a yard: the backend's twin, whose containers do what `Jobs` says.

Owns the way from a task to the job that it is an attempt of. Refuses to decide what containers do.
"""

from collections.abc import Callable, Iterator, Sequence

from batchyard.compute.port import ContainerSpec, OutputSink, TaskSpec
from batchyard.compute.twin import Script, TwinBackend, TwinMachine
from batchyard.model.ids import JobId, TaskId, name_in_arn
from batchyard.model.records import JobRecord
from batchyard.store import Store
from batchyard.store.jobs import read_specs
from batchyard.testing.behaviour import Container, Jobs


class PretendedBackend(TwinBackend):
    """The port to the machine. The job of a task is looked up before the task is taken."""

    def __init__(self, machine: TwinMachine, store: Store, sink: OutputSink, jobs: Jobs) -> None:
        super().__init__(machine, sink)
        self._twin = machine
        self._records = store
        self._jobs = jobs
        self._seen: dict[TaskId, list[Container]] = {}
        #: Set as soon as there is an engine, and so before any task.
        self.find_task: Callable[[TaskId], JobId | None] = lambda _: None

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        found = {task.task_id: self.find_task(task.task_id) for task in tasks}
        ids = [job_id for job_id in found.values() if job_id is not None]
        records = await self._records.read(lambda conn: read_specs(conn, ids))
        for task in tasks:
            job_id = found[task.task_id]
            if job_id is None:  # over before it began
                self._twin.accept(task, [Script(is_start_held=True) for _ in task.containers])
                continue
            seen = [_seen_as(each, records[job_id]) for each in task.containers]
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


def _seen_as(spec: ContainerSpec, record: JobRecord) -> Container:
    job, attempt = record.job, record.progress.attempt
    return Container(
        job_id=job.id,
        job_name=job.name,
        definition=name_in_arn(job.definition_arn),
        queue=name_in_arn(job.queue_arn),
        attempt=1 if attempt is None else attempt.number,
        array_index=record.index if job.array_size is not None else None,
        node_index=record.index if job.nodes is not None else None,
        name=spec.name,
        image=spec.image,
        command=spec.command or (),
        environment=dict(spec.environment),
    )
