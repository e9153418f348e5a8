"""What is told of a wish at once, before anything has become of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from batchyard.core.foreseeing import foresee_environment, foresee_job, foresee_queue
from batchyard.core.inputs import PutEnvironment
from batchyard.core.state import State
from batchyard.model.amounts import Amount
from batchyard.model.instances import AllocationStrategy, InstanceType
from batchyard.scheduler.view import WaitingJob
from tests.builders import (
    a_consumable,
    a_host,
    a_job,
    a_launching_environment,
    a_policy,
    a_queue,
    a_quota_share,
    an_environment,
    an_instance_type,
    environment_arn,
    job_id,
    needs,
    queue_arn,
)
from tests.unit.core.yard import Yard

NEVER = "The job can never start in job queue jq:"


def asking(cpu_milli: int = 250, memory_mib: int = 100, gpu_count: int = 0, **more) -> WaitingJob:
    demand = Amount(cpu_milli=cpu_milli, memory_mib=memory_mib, gpu_count=gpu_count)
    return WaitingJob(job_id=job_id(99), demand=demand, **more)


def told(yard: Yard, job: WaitingJob, share: str | None = None) -> list[str]:
    return list(foresee_job(yard.state, queue_arn(), job, share))


def a_yard(*environments: PutEnvironment, **queue) -> Yard:
    names = tuple(each.arn.rsplit("/", 1)[-1] for each in environments)
    host = a_host(cpu_milli=8000, memory_mib=16_000)
    return Yard(host, *environments, a_queue(environments=names, **queue))


def of_types(environment: PutEnvironment, *types: InstanceType, **more) -> PutEnvironment:
    assert environment.launching is not None
    return replace(environment, launching=replace(environment.launching, types=types, **more))


def test_a_job_that_fits_is_not_warned_of_however_full_the_yard_is():
    yard = a_yard(an_environment(vcpus=1), a_launching_environment("ec2", vcpus=4))
    yard.feed(*(a_job(number, cpu_milli=1000) for number in range(1, 9)))
    for _ in range(3):
        yard.round()
    assert told(yard, asking(cpu_milli=1000)) == []


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (asking(cpu_milli=9000), "Asked 9 vCPUs; ce has maxvCpus 4 vCPUs: short by 5 vCPUs."),
        (
            asking(memory_mib=16_569),
            "Asked 16,569 MiB; the machine, even when empty, has 16,000 MiB; short by 569 MiB.",
        ),
        (
            asking(gpu_count=1),
            "Asked 1 GPU; the machine, even when empty, has 0 GPUs; short by 1 GPU.",
        ),
        (
            asking(6000, node_demands=(Amount(cpu_milli=1000), Amount(cpu_milli=5000))),
            "Asked 6 vCPUs; ce has maxvCpus 4 vCPUs: short by 2 vCPUs.",
        ),
    ],
    ids=["vcpus", "memory", "gpu", "nodes"],
)
def test_a_job_that_never_fits_is_told_in_numbers(job: WaitingJob, text: str):
    assert told(a_yard(an_environment(vcpus=4)), job) == [f"{NEVER} {text}"]


def test_no_instance_type_is_large_enough():
    kind = an_instance_type("c6i.large", vcpus=2, memory_mib=4096)
    yard = a_yard(of_types(a_launching_environment(vcpus=8), kind))
    assert told(yard, asking(cpu_milli=3000)) == [
        f"{NEVER} Asked 3 vCPUs; the nearest instance type, c6i.large, of ce has 2 vCPUs; short by"
        " 1 vCPU."
    ]


def test_one_environment_in_which_it_fits_is_enough():
    yard = a_yard(an_environment("small", vcpus=1), an_environment("large", vcpus=8))
    assert told(yard, asking(cpu_milli=4000)) == []
    yard.feed(an_environment("large", vcpus=8, is_enabled=False))
    assert told(yard, asking(cpu_milli=4000)) == [
        f"{NEVER} Asked 4 vCPUs; small has maxvCpus 1 vCPU: short by 3 vCPUs."
        " Compute environment large is DISABLED."
    ]


def test_environments_that_nobody_can_use():
    broken = replace(an_environment("bad"), fault="It is broken")
    yard = a_yard(an_environment("off", is_enabled=False), broken)
    assert told(yard, asking()) == [
        "No environment of job queue jq can be used now: Compute environment off is DISABLED."
        " Compute environment bad is INVALID: It is broken."
    ]
    arns = [environment_arn("off"), environment_arn("bad")]
    assert list(foresee_queue(yard.state, queue_arn("new"), arns)) == [
        "No environment of job queue new can be used now: off is DISABLED; bad is INVALID: It is"
        " broken."
    ]
    yard.feed(an_environment("fine"))
    for more in ("fine", "not-known-yet"):
        every = [*arns, environment_arn(more)]
        assert list(foresee_queue(yard.state, queue_arn("new"), every)) == [
            "Not every environment of job queue new can be used now: bad is INVALID: It is broken."
        ]
        off = [environment_arn("off"), environment_arn(more)]
        assert list(foresee_queue(yard.state, queue_arn("new"), off)) == []


def test_consumables_of_which_there_is_less_in_all():
    yard = a_yard(an_environment())
    yard.feed(a_consumable(given=3))
    assert told(yard, asking(needs=needs(license=3))) == []
    for name, asked, there in (("license", 5, 3), ("gone", 1, 0)):
        text = f"Asked {asked} of {name}; there are {there} in all."
        assert told(yard, asking(needs=needs(**{name: asked}))) == [text]


def test_a_share_without_a_weight_where_others_have_one():
    yard = a_yard(an_environment(), policy=a_policy(a=2, team_=3))
    assert told(yard, asking(), "a") == []
    assert told(yard, asking(), "teamwork") == []
    [text] = told(yard, asking(), "b")
    assert text.endswith(" gives share identifier b no weight: it counts as 1.")
    assert told(a_yard(an_environment(), policy=a_policy()), asking(), "b") == []


def test_a_quota_share_that_can_never_have_enough():
    yard = a_yard(an_environment(vcpus=8), has_quota_shares=True)
    yard.feed(a_quota_share("own", VCPU=2), a_quota_share("other", borrows=-1, VCPU=4))
    use = {"VCPU": 6500}
    assert told(yard, asking(cpu_milli=6500, use=use), "own") == [
        "The job can never start in quota share own: asked 6.5 VCPU, its limit is 2, and it does"
        " not borrow."
    ]
    assert told(yard, asking(cpu_milli=6500, use=use), "other") == [
        "The job can never start in quota share other: asked 6.5 VCPU, its limit is 4, and it"
        " cannot borrow the rest."
    ]
    assert told(yard, asking(cpu_milli=6000, use={"VCPU": 6000}), "other") == []


def test_queues_that_are_not_known_are_not_judged():
    assert list(foresee_job(State(), queue_arn(), asking(cpu_milli=10**6), None)) == []


def test_environments_that_can_hold_nothing():
    yard = Yard(a_host(cpu_milli=4000, memory_mib=7000))
    small = an_instance_type("c6i.large", vcpus=2)
    huge = an_instance_type("c6i.32xlarge", vcpus=128, memory_mib=262_144)

    def of(
        *types: InstanceType,
        vcpus: int = 200,
        strategy: AllocationStrategy = AllocationStrategy.BEST_FIT,
    ) -> list[str]:
        made = of_types(a_launching_environment(vcpus=vcpus), *types, strategy=strategy)
        return list(foresee_environment(yard.state, made))

    progressive = AllocationStrategy.BEST_FIT_PROGRESSIVE
    assert of(small, huge) == []
    assert of(huge) == [
        "No machine has room for any instance type of ce, even when empty: c6i.32xlarge is launched"
        " with no more than 4 vCPUs, 7,000 MiB and no GPU."
    ]
    # What stands for the type is within maxvCpus.
    assert of(huge, vcpus=4) == of(huge)
    assert of(small, vcpus=1) == [
        "No instance type of ce is within maxvCpus 1: the smallest, c6i.large, has 2 vCPUs."
    ]
    assert of(small, vcpus=1, strategy=progressive) == []
    broken = replace(an_environment(), fault="Kubernetes is not there")
    assert list(foresee_environment(yard.state, broken)) == [
        "Compute environment ce will be INVALID: Kubernetes is not there."
    ]
