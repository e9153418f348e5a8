"""More states made by hand: environments that cannot be used now, or pay too little.

Owns nothing but these: the table and its words are those of `states`.
"""

from __future__ import annotations

from datetime import timedelta

from tests.testing.states import NO_ROOM, case
from tests.testing.states_in_line import CASES as CASES
from tests.testing.worlds import OWN_ROLE, World

POD = {
    "type": "container",
    "eksProperties": {
        "podProperties": {
            "containers": [
                {
                    "image": "busybox",
                    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
                }
            ]
        }
    },
}

SPOT = {"kind": "SPOT", "allocationStrategy": "SPOT_CAPACITY_OPTIMIZED"}
DEAR = (
    "Spot capacity of c6i.large, the least dear that the job fits, costs 0.02975 USD an hour, 35"
    " percent of the 0.085 USD on demand; ce pays less than 20 percent (bidPercentage): 36 would"
    " do."
)


@case(
    cause="CAPACITY",
    text=DEAR,
    numbers={"bid_percent": 20, "needed_bid_percent": 36, "short_bid_percent": 16},
    status_reason=NO_ROOM,
    changes=[("RAISE_BID", None, 16), ("BUY_ON_DEMAND", None, 1)],
)
def spot_capacity_is_too_dear(w: World) -> str:
    w.queue_on(vcpus=4, bidPercentage=20, **SPOT)
    return w.submit(is_subject=True)


@case(cause="CAPACITY", text=DEAR, status_reason=NO_ROOM)
def spot_capacity_is_too_dear_and_its_environment_is_for_good(w: World) -> str:
    """AWS replaces no instances of BEST_FIT: another environment must be made."""
    w.environment(
        vcpus=4,
        bidPercentage=20,
        kind="SPOT",
        allocationStrategy="BEST_FIT",
        spotIamFleetRole="arn:aws:iam::000000000000:role/fleet",
    )
    w.queue()
    return w.submit(is_subject=True)


@case(
    cause="ENVIRONMENT",
    text=(
        "Compute environment ce is INVALID: CLIENT_ERROR - Not authorized to perform sts:AssumeRole"
        " (Service: AWSSecurityTokenService; Status Code: 403; Error Code: AccessDenied; Request"
        " ID: ID)."
    ),
    status_reason="ACTION_REQUIRED - CE(s) associated with the job queue are invalid.",
    changes=[("REPAIR_ENVIRONMENT", None, 1)],
)
def its_environment_has_no_role(w: World) -> str:
    w.queue_on(role=OWN_ROLE)
    w.update("ce", serviceRole="not a role")
    return w.submit(is_subject=True)


@case(
    cause="ENVIRONMENT",
    text=(
        "Compute environment ce is INVALID: CLIENT_ERROR - Instance profile not a profile does not"
        " exist."
    ),
    status_reason="ACTION_REQUIRED - CE(s) associated with the job queue are invalid.",
    changes=[("REPAIR_ENVIRONMENT", None, 1)],
)
def its_instances_have_no_profile(w: World) -> str:
    w.queue_on()
    w.submit(vcpus=2)
    w.update("ce", computeResources={"instanceRole": "not a profile", "maxvCpus": 4})
    return w.submit(is_subject=True)


@case(
    cause="MAX_VCPUS",
    text="ce uses 2 vCPUs of maxvCpus 2 vCPUs: short by 1 vCPU.",
    changes=[("ENABLE_ENVIRONMENT", None, 1), ("RAISE_MAX_VCPUS", None, 1)],
)
def one_of_its_environments_is_full_and_one_is_disabled(w: World) -> str:
    w.environment("off")
    w.environment()
    w.queue("jq", "off", "ce")
    w.disable("off")
    w.submit(vcpus=2)
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="ENVIRONMENT",
    text=(
        "Compute environment ce is INVALID: CLIENT_ERROR - Kubernetes is not connected to this"
        " batchyard yet."
    ),
    status_reason="ACTION_REQUIRED - CE(s) associated with the job queue are invalid.",
)
def its_environment_is_one_of_eks(w: World) -> str:
    w.eks()
    w.queue()
    return w.submit(definition=POD, is_subject=True)


@case(
    cause="CAPACITY",
    text=DEAR,
    status_reason=NO_ROOM,
    changes=[("RAISE_BID", None, 16), ("BUY_ON_DEMAND", None, 1)],
)
def spot_capacity_is_too_dear_for_nodes(w: World) -> str:
    w.queue_on(vcpus=4, bidPercentage=20, **SPOT)
    return w.submit(definition=w.nodes(2, vcpus=2), is_subject=True)


@case(
    cause="TURN",
    text=f"2 jobs of its job queue stand before it. The first waits: {DEAR}",
    # Its array asks for less, or three instances are launched: the least dear of both.
    together=[("ASK_FOR_LESS", "VCPUS", 1), ("RAISE_BID", None, 16)],
)
def spot_capacity_is_too_dear_for_an_array(w: World) -> str:
    w.queue_on(vcpus=4, bidPercentage=20, **SPOT)
    return w.submit(vcpus=2, arrayProperties={"size": 3}, is_subject=True) + ":2"


