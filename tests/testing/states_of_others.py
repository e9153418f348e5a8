"""More states made by hand: what others lack, have or decide keeps a job, and jobs on their way.

Owns nothing but these: the table and its words are those of `states`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from batchyard.model.amounts import Amount
from tests.testing.states import NEVER_FITS, case
from tests.testing.states_of_environments import CASES as CASES
from tests.testing.worlds import World

# -- what those lack that stand before it --------------------------------------------------------


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: Asked 2 of license; 1 available:"
        " short by 1."
    ),
    changes=[("ADD_CONSUMABLE", None, 1)],
)
def a_license_is_short_for_the_one_before_it(w: World) -> str:
    w.queue_on(vcpus=16)
    w.consumable(total=1)
    w.submit(needs={"license": 2})
    return w.submit(is_subject=True)


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: ce uses 2 vCPUs of maxvCpus"
        " 2 vCPUs: short by 1 vCPU."
    ),
    together=[("ADD_CONSUMABLE", None, 1), ("RAISE_MAX_VCPUS", None, 3)],
)
def the_last_license_goes_to_the_one_before_it(w: World) -> str:
    w.queue_on()
    w.consumable(total=1)
    w.submit(vcpus=2)
    w.submit(vcpus=2, needs={"license": 1})
    return w.submit(vcpus=2, needs={"license": 1}, is_subject=True)


@case(
    cause="ENVIRONMENT",
    text="Compute environment ce is DISABLED.",
    status_reason="ACTION_REQUIRED - CE(s) associated with the job queue are disabled.",
    # Made in this order: the other queue would have taken the room before the license is there.
    together=[("ADD_CONSUMABLE", None, 1), ("ENABLE_ENVIRONMENT", None, 1)],
)
def a_license_is_short_and_its_environment_is_disabled(w: World) -> str:
    w.environment()
    w.queue(priority=5)
    w.queue("low", "ce")
    w.consumable(total=1)
    w.disable("ce")
    w.submit(vcpus=2, queue="low")
    return w.submit(vcpus=2, needs={"license": 2}, is_subject=True)


@case(
    cause="CONSUMABLE",
    text="Asked 1 of license; 0 available: short by 1.",
    # More licenses, or much more room, would go to the other queue first.
    together=[("ADD_CONSUMABLE", None, 1), ("RAISE_MAX_VCPUS", None, 1)],
)
def a_license_and_room_are_short_while_another_queue_lacks_more(w: World) -> str:
    w.queue_on(vcpus=3, kind="FARGATE")
    w.queue("high", "ce", priority=9)
    w.consumable(total=0)
    of_fargate: dict[str, Any] = {"memory": 4096, "is_fargate": True}
    w.submit(vcpus=2, **of_fargate)
    job_id = w.submit(vcpus=2, needs={"license": 1}, is_subject=True, **of_fargate)
    w.submit(vcpus=1, needs={"license": 2}, queue="high", **of_fargate)
    w.submit(vcpus=2, queue="high", **of_fargate)
    return job_id


@case(
    cause="CONSUMABLE",
    text="Asked 1 of license; 0 available: short by 1.",
    # With two more the other queue would have the license, and all the room.
    changes=[("ADD_CONSUMABLE", None, 1)],
)
def a_license_is_short_while_another_queue_lacks_more(w: World) -> str:
    w.queue_on(vcpus=4, kind="FARGATE")
    w.queue("high", "ce", priority=9)
    w.consumable(total=0)
    of_fargate: dict[str, Any] = {"memory": 8192, "is_fargate": True}
    job_id = w.submit(needs={"license": 1}, is_subject=True, **of_fargate)
    w.submit(vcpus=4, needs={"license": 2}, queue="high", **of_fargate)
    return job_id


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: Asked 2 vCPUs, 512 MiB; no"
        " instance with room is registered with ce."
    ),
    changes=[("REGISTER_INSTANCE", None, 2)],
)
def no_instance_is_registered_for_the_one_before_it(w: World) -> str:
    w.unmanaged()
    w.queue()
    w.submit(vcpus=2)
    return w.submit(is_subject=True)


@case(
    cause="CAPACITY",
    text="Asked 2 vCPUs, 512 MiB; no instance with room is registered with ce.",
    together=[("ADD_CAPACITY", "VCPUS", 1), ("REGISTER_INSTANCE", None, 1)],
    settings={"machine": Amount(cpu_milli=3000, memory_mib=8000)},
)
def no_machine_has_room_for_an_instance_to_be_registered(w: World) -> str:
    w.unmanaged()
    w.unmanaged("other")
    w.queue()
    assert w.register_instance("other", vcpus=2, memoryMib=4096) is None
    return w.submit(vcpus=2, is_subject=True)


# -- what holds for others, too ------------------------------------------------------------------


@case(
    cause="RESERVED",
    text=(
        "Asked 2 vCPUs; the queue's scheduling policy (computeReservation 50) keeps a part for"
        " shares that are not active: the others use 4 vCPUs of the 5 vCPUs left to them, short by"
        " 1 vCPU."
    ),
    # Not that the reservation is lower: it would be so for the queue that is served first, too.
    changes=[("ASK_FOR_LESS", "VCPUS", 4), ("RAISE_MAX_VCPUS", None, 2)],
)
def another_queue_has_the_same_policy(w: World) -> str:
    w.environment(vcpus=10, kind="FARGATE")
    policy = w.fair_policy(computeReservation=50)
    w.queue(schedulingPolicyArn=policy)
    w.queue("high", "ce", priority=9, schedulingPolicyArn=policy)
    of_share: dict[str, Any] = {
        "shareIdentifier": "a",
        "priority": 0,
        "memory": 8192,
        "is_fargate": True,
    }
    for queue in ("jq", "high"):
        w.submit(vcpus=4, queue=queue, **of_share)
    w.submit(vcpus=2, queue="high", **of_share)
    return w.submit(vcpus=2, is_subject=True, **of_share)


@case(
    cause="TURN",
    text=(
        "2 jobs of its job queue stand before it. The first waits: Asked 3 vCPUs; the nearest"
        " instance type, c6i.large, of ce has 2 vCPUs; short by 1 vCPU, and asked 1 GPU; the"
        " nearest instance type, c6i.large, of ce has 0 GPUs; short by 1 GPU."
    ),
    # All its children ask for less of both, so that two instances hold the three of them.
    together=[("ASK_FOR_LESS", "VCPUS", 2), ("ASK_FOR_LESS", "GPUS", 1)],
    settings={"machine": Amount(cpu_milli=4000, memory_mib=8000)},
)
def an_array_that_asks_for_too_much_of_two_things(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(vcpus=3, gpus=1, arrayProperties={"size": 3}, is_subject=True) + ":2"


# -- nodes ---------------------------------------------------------------------------------------


@case(
    cause="NEVER_FITS",
    text="Asked 3 vCPUs; the nearest instance type, c6i.large, of ce has 2 vCPUs; short by 1 vCPU.",
    status_reason=NEVER_FITS,
    changes=[("ASK_FOR_LESS", "VCPUS", 1)],
)
def types_with_too_few_vcpus_for_its_nodes(w: World) -> str:
    w.queue_on(vcpus=16)
    return w.submit(definition=w.nodes(2, vcpus=3), is_subject=True)


# -- service environments ------------------------------------------------------------------------


@case(
    cause="ENVIRONMENT",
    text="Service environment se is DISABLED.",
    status_reason=(
        "ACTION_REQUIRED - Service environment(s) associated with the job queue are disabled."
    ),
    changes=[("ENABLE_ENVIRONMENT", None, 1)],
)
def its_service_environment_is_disabled(w: World) -> str:
    w.service_queue(2)
    w.batch.update_service_environment(serviceEnvironment=w.named("se"), state="DISABLED")
    w.yard.settle()
    return w.submit_service_job(1)


# -- instances that start ------------------------------------------------------------------------


@case(
    cause="INSTANCE_STARTING",
    text=(
        "An instance with room for it is starting in large; the first that starts there is ready in"
        " 88 seconds."
    ),
    numbers={"ready_in_ms": 88_000},
    status_reason=(
        "1 job of its job queue stands before it. The first waits: An instance with room for it is"
        " starting in small."
    ),
    settings={"instance_boot_s": 90},
)
def its_instance_starts_and_a_smaller_one_elsewhere(w: World) -> str:
    w.environment("small")
    w.environment("large", vcpus=4, instanceTypes=["c6i.xlarge"])
    w.queue("jq", "small", "large")
    w.submit(vcpus=2)
    w.yard.advance(seconds=30)
    return w.submit(vcpus=4, is_subject=True)


@case(
    cause="STARTING",
    text=("Its image busybox is being pulled, for 2 seconds now. It was placed 2 seconds ago."),
    status_reason="Its image busybox is being pulled, for 2 seconds now.",
)
def its_image_is_being_pulled(w: World) -> str:
    w.yard.jobs.behave(job_name="slow", pull=timedelta(minutes=5))
    w.queue_on(kind="FARGATE")
    return w.submit("slow", memory=2048, is_fargate=True, is_subject=True)


@case(
    cause="STARTING",
    text=("Its image busybox is being pulled, for 2 seconds now. It was placed 2 seconds ago."),
    status_reason="Its image busybox is being pulled, for 2 seconds now.",
)
def the_image_of_a_service_job_is_being_pulled(w: World) -> str:
    w.yard.jobs.behave(image="busybox", queue=w.named("jq"), pull=timedelta(minutes=5))
    w.service_queue(2)
    return w.submit_service_job(1)
