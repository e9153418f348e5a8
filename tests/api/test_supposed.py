"""What a WhatIf request may suppose, and how it is read."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.api.own.supposed import changes_of
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.model.refusal import Refusal
from batchyard.model.what_if import Changes, QuotaChange, Submission
from tests.api.conftest import SCOPE

QUEUE = SCOPE.queue_arn("q")
JOB: dict[str, Any] = {"jobQueue": "q", "vcpus": 1.5, "memoryMib": 64, "runMs": 1000}


def a_share(**members: Any) -> dict[str, Any]:
    return {"jobQueues": [{"jobQueue": "q", "quotaShares": [{"quotaShareName": "s", **members}]}]}


def a_limit(unit: str, most: int) -> dict[str, Any]:
    return {"capacityUnit": unit, "maxCapacity": most}


def test_jobs_are_read_with_all_that_they_say() -> None:
    more = {
        "name": "b",
        "afterMs": 5,
        "gpus": 1,
        "exitCode": 3,
        "attempts": 2,
        "shareIdentifier": "team",
        "schedulingPriority": 9,
        "arraySize": 4,
        "timeoutMs": 60_000,
        "dependsOn": ["job 1", "job 1"],
    }
    first = Submission(
        name="job 1",
        after_ms=0,
        queue_arn=QUEUE,
        demand=Amount(cpu_milli=1500, memory_mib=64),
        run_ms=1000,
    )
    second = Submission(
        name="b",
        after_ms=5,
        queue_arn=QUEUE,
        demand=Amount(cpu_milli=1500, memory_mib=64, gpu_count=1),
        run_ms=1000,
        exit_code=3,
        attempts_max=2,
        share_identifier="team",
        scheduling_priority=9,
        array_size=4,
        timeout_ms=60_000,
        depends_on=("job 1",),
    )
    assert changes_of(SCOPE, {"jobs": [JOB, JOB | more]}).submissions == (first, second)


def test_what_is_said_of_a_multi_node_job_is_said_of_each_node() -> None:
    (job,) = changes_of(SCOPE, {"jobs": [JOB | {"nodes": 3}]}).submissions
    assert job.nodes == NodePlan(
        main_index=0,
        groups=(NodeGroup(count=3, demand=Amount(cpu_milli=1500, memory_mib=64)),),
    )
    assert job.demand == Amount(cpu_milli=4500, memory_mib=192)


def test_a_type_of_sagemaker_says_how_large_a_service_job_is() -> None:
    asked = {"jobQueue": "q", "instanceType": "ml.m5.large", "nodes": 2, "runMs": 1}
    (job,) = changes_of(SCOPE, {"jobs": [asked]}).submissions
    assert job.capacity_use == (UnitQuantity(unit="ml.m5.large", quantity=2),)
    assert job.demand.cpu_milli == 4000


def test_limits_of_service_environments_are_read() -> None:
    asked = {"serviceEnvironment": "lab", "capacityLimits": [a_limit("NUM_INSTANCES", 3)]}
    assert changes_of(SCOPE, {"serviceEnvironments": [asked]}) == Changes(
        instance_limits={SCOPE.service_environment_arn("lab"): {"NUM_INSTANCES": 3}}
    )


@pytest.mark.parametrize(
    ("members", "change"),
    [
        (
            {"capacityLimits": [{"capacityUnit": "VCPU", "maxCapacity": 8}]},
            QuotaChange(limits={"VCPU": 8000}),
        ),
        (
            {"resourceSharingConfiguration": {"strategy": "RESERVE"}},
            QuotaChange(lends=False, borrows=False),
        ),
        (
            {"resourceSharingConfiguration": {"strategy": "LEND"}},
            QuotaChange(lends=True, borrows=False),
        ),
        (
            {"resourceSharingConfiguration": {"strategy": "LEND_AND_BORROW"}},
            QuotaChange(lends=True, borrows=True),
        ),
        (
            {"resourceSharingConfiguration": {"borrowLimit": 50}},
            QuotaChange(lends=True, borrows=True, borrow_percent=50),
        ),
        (
            {"preemptionConfiguration": {"inSharePreemption": "ENABLED"}},
            QuotaChange(preempts_within=True),
        ),
    ],
)
def test_terms_of_a_quota_share_are_read(members: dict[str, Any], change: QuotaChange) -> None:
    assert changes_of(SCOPE, a_share(**members)) == Changes(quota_shares={QUEUE: {"s": change}})


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"jobs": [JOB | {"exitCode": 256}]}, "exitCode must be between 0 and 255."),
        ({"jobs": [JOB | {"attempts": 11}]}, "attempts must be between 1 and 10."),
        (
            {"jobs": [JOB | {"instanceType": "ml.m5.large"}]},
            "instanceType and vcpus cannot be given together.",
        ),
        (
            {"jobs": [{"jobQueue": "q", "runMs": 1, "instanceType": "m5.large"}]},
            "The instance type m5.large is not known.",
        ),
        (
            {"jobs": [{"jobQueue": "q", "runMs": 1, "vcpus": 1.0}]},
            "Either instanceType, or vcpus and memoryMib must be given.",
        ),
        (
            {
                "serviceEnvironments": [
                    {"serviceEnvironment": "lab", "capacityLimits": [a_limit("VCPU", 3)]}
                ]
            },
            "capacityUnit VCPU is not an instance type, such as ml.m5.large",
        ),
        ({"jobs": [JOB | {"nodes": 0}]}, "nodes must be between 1 and 1000."),
        (
            {"jobs": [JOB | {"nodes": 2, "arraySize": 2}]},
            "arraySize is not applicable for multi-node jobs.",
        ),
        ({"jobs": [JOB | {"timeoutMs": 0}]}, "timeoutMs must be at least 1."),
        ({"jobs": [JOB | {"arraySize": 1}]}, "arraySize must be between 2 and 10000."),
        (
            {"jobs": [JOB | {"dependsOn": ["job 2"]}, JOB]},
            "job 1 depends on job 2, which is no job before it.",
        ),
        (
            {"jobs": [JOB | {"name": "a"}, JOB | {"name": "a"}, JOB | {"dependsOn": ["a"]}]},
            "job 3 depends on a, and two jobs have that name.",
        ),
        (
            {"jobs": [JOB | {"afterMs": 9}, JOB | {"dependsOn": ["job 1"]}]},
            "job 2 depends on job 1, which is submitted later.",
        ),
        (
            a_share(capacityLimits=[{"capacityUnit": "VCPU", "maxCapacity": 0}]),
            "maxCapacity must be between 1 and ",
        ),
        (
            a_share(resourceSharingConfiguration={"strategy": "KEEP"}),
            "strategy KEEP is not one of RESERVE, LEND, LEND_AND_BORROW.",
        ),
        (
            a_share(resourceSharingConfiguration={"strategy": "LEND", "borrowLimit": 5}),
            "borrowLimit is only applicable for strategy LEND_AND_BORROW.",
        ),
        (
            a_share(preemptionConfiguration={"inSharePreemption": "ON"}),
            "inSharePreemption ON is not one of ENABLED, DISABLED.",
        ),
        ({}, "Nothing would be otherwise: give at least one change."),
    ],
)
def test_what_cannot_be_supposed_is_refused(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal) as refused:
        changes_of(SCOPE, request_)
    assert refused.value.message.startswith(text)
