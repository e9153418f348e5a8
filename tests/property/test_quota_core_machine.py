"""The core with a queue of quota shares under random histories, most of which preempt somebody.

Goal: what `test_core_machine` demands, where attempts are preempted, terminated meanwhile, end by
themselves first, or are found again after a crash; and that who was preempted does not lose an
attempt, nor goes on more often than it said. Method: a hypothesis state machine on one queue with
room for few of its jobs, whose stopped tasks end when it pleases them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.quota_books import quota_shares_of
from batchyard.core.state import QuotaShare
from batchyard.model.ids import JobId, whole_id_of
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.model.status import JobStatus
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    a_quota_share,
    an_amount,
    an_environment,
    job_id,
    queue_arn,
)
from tests.property.world import World, essence_of_quota

SHARES = ("lender", "borrower", "both")


class QuotaCoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.submitted = 0

    @initialize(has_instances=st.booleans(), vcpus=st.sampled_from([6, 9]))
    def begin(self, has_instances, vcpus) -> None:
        world = self.world
        self.vcpus = vcpus
        world.feed(a_host(cpu_milli=1000 * vcpus, memory_mib=10**6))
        make = a_launching_environment if has_instances else an_environment
        world.feed(make(vcpus=vcpus))
        world.feed(a_queue("quota", has_quota_shares=True))
        world.feed(a_quota_share("lender", queue="quota", VCPU=3))
        world.feed(a_quota_share("borrower", queue="quota", borrows=-1, VCPU=3))
        world.feed(a_quota_share("both", queue="quota", borrows=100, preempts_within=True, VCPU=3))

    @rule(
        share=st.sampled_from(SHARES),
        priority=st.sampled_from([0, 0, 5]),
        cpu=st.sampled_from([1000, 1000, 2000]),
        kind=st.sampled_from(["job", "job", "array", "nodes", "nodes"]),
        tries=st.tuples(st.integers(1, 2), st.sampled_from([None, None, None, 0, 1])),
    )
    def submit(self, share, priority, cpu, kind, tries) -> None:
        self.submitted += 1
        shape: dict[str, Any] = {"cpu_milli": cpu}
        if kind == "array":
            shape["array_size"] = 3
        elif kind == "nodes":
            group = NodeGroup(count=2, demand=an_amount(cpu_milli=cpu // 2))
            shape |= {"nodes": NodePlan(main_index=0, groups=(group,)), "memory_mib": 1024}
        command = a_job(
            self.submitted,
            queue="quota",
            share_identifier=share,
            scheduling_priority=priority,
            attempts=tries[0],
            preemption_retries_max=tries[1],
            **shape,
        )
        self.world.submit(command.job)
        self.world.plan()

    @rule(seconds=st.integers(0, 30))
    def start(self, seconds) -> None:
        """Let a round start what it will, and all of it begin."""
        world = self.world
        world.plan()
        world.now_ms += seconds * 1000
        for task_id in list(world.live_tasks):
            world.feed(i.TaskStarted(task_id=task_id, at_ms=world.now_ms, address="10.0.0.1"))

    @rule(data=st.data(), exit_code=st.sampled_from([0, 1, 143, None]))
    @precondition(lambda self: self.world.live_tasks)
    def end(self, data, exit_code) -> None:
        """Let a task end, one that has been told to if there is any."""
        world = self.world
        told = sorted(
            job.progress.attempt.task_id
            for job in world.state.jobs.values()
            if job.nodes is None and job.progress.attempt and job.progress.attempt.stop_cause
        )
        task_id = data.draw(st.sampled_from(told or sorted(world.live_tasks)))
        del world.live_tasks[task_id]
        world.feed(
            i.TaskEnded(task_id=task_id, at_ms=world.now_ms, exit_code=exit_code, reason=None)
        )
        world.plan()

    @rule(data=st.data())
    @precondition(lambda self: self.submitted)
    def terminate(self, data) -> None:
        number = data.draw(st.integers(1, self.submitted))
        self.world.feed(i.TerminateJob(job_id=job_id(number), reason="because"))

    @rule(share=st.sampled_from(SHARES), vcpus=st.integers(0, 4), borrows=st.sampled_from([-1, 50]))
    def change_share(self, share, vcpus, borrows) -> None:
        found = self.find(share)
        if found is None or not found.is_draining:
            changed = a_quota_share(share, queue="quota", borrows=borrows, VCPU=vcpus)
            self.world.feed(changed)
            self.world.plan()

    @rule(share=st.sampled_from(SHARES))
    @precondition(lambda self: self.submitted > 8)
    def delete_share(self, share) -> None:
        self.world.feed(i.DeleteQuotaShare(queue_arn=queue_arn("quota"), name=share))

    def find(self, name: str) -> QuotaShare | None:
        return quota_shares_of(self.world.state, queue_arn("quota")).get(name)

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @invariant()
    def holds(self) -> None:
        check(self.world.state)

    def teardown(self) -> None:
        world = self.world
        if not world.resources:
            return
        again = world.replay()
        for arn, queue in again.queues.items():
            assert essence_of_quota(queue) == essence_of_quota(world.state.queues[arn])
        for name in SHARES:
            found = self.find(name)
            if found is None or not found.is_draining:
                world.feed(a_quota_share(name, queue="quota", VCPU=3))
        for _ in range(20 * self.submitted + 10):
            world.plan()
            world.now_ms += 10_000
            world.feed(i.Tick())
            for task_id in list(world.live_tasks):
                del world.live_tasks[task_id]
                at_ms = world.now_ms
                world.feed(i.TaskStarted(task_id=task_id, at_ms=at_ms))
                world.feed(i.TaskEnded(task_id=task_id, at_ms=at_ms, exit_code=0, reason=None))
        assert not world.state.jobs, "a job neither ended nor can end"
        self.demand_that_preemption_costs_nothing()

    def demand_that_preemption_costs_nothing(self) -> None:
        """By the events: preempted attempts do not count, and nobody goes on beyond his number."""
        causes: dict[JobId, object] = {}
        counted: Counter[JobId] = Counter()
        preempted: Counter[JobId] = Counter()
        retried: Counter[JobId] = Counter()
        for event in self.world.memory.events:
            match event:
                case e.AttemptPlaced():
                    causes.pop(event.job_id, None)
                case e.AttemptStopping():
                    causes[event.job_id] = event.cause
                case e.AttemptEnded() if "#" not in event.job_id:
                    cause = causes.get(event.job_id)
                    is_preempted = cause is not None and "PREEMPTION" in str(cause)
                    (preempted if is_preempted else counted)[event.job_id] += 1
                case e.JobRetried():
                    retried[event.job_id] += 1
        for each, count in (counted + preempted).items():
            job = self.world.store.job_by_id[whole_id_of(each)]
            assert counted[each] <= job.attempts_max
            progress = self.world.store.progress(each)
            assert (len(progress.attempts), progress.preempted_count) == (
                counted[each],
                preempted[each],
            )
            most = job.preemption_retries_max
            assert most is None or preempted[each] <= most + 1
            # The last one is over for good, or was to be followed by one that never came.
            assert count - retried[each] in (0, 1)
            assert progress.status in (JobStatus.SUCCEEDED, JobStatus.FAILED)


TestQuotaCoreMachine = QuotaCoreMachine.TestCase
