"""A core on a stage: feed inputs, and get what came of them."""

from __future__ import annotations

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.effects import Effect
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.ids import JobId, TaskId, task_id_of
from batchyard.model.records import JobProgress
from batchyard.model.status import JobStatus
from tests.builders import a_host, a_queue, an_environment, job_id, run_round


class Yard:
    """A state with one host, one environment of 4 vCPUs and one queue; claims every effect."""

    def __init__(self, *setup: i.Input) -> None:
        self.state = State()
        self.now_ms = 1_000
        self.progress: dict[JobId, JobProgress] = {}
        for each in setup or (a_host(), an_environment(), a_queue()):
            step(self.state, each, 0)

    def feed(self, *happenings: i.Input):
        """Feed inputs; give the events, and the effects that followed."""
        events: list[e.Event] = []
        effects: list[Effect] = []
        for each in happenings:
            self.keep(step(self.state, each, self.now_ms), events, effects)
        return events, effects

    def round(self):
        events: list[e.Event] = []
        effects: list[Effect] = []
        self.keep(run_round(self.state, self.now_ms), events, effects)
        return events, effects

    def keep(self, outcome, events, effects) -> None:
        events += outcome.events
        effects += outcome.effects
        self.progress |= outcome.changed

    def status(self, job: int | JobId) -> JobStatus:
        return self.progress[job_id(job) if isinstance(job, int) else job].status

    def started(self, job: int | JobId, attempt: int = 1, **more):
        return i.TaskStarted(task_id=_task_of(job, attempt), at_ms=self.now_ms, **more)

    def ended(self, job: int | JobId, exit_code: int | None, attempt: int = 1, **more):
        return i.TaskEnded(
            task_id=_task_of(job, attempt),
            at_ms=self.now_ms,
            exit_code=exit_code,
            reason=more.pop("reason", None),
            **more,
        )


def _task_of(job: int | JobId, attempt: int) -> TaskId:
    return task_id_of(job_id(job) if isinstance(job, int) else job, attempt)
