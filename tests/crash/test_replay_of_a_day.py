"""A day of everything, killed now and then: all that was decided in it is decided again.

What callers ask for comes in an order drawn from a seed: queues of every policy, arrays,
dependencies, nodes, retries, consumables, Spot instances that are reclaimed, quota shares that are
taken back, cancels, and changes of environments, queues and policies in between.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.live_yard import DEFINITION, QUEUE, LiveYard, a_seed, live_yard, until
from tests.e2e.test_interruptions import SPOT, listed, run

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

KILLS = 3
VCPUS = 8
RUNS_A_WHILE = "trap 'exit 143' TERM\nfor _ in 1 2 3 4 5; do sleep 0.1 & wait $!; done\n"
FAIR = {
    "computeReservation": 20,
    "shareDecaySeconds": 600,
    "shareDistribution": [
        {"shareIdentifier": "a", "weightFactor": 1},
        {"shareIdentifier": "b", "weightFactor": 3},
    ],
}


class Day:
    """What happens to a server in a day; it remembers every job."""

    def __init__(self, yard: LiveYard, chance: random.Random) -> None:
        self._yard = yard
        self._chance = chance
        self.ids: list[str] = []
        self._policy = yard.batch.create_scheduling_policy(name="fair", fairsharePolicy=FAIR)["arn"]
        yard.make_queue(max_vcpus=4)
        yard.make_other_queue("fair", max_vcpus=4, policy_arn=self._policy)
        yard.make_queue_on("spot", {"type": "MANAGED", "computeResources": SPOT})
        self._make_quota_shares()
        yard.batch.create_consumable_resource(
            consumableResourceName="license", totalQuantity=1, resourceType="REPLENISHABLE"
        )
        yard.batch.register_job_definition(
            jobDefinitionName="nodes", type="multinode", nodeProperties=_nodes()
        )

    def hours(self) -> Iterator[Callable[[], object]]:
        """Give what happens, each several times, in an order of its own."""

        def of_share(share: str, priority: int) -> dict[str, Any]:
            return {
                "jobQueue": "fair",
                "shareIdentifier": share,
                "schedulingPriorityOverride": priority,
            }

        submit = self._submit
        every: list[Callable[[], object]] = [
            partial(submit, retryStrategy={"attempts": 3}, script="exit 1"),
            partial(submit, arrayProperties={"size": 4}),
            partial(submit, arrayProperties={"size": 3}, dependsOn=[{"type": "SEQUENTIAL"}]),
            self._submit_child_by_child,
            partial(submit, jobDefinition="nodes", containerOverrides=None),
            partial(submit, consumableResourcePropertiesOverride=_needs("license")),
            partial(submit, **of_share("a", 5)),
            partial(submit, **of_share("b", 2), arrayProperties={"size": 3}),
            partial(submit, jobQueue="spot", retryStrategy=_retried_when_reclaimed()),
            partial(submit, jobQueue="quota", shareIdentifier="lender"),
            partial(submit, jobQueue="quota", shareIdentifier="borrower"),
            self._submit_after_another,
            self._end_one,
            self._reclaim_one,
            self._change_environment,
            self._change_queue,
            self._change_policy,
        ]
        often = every * 2
        self._chance.shuffle(often)
        yield from often

    def _submit(self, *, script: str = RUNS_A_WHILE, **members: Any) -> str:
        common: dict[str, Any] = {
            "jobName": "job",
            "jobQueue": QUEUE,
            "jobDefinition": DEFINITION,
            "containerOverrides": {"command": ["sh", "-c", script]},
        }
        asked = {name: each for name, each in (common | members).items() if each is not None}
        job_id: str = self._yard.batch.submit_job(**asked)["jobId"]
        self.ids.append(job_id)
        return job_id

    def _submit_after_another(self) -> None:
        before = self._chance.choice(self.ids) if self.ids else self._submit()
        self._submit(dependsOn=[{"jobId": before}])

    def _submit_child_by_child(self) -> None:
        first = self._submit(arrayProperties={"size": 2})
        self._submit(arrayProperties={"size": 2}, dependsOn=[{"jobId": first, "type": "N_TO_N"}])

    def _end_one(self) -> None:
        job_id = self._chance.choice(self.ids) if self.ids else self._submit()
        self._yard.batch.terminate_job(jobId=job_id, reason="not today")

    def _reclaim_one(self) -> None:
        for instance in listed(self._yard):
            if instance["capacityType"] == "SPOT" and instance["state"] == "running":
                run(self._yard, "instance", "interrupt", instance["instanceId"], "--notice", "0")
                return

    def _change_environment(self) -> None:
        vcpus = self._chance.choice([2, 4, 6])
        self._settled(
            lambda: self._yard.batch.update_compute_environment(
                computeEnvironment=QUEUE, computeResources={"maxvCpus": vcpus}
            )
        )

    def _change_queue(self) -> None:
        priority = self._chance.randint(1, 9)
        self._settled(lambda: self._yard.batch.update_job_queue(jobQueue="fair", priority=priority))

    def _change_policy(self) -> None:
        weight = self._chance.choice([0.5, 2.0])
        shares = [{"shareIdentifier": "a", "weightFactor": weight}]
        self._yard.batch.update_scheduling_policy(
            arn=self._policy, fairsharePolicy=FAIR | {"shareDistribution": shares}
        )

    def _settled(self, change: Callable[[], object]) -> None:
        """Make a change once the one before it is settled."""

        def is_taken() -> bool:
            try:
                change()
            except ClientError as error:
                if "being modified" not in str(error):
                    raise
                return False
            return True

        until(is_taken, "a change")

    def _make_quota_shares(self) -> None:
        batch = self._yard.batch
        policy = batch.create_scheduling_policy(
            name="quota", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
        )["arn"]
        self._yard.make_other_queue("quota", max_vcpus=2, policy_arn=policy)
        for name, strategy in (("lender", "LEND"), ("borrower", "LEND_AND_BORROW")):
            borrow = {"borrowLimit": 100} if strategy == "LEND_AND_BORROW" else {}
            arn = batch.create_quota_share(
                quotaShareName=name,
                jobQueue="quota",
                capacityLimits=[{"maxCapacity": 1, "capacityUnit": "VCPU"}],
                resourceSharingConfiguration={"strategy": strategy, **borrow},
                preemptionConfiguration={"inSharePreemption": "DISABLED"},
            )["quotaShareArn"]
            until(partial(self._is_valid, arn), "a VALID share")

    def _is_valid(self, share_arn: str) -> bool:
        answer = self._yard.batch.describe_quota_share(quotaShareArn=share_arn)
        return bool(answer["status"] == "VALID")


def _nodes() -> dict[str, Any]:
    container = {
        "image": "busybox",
        "command": ["true"],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "16"},
        ],
    }
    ranges = [{"targetNodes": "0:", "container": container}]
    return {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges}


def _needs(name: str) -> dict[str, Any]:
    return {"consumableResourceList": [{"consumableResource": name, "quantity": 1}]}


def _retried_when_reclaimed() -> dict[str, Any]:
    rules = [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    return {"attempts": 4, "evaluateOnExit": rules}


def attempts_on_record(yard: LiveYard, job_ids: list[str]) -> set[tuple[str, int]]:
    """Name every attempt that DescribeJobs knows of jobs and children, but not of nodes."""
    jobs = yard.jobs(*job_ids)
    for job in list(jobs):
        for index in range(job.get("arrayProperties", {}).get("size", 0)):
            jobs += yard.jobs(f"{job['jobId']}:{index}")
    return {(job["jobId"], number) for job in jobs for number in range(1, len(job["attempts"]) + 1)}


def test_a_day_of_everything_with_kills_in_its_middle_is_decided_again() -> None:
    chance = random.Random(a_seed())
    with live_yard(
        machine_vcpus=VCPUS, instance_idle_s=1, are_container_quota_shares_allowed=True
    ) as yard:
        day = Day(yard, chance)
        hours = list(day.hours())
        kills = sorted(chance.sample(range(len(hours)), KILLS))
        for hour, happen in enumerate(hours):
            happen()
            if hour in kills:
                yard.restart_after_kill()
        yard.ended(*day.ids)
        expected = attempts_on_record(yard, day.ids)
        done = run(yard, "replay", "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    spans = json.loads(done.stdout)["recordings"]
    assert [span["difference"] for span in spans] == [None] * (KILLS + 1)
    decisions = [each for span in spans for each in span["decisions"]]
    started = [(each["job_id"], each["attempt_number"]) for each in decisions]
    assert len(set(started)) == len(started)
    assert set(started) == expected