@case(
    cause="TURN",
    text=(
        "2 jobs of its job queue stand before it. The first waits: Compute environment ce is"
        " DISABLED."
    ),
    together=[("ASK_FOR_LESS", "VCPUS", 1), ("ENABLE_ENVIRONMENT", None, 1)],
)
def an_array_whose_environment_is_disabled(w: World) -> str:
    w.queue_on(vcpus=4)
    w.disable("ce")
    return w.submit(vcpus=2, arrayProperties={"size": 3}, is_subject=True) + ":2"


# -- instances that start ------------------------------------------------------------------------


@case(
    cause="CAPACITY",
    text=(
        "What is free is kept for jobs that come first and wait for instances to start. Besides: ce"
        " uses 4 vCPUs of maxvCpus 4 vCPUs: short by 1 vCPU."
    ),
    numbers={"used_cpu_milli": 4000, "max_cpu_milli": 4000, "short_cpu_milli": 1000},
    changes=[("RAISE_MAX_VCPUS", None, 1), ("RAISE_QUEUE_PRIORITY", None, 9)],
    settings={"instance_boot_s": 90},
)
def an_instance_is_kept_for_nodes_that_wait_for_another(w: World) -> str:
    w.queue_on(vcpus=4)
    w.queue("high", "ce", priority=9)
    w.yard.jobs.behave(job_name="short", run=timedelta(seconds=1))
    w.submit("short", vcpus=2)
    w.yard.advance(seconds=95)
    w.submit(queue="high", definition=w.nodes(2, vcpus=2))
    w.yard.settle()
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="TURN",
    text=(
        "2 jobs of its job queue stand before it. The first waits: An instance with room for it is"
        " starting in ce."
    ),
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("RAISE_MAX_VCPUS", None, 1)],
    settings={"instance_boot_s": 90},
)
def instances_start_for_the_children_before_it(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(vcpus=2, arrayProperties={"size": 3}, is_subject=True) + ":2"


@case(
    cause="INSTANCE_STARTING",
    text=(
        "An instance with room for it is starting in ce; the first that starts there is ready in 88"
        " seconds."
    ),
    status_reason="An instance with room for it is starting in ce.",
    settings={"instance_boot_s": 90},
)
def instances_start_for_its_nodes(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(definition=w.nodes(2, vcpus=2), is_subject=True)


@case(
    cause="CAPACITY",
    text="Asked 2 vCPUs, 512 MiB; no instance with room is registered with ce.",
    changes=[("REGISTER_INSTANCE", None, 2)],
)
def nothing_is_registered_for_its_nodes(w: World) -> str:
    w.unmanaged()
    w.queue()
    return w.submit(definition=w.nodes(2, vcpus=2), is_subject=True)


# -- jobs that have run before, or run -----------------------------------------------------------


@case(cause="RUNNING", text="It runs. It is attempt 1 of 1, since 2 seconds.", status_reason="")
def it_runs(w: World) -> str:
    w.queue_on(kind="FARGATE")
    return w.submit(memory=2048, is_fargate=True, is_subject=True)


@case(
    cause="RUNNING",
    text=("It runs. It is attempt 1 of 1, since 2 seconds; its timeout ends it in 3,598 seconds."),
    numbers={"running_ms": 2000, "left_ms": 3_598_000},
    status_reason="",
)
def a_service_job_runs(w: World) -> str:
    w.service_queue(2)
    return w.submit_service_job(1)


@case(
    cause="MAX_VCPUS",
    text="ce uses 2 vCPUs of maxvCpus 2 vCPUs: short by 1 vCPU.",
    changes=[("RAISE_MAX_VCPUS", None, 1)],
)
def its_queue_is_disabled(w: World) -> str:
    """What is in it goes on; nothing new may be submitted."""
    w.queue_on()
    w.submit(vcpus=2)
    job_id = w.submit(vcpus=2, is_subject=True)
    w.batch.update_job_queue(jobQueue=w.named("jq"), state="DISABLED")
    w.yard.settle()
    return job_id


@case(
    cause="STOPPING",
    text="It has been told to stop: its job queue is being deleted.",
    status_reason="",
)
def its_queue_is_being_deleted(w: World) -> str:
    w.yard.jobs.behave(job_name="deaf", run=None, ignores_sigterm=True)
    w.queue_on()
    job_id = w.submit("deaf", is_subject=True)
    w.batch.update_job_queue(jobQueue=w.named("jq"), state="DISABLED")
    w.yard.settle()
    w.batch.delete_job_queue(jobQueue=w.named("jq"))
    return job_id


@case(
    cause="MAX_VCPUS",
    text="ce uses 2 vCPUs of maxvCpus 2 vCPUs: short by 1 vCPU.",
    changes=[("RAISE_MAX_VCPUS", None, 1)],
)
def its_environment_replaces_its_instances(w: World) -> str:
    w.queue_on()
    w.submit(vcpus=2)
    job_id = w.submit(vcpus=2, is_subject=True)
    w.update("ce", computeResources={"instanceTypes": ["c6i.xlarge"]})
    return job_id
