"""Queues with shares under random histories.

Goal: every job that a round places comes from the share whose turn it is (see `fairness`), whatever
ended, was tried again or was weighed anew before, and after a crash as before it. Method: a
hypothesis state machine on one queue with four shares and room for few of the jobs.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.core import inputs as i
from batchyard.core.check import check
from tests.builders import (
    a_host,
    a_job,
    a_policy,
    a_queue,
    an_environment,
    policy_arn,
)
from tests.property.world import World, essence_of_shares

SHARES = ("a", "b", "teamA", "teamB")
VCPUS = 4


class ShareMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.submitted = 0

    @initialize()
    def begin(self) -> None:
        self.world.feed(a_host(cpu_milli=1000 * VCPUS, memory_mib=10**6))
        self.world.feed(an_environment(vcpus=VCPUS))
        self.world.feed(a_queue("fair", policy=a_policy(b=2, team_=0.5)))

    @rule(
        share=st.sampled_from(SHARES),
        priority=st.sampled_from([0, 0, 7]),
        cpu=st.sampled_from([250, 1000, 1000, 2000]),
        size=st.sampled_from([None, 2, 5]),
        attempts=st.integers(1, 2),
    )
    def submit(self, share, priority, cpu, size, attempts) -> None:
        self.submitted += 1
        command = a_job(
            self.submitted,
            queue="fair",
            share_identifier=share,
            scheduling_priority=priority,
            cpu_milli=cpu,
            array_size=size,
            attempts=attempts,
        )
        self.world.submit(command.job)

    @rule(data=st.data(), seconds=st.integers(0, 400))
    @precondition(lambda self: self.submitted)
    def work(self, data, seconds) -> None:
        """Let a round start what it will; some time later, some of what runs ends."""
        world = self.world
        world.plan()
        world.now_ms += seconds * 1000
        running = sorted(world.live_tasks)
        for task_id in (
            data.draw(st.lists(st.sampled_from(running), unique=True)) if running else ()
        ):
            del world.live_tasks[task_id]
            late_ms = data.draw(st.sampled_from([0, 0, 1500]))
            exit_code = data.draw(st.sampled_from([0, 0, 1]))
            world.feed(i.TaskStarted(task_id=task_id, at_ms=world.now_ms - late_ms))
            world.feed(
                i.TaskEnded(
                    task_id=task_id,
                    at_ms=world.now_ms - late_ms,
                    exit_code=exit_code,
                    reason=None,
                )
            )
        world.plan()

    @rule(
        reservation=st.sampled_from([0, 50, 80]),
        weight=st.sampled_from([0.25, 1, 3]),
        of_team=st.sampled_from([0.25, 1]),
    )
    def change_policy(self, reservation, weight, of_team) -> None:
        policy = a_policy(reservation=reservation, b=weight, team_=of_team)
        self.world.feed(i.PutPolicy(arn=policy_arn(), revision=2, policy=policy))

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @invariant()
    def holds(self) -> None:
        check(self.world.state)

    def teardown(self) -> None:
        again = self.world.replay()
        for arn, queue in again.queues.items():
            assert essence_of_shares(queue) == essence_of_shares(self.world.state.queues[arn])


TestShareMachine = ShareMachine.TestCase
