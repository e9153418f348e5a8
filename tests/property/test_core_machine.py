"""The core under random histories.

Goal: whatever callers, backends and time do, every invariant of `core.check` holds after every
step, the events alone give the state again, no job runs beside itself or before its dependencies,
and once the outside behaves, every accepted job ends. Method: a hypothesis state machine draws
commands, plans and reports, in any order, repeated or late.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import StartTask, StopTask
from batchyard.core.evolve import evolve
from batchyard.core.restore import resume
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.ids import JobId, TaskId
from batchyard.model.status import JobStatus
from tests.builders import (
    HOST,
    a_host,
    a_job,
    a_queue,
    an_environment,
    environment_arn,
    job_id,
    queue_arn,
    run_round,
)

QUEUES = ("low", "high")
EXIT_CODES = st.sampled_from([0, 0, 0, 1, 137, None])


class CoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.now_ms = 1_000
        self.events: list[e.Event] = []
        self.submitted = 0
        self.final: dict[JobId, JobStatus] = {}
        self.started_tasks: list[TaskId] = []
        self.live_tasks: dict[TaskId, bool] = {}

    def feed(self, happening: i.Input) -> None:
        self.absorb(step(self.state, happening, self.now_ms))

    def absorb(self, outcome) -> None:
        for event in outcome.events:
            if isinstance(event, e.JobFact):
                assert event.job_id not in self.final, "a terminal job changed"
            if isinstance(event, e.AttemptPlaced):
                self.check_dependencies(event.job_id)
            if isinstance(event, e.JobSucceeded):
                self.final[event.job_id] = JobStatus.SUCCEEDED
            if isinstance(event, e.JobFailed):
                self.final[event.job_id] = JobStatus.FAILED
        self.events += outcome.events
        for effect in outcome.effects:
            if isinstance(effect, StartTask):
                if effect.task_id not in self.live_tasks:
                    assert effect.task_id not in self.started_tasks, "an attempt was started twice"
                    self.started_tasks.append(effect.task_id)
                    self.live_tasks[effect.task_id] = False
            elif isinstance(effect, StopTask):
                assert effect.task_id in self.live_tasks

    def check_dependencies(self, started: JobId) -> None:
        for dependency_id in self.dependencies[started]:
            assert self.final.get(dependency_id) is JobStatus.SUCCEEDED

    @initialize()
    def begin(self) -> None:
        self.dependencies: dict[JobId, tuple[JobId, ...]] = {}
        self.feed(a_host())
        for name in ("ce", "other"):
            self.feed(an_environment(name))
        self.feed(a_queue("low", seq=1, priority=1, environments=("ce",)))
        self.feed(a_queue("high", seq=2, priority=9, environments=("other", "ce")))

    @rule(data=st.data(), attempts=st.integers(1, 3), cpu=st.sampled_from([250, 1000, 3000, 9000]))
    def submit(self, data, attempts, cpu) -> None:
        number = self.submitted + 1
        self.submitted = number
        after = tuple(
            data.draw(st.lists(st.integers(1, number - 1), max_size=3)) if number > 1 else []
        )
        command = a_job(
            number,
            queue=data.draw(st.sampled_from(QUEUES)),
            cpu_milli=cpu,
            attempts=attempts,
            timeout_ms=data.draw(st.sampled_from([None, 60_000])),
            after=after,
            finished={
                each: self.final[job_id(each)] for each in after if job_id(each) in self.final
            },
        )
        self.dependencies[command.job.id] = command.job.depends_on
        self.feed(command)

    @rule()
    def plan(self) -> None:
        self.absorb(run_round(self.state, self.now_ms))

    @rule(data=st.data())
    @precondition(lambda self: self.live_tasks)
    def report_start(self, data) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.live_tasks)))
        self.live_tasks[task_id] = True
        self.feed(i.TaskStarted(task_id=task_id, at_ms=self.now_ms))

    @rule(data=st.data(), exit_code=EXIT_CODES, is_lost=st.booleans())
    @precondition(lambda self: self.started_tasks)
    def report_end(self, data, exit_code, is_lost) -> None:
        task_id = data.draw(st.sampled_from(self.started_tasks))
        self.live_tasks.pop(task_id, None)
        self.feed(
            i.TaskEnded(
                task_id=task_id,
                at_ms=self.now_ms,
                exit_code=exit_code,
                reason=None,
                is_lost=is_lost and exit_code is None,
            )
        )

    @rule(data=st.data(), is_cancel=st.booleans())
    @precondition(lambda self: self.submitted)
    def wish(self, data, is_cancel) -> None:
        target = job_id(data.draw(st.integers(1, self.submitted)))
        command = i.CancelJob if is_cancel else i.TerminateJob
        self.feed(command(job_id=target, reason="because"))

    @rule(seconds=st.integers(1, 90))
    def pass_time(self, seconds) -> None:
        self.now_ms += seconds * 1000
        self.feed(i.Tick())

    @rule(vcpus=st.integers(0, 6), is_enabled=st.booleans(), name=st.sampled_from(["ce", "other"]))
    def change_environment(self, vcpus, is_enabled, name) -> None:
        if environment_arn(name) in self.state.environments:
            self.feed(an_environment(name, vcpus=vcpus, is_enabled=is_enabled))

    @rule(name=st.sampled_from(QUEUES))
    @precondition(lambda self: self.submitted > 12)
    def delete_queue(self, name) -> None:
        if queue_arn(name) in self.state.queues:
            self.feed(i.DeleteQueue(arn=queue_arn(name)))

    @rule()
    def crash_and_resume(self) -> None:
        """A restart owes the backend nothing that it knows, and loses nothing it does not."""
        self.absorb(resume(self.state, frozenset(self.live_tasks), HOST, self.now_ms))

    @invariant()
    def holds(self) -> None:
        check(self.state)

    def teardown(self) -> None:
        again = State()
        for event in self.events:
            if not isinstance(event, (e.QueueDeleted, e.EnvironmentDeleted)) or (
                event.arn in again.queues or event.arn in again.environments
            ):
                evolve(again, event)
        check(again)
        assert repr(again.jobs) == repr(self.state.jobs), "the events do not give the state again"
        self.finish_everything()

    def finish_everything(self) -> None:
        """With room for all and a backend that behaves, every job ends."""
        self.feed(a_host(cpu_milli=10_000, memory_mib=65_536))
        for name in ("ce", "other"):
            if environment_arn(name) in self.state.environments:
                self.feed(an_environment(name, vcpus=100))
        for _ in range(10 * self.submitted + 10):
            self.absorb(run_round(self.state, self.now_ms))
            for task_id in list(self.live_tasks):
                del self.live_tasks[task_id]
                self.feed(i.TaskEnded(task_id=task_id, at_ms=self.now_ms, exit_code=0, reason=None))
        assert not self.state.jobs, "a job neither ended nor can end"
        assert len(self.final) == self.submitted


TestCoreMachine = CoreMachine.TestCase
