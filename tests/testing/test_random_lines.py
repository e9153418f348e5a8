"""Every job that has not ended says why, in one line and in full, whatever the yard does.

Goal: at every moment of a random life of a yard, each job, child and node that has not ended has a
line of its own in DescribeJobs and in ListJobs, never a general one; and once the yard has come to
rest the line and the head of the tree say the same. Method: queues of every kind, jobs of every
kind, and a caller who changes his mind, all drawn from a seed; everything is looked at after each
step. A failure names its seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard.model.amounts import Amount
from tests.testing.worlds import World, open_yard

SEEDS = 4
SEEDS_NIGHTLY = 100
STEPS = 14

_LIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
_LIVE_SERVICE_JOBS = ("SUBMITTED", "PENDING", "RUNNABLE", "SCHEDULED", "STARTING", "RUNNING")
#: What a line never is, alone.
_GENERAL = re.compile(
    r"(it waits\.?|waiting|unknown|pending|runnable|.*root cause is undetermined.*"
    r"|.*place in the job queue is not known yet.*|.*is about to look at it.*)",
    re.IGNORECASE,
)
#: Which causes of the first reason go with a line in AWS's words.
_CAUSES_BY_CODE = {
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": {"NEVER_FITS"},
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT": {"NEVER_FITS"},
    "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED": {"NEVER_FITS"},
    "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE": {"NEVER_FITS"},
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY": {"CAPACITY", "MAX_VCPUS", "NEVER_FITS"},
    "ACTION_REQUIRED": {"ENVIRONMENT"},
}


class Life:
    """A yard that lives by a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, Random(seed)
        self.job_ids: list[str] = []
        self.queues: list[str] = []
        self.environments: list[str] = []
        self.has_service_queue = False
        self.kind_by_queue: dict[str, str] = {}

    # -- making ---------------------------------------------------------------------------------

    def make(self) -> None:
        w, chance = self.world, self.chance
        w.yard.jobs.behave(
            job_name=f"{w.name}-fails*", run=timedelta(seconds=chance.choice((1, 20))), exit_code=1
        )
        w.yard.jobs.behave(job_name=f"{w.name}-deaf*", run=None, ignores_sigterm=True)
        w.consumable(total=chance.randint(0, 2))
        for number in range(chance.randint(1, 2)):
            self._environment(f"ce{number}")
        for number in range(chance.randint(1, 2)):
            self._queue(f"jq{number}")
        if chance.random() < 0.4:
            w.service_queue(chance.randint(1, 2))
            self.has_service_queue = True

    def _environment(self, name: str) -> None:
        w, chance = self.world, self.chance
        kind = chance.choice(("EC2", "EC2", "SPOT", "UNMANAGED"))
        if kind == "UNMANAGED":
            w.unmanaged(name)
            if chance.random() < 0.7:
                w.register_instance(name, vcpus=chance.randint(1, 3), memoryMib=2048)
        else:
            types = chance.choice((["c6i.large"], ["c6i.xlarge"], ["c6i"]))
            w.environment(name, chance.randint(0, 6), kind=kind, instanceTypes=types)
        self.environments.append(name)

    def _queue(self, name: str) -> None:
        w, chance = self.world, self.chance
        kind = chance.choice(("FIFO", "FAIR", "QUOTA"))
        more = {}
        if kind == "FAIR":
            reservation = chance.choice((0, 50))
            arn = w.fair_policy(f"fair-{name}", computeReservation=reservation)
            more["schedulingPolicyArn"] = arn
        if kind == "QUOTA":
            more["schedulingPolicyArn"] = w.batch.create_scheduling_policy(
                name=w.named(f"quota-{name}"),
                quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"},
            )["arn"]
        order = self.environments[:: chance.choice((1, -1))]
        if kind == "QUOTA":  # No other queue may have its environment.
            order = [f"ce-{name}"]
            w.environment(order[0], chance.randint(0, 6))
        w.queue(name, *order, priority=chance.randint(1, 3), **more)
        for share in "ab" if kind == "QUOTA" else "":
            sharing = chance.choice(
                ({"strategy": "RESERVE"}, {"strategy": "LEND_AND_BORROW"}, {"strategy": "LEND"})
            )
            w.batch.create_quota_share(
                quotaShareName=share,
                jobQueue=w.named(name),
                capacityLimits=[{"maxCapacity": chance.randint(1, 4), "capacityUnit": "VCPU"}],
                resourceSharingConfiguration=sharing,
                preemptionConfiguration={"inSharePreemption": "DISABLED"},
            )
        self.queues.append(name)
        self.kind_by_queue[name] = kind

    # -- living ---------------------------------------------------------------------------------

    def step(self) -> str:
        """Do one thing; give its name."""
        todo: list[Callable[[], None]] = [self._submit] * 7 + [self._pass] * 3
        todo += [self._switch, self._change_maximum, self._terminate, self._cancel, self._licenses]
        if self.has_service_queue:
            todo += [self._submit_service] * 2
        if self.chance.random() < 0.03:
            todo = [self._delete_queue]
        chosen = self.chance.choice(todo)
        with suppress(ClientError):  # What AWS would refuse in this state.
            chosen()
        return chosen.__name__

    def _submit(self) -> None:
        chance = self.chance
        queue = chance.choice(self.queues)
        kind = self.kind_by_queue[queue]
        asked: dict[str, Any] = {"queue": queue, "vcpus": chance.choice((1, 1, 2, 3, 9))}
        asked["memory"] = chance.choice((256, 1024, 9000))
        if kind != "FIFO":
            asked["shareIdentifier"] = chance.choice("ab")
        if kind == "FAIR":
            asked["priority"] = chance.choice((0, 5))
        if chance.random() < 0.25:
            asked["needs"] = {"license": chance.randint(1, 2)}
        if chance.random() < 0.3 and self.job_ids:
            asked["dependsOn"] = [{"jobId": chance.choice(self.job_ids)}]
        name = chance.choice(("job", "fails", "deaf"))
        if name == "fails":
            asked["retryStrategy"] = {"attempts": 2}
        form = chance.random()
        if form < 0.25:
            asked["arrayProperties"] = {"size": chance.randint(2, 3)}
            if chance.random() < 0.4:
                asked["dependsOn"] = [*asked.get("dependsOn", ()), {"type": "SEQUENTIAL"}]
        elif form < 0.35 and "needs" not in asked and kind != "QUOTA":
            asked["definition"] = self.world.nodes(2, vcpus=chance.randint(1, 2))
        self.job_ids.append(self.world.submit(f"{self.world.name}-{name}", **asked))

    def _submit_service(self) -> None:
        self.job_ids.append(self.world.submit_service_job(self.chance.randint(1, 3)))

    def _pass(self) -> None:
        self.world.yard.advance(seconds=self.chance.choice((0.2, 1, 5, 70)))

    def _switch(self) -> None:
        self.world.batch.update_compute_environment(
            computeEnvironment=self.world.named(self.chance.choice(self.environments)),
            state=self.chance.choice(("ENABLED", "DISABLED")),
        )

    def _change_maximum(self) -> None:
        self.world.batch.update_compute_environment(
            computeEnvironment=self.world.named(self.chance.choice(self.environments)),
            computeResources={"maxvCpus": self.chance.randint(0, 6)},
        )

    def _licenses(self) -> None:
        self.world.batch.update_consumable_resource(
            consumableResource=self.world.named("license"),
            operation=self.chance.choice(("ADD", "REMOVE")),
            quantity=1,
        )

    def _terminate(self) -> None:
        if self.job_ids:
            job_id = self.chance.choice(self.job_ids)
            self.world.batch.terminate_job(jobId=job_id, reason="enough")

    def _cancel(self) -> None:
        if self.job_ids:
            self.world.batch.cancel_job(jobId=self.chance.choice(self.job_ids), reason="not needed")

    def _delete_queue(self) -> None:
        name = self.world.named(self.chance.choice(self.queues))
        self.world.batch.update_job_queue(jobQueue=name, state="DISABLED")
        self.world.yard.settle()
        self.world.batch.delete_job_queue(jobQueue=name)

    # -- looking --------------------------------------------------------------------------------

    def listed(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the id of each live job, child and node, with what a list shows of it."""
        batch = self.world.batch
        for queue in self.queues:
            name = self.world.named(queue)
            for status in _LIVE:
                try:
                    found = batch.list_jobs(jobQueue=name, jobStatus=status)["jobSummaryList"]
                except ClientError:  # Its queue has gone.
                    break
                for each in found:
                    yield each["jobId"], each
                    yield from self._parts_of(each)
        if self.has_service_queue:
            for status in _LIVE_SERVICE_JOBS:
                found = batch.list_service_jobs(jobQueue=self.world.named("jq"), jobStatus=status)[
                    "jobSummaryList"
                ]
                for each in found:
                    yield each["jobId"], each

    def _parts_of(self, summary: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for member, asked in (
            ("arrayProperties", "arrayJobId"),
            ("nodeProperties", "multiNodeJobId"),
        ):
            if member in summary:
                for status in _LIVE:
                    found = self.world.batch.list_jobs(
                        **{asked: summary["jobId"]}, jobStatus=status
                    )["jobSummaryList"]
                    for each in found:
                        yield each["jobId"], each


def check_lines(life: Life, before: Mapping[str, str]) -> dict[str, str]:
    """Look at every live job; give what is told of each.

    Where that is what was told `before`, a second ago, the line must say so, too.
    """
    found: dict[str, str] = {}
    for job_id, summary in life.listed():
        described = life.world.job(job_id)
        line = described.get("statusReason", "")
        story = (job_id, described["status"], line)
        assert summary.get("statusReason", "") == line, story
        told = life.world.told(job_id)
        assert told["reasons"], (*story, told)
        first = told["reasons"][0]
        assert first["cause"] != "NOTHING", (*story, first)
        assert not _GENERAL.fullmatch(told["summary"]), (*story, told)
        found[job_id] = re.sub(r"[0-9]+ seconds?", "N seconds", first["text"])
        if described["status"] == "RUNNING":
            continue
        assert line, story
        assert not _GENERAL.fullmatch(line), story
        if before.get(job_id) == found[job_id]:
            queue = described["jobQueue"].rsplit("-", 1)[-1]
            check_agreement(story, told, life.kind_by_queue.get(queue, ""))
    return found


def check_agreement(story: tuple[str, str, str], told: dict[str, Any], kind: str) -> None:
    """Demand that the line says what the head of the tree says; `kind` is that of its queue."""
    line, first = story[-1], told["reasons"][0]
    code = line.split(" - ")[0]
    if code in _CAUSES_BY_CODE:
        causes = {each["cause"] for each in told["reasons"]}
        assert causes & _CAUSES_BY_CODE[code], (*story, told["reasons"])
        return
    # That an instance starts for one behind others is told in full; the line says who they are.
    if "stand" in line and kind == "FAIR":  # Who is first changes while jobs run.
        assert any(each["cause"] == "TURN" for each in told["reasons"]), (*story, told["reasons"])
        return
    is_coming = first["cause"] == "INSTANCE_STARTING"
    said = [each["text"] for each in (told["reasons"] if is_coming else [first])]
    assert any(each.startswith(line.removesuffix(".")) for each in said), (*story, told["reasons"])


def live_through(seed: int) -> None:
    chance = Random(seed)
    settings: dict[str, Any] = {"seed": seed}
    if chance.random() < 0.4:
        settings["instance_boot_s"] = chance.choice((3, 90))
    if chance.random() < 0.4:
        settings["machine"] = Amount(
            cpu_milli=chance.randint(2, 8) * 1000, memory_mib=chance.randint(2, 16) * 1024
        )
    with ExitStack() as own:
        world = World(own.enter_context(open_yard(**settings)), "w", less=Amount(), priority_more=0)
        life = Life(world, seed)
        life.make()
        if not life.queues:
            return
        before: Mapping[str, str] = {}
        for _ in range(STEPS):
            life.step()
            before = check_lines(life, {})
        world.yard.advance(seconds=1.1)
        check_lines(life, before)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_job_says_why_in_a_line_of_its_own(seed: int) -> None:
    live_through(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS_NIGHTLY))
def test_so_it_does_with_many_seeds(seed: int) -> None:
    live_through(seed)
