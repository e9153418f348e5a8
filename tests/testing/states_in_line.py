"""The rest of the states made by hand: jobs that wait for their turn, for others, for a boot.

Owns nothing but these: the table and its words are those of `states`.
"""

from __future__ import annotations

from datetime import timedelta

from tests.testing.states import CASES as CASES
from tests.testing.states import NEVER_MAX, case
from tests.testing.worlds import World

# -- queues and shares --------------------------------------------------------------------------


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: ce uses 2 vCPUs of maxvCpus"
        " 2 vCPUs: short by 1 vCPU."
    ),
    changes=[("RAISE_MAX_VCPUS", None, 3)],
)
def one_stands_before_it(w: World) -> str:
    w.queue_on()
    for _ in range(2):
        w.submit(vcpus=2)
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="MAX_VCPUS",
    text="ce uses 2 vCPUs of maxvCpus 2 vCPUs: short by 1 vCPU.",
    changes=[("RAISE_MAX_VCPUS", None, 3)],
)
def another_queue_is_served_first(w: World) -> str:
    w.queue_on()
    w.queue("high", "ce", priority=5)
    w.submit(vcpus=2)
    w.submit(vcpus=2, queue="high")
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="RESERVED",
    text=(
        "Asked 1 vCPU; the queue's scheduling policy (computeReservation 50) keeps a part for"
        " shares that are not active: the others use 2 vCPUs of the 2 vCPUs left to them, short by"
        " 1 vCPU."
    ),
    numbers={"reservation_percent": 50, "limit_cpu_milli": 2000, "short_cpu_milli": 1000},
    changes=[("RAISE_MAX_VCPUS", None, 2), ("LOWER_RESERVATION", None, 25)],
)
def kept_for_shares_that_may_come(w: World) -> str:
    w.environment(vcpus=4, instanceTypes=["c6i.xlarge"])
    w.queue(schedulingPolicyArn=w.fair_policy(computeReservation=50))
    w.submit(vcpus=2, shareIdentifier="a", priority=0)
    return w.submit(shareIdentifier="a", priority=0, is_subject=True)


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: Asked 2 vCPUs; the nearest of"
        " the instances with room in ce has 1 vCPU free; short by 1 vCPU."
    ),
    changes=[("REGISTER_INSTANCE", None, 1), ("RAISE_SCHEDULING_PRIORITY", None, 6)],
)
def another_of_its_share_has_priority(w: World) -> str:
    w.unmanaged()
    w.queue(schedulingPolicyArn=w.fair_policy())
    assert w.register_instance(vcpus=1, memoryMib=4096) is None
    w.submit(vcpus=2, shareIdentifier="a", priority=5)
    return w.submit(shareIdentifier="a", priority=0, is_subject=True)


@case(
    cause="QUOTA",
    text="Asked 2 vCPUs; quota share a uses 3 vCPUs of 4 and does not borrow: short by 1 vCPU.",
    numbers={"used_milli": 3000, "limit_milli": 4000, "short_milli": 1000},
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("RAISE_QUOTA", None, 1)],
)
def its_quota_is_used_up(w: World) -> str:
    w.quota_queue(a=(4, {"strategy": "RESERVE"}), b=(4, {"strategy": "RESERVE"}))
    w.submit(vcpus=2, shareIdentifier="a")
    w.submit(vcpus=1, shareIdentifier="a")
    return w.submit(vcpus=2, shareIdentifier="a", is_subject=True)


@case(
    cause="QUOTA",
    text=(
        "Asked 1 vCPU; quota share a uses 6 vCPUs of 4 and may borrow 2 vCPUs (borrowLimit 50):"
        " short by 1 vCPU."
    ),
    changes=[("RAISE_QUOTA", None, 1)],
)
def its_share_may_borrow_no_more(w: World) -> str:
    w.quota_queue(
        a=(4, {"strategy": "LEND_AND_BORROW", "borrowLimit": 50}), b=(4, {"strategy": "LEND"})
    )
    for _ in range(3):
        w.submit(vcpus=2, shareIdentifier="a")
    return w.submit(vcpus=1, shareIdentifier="a", is_subject=True)


@case(
    cause="QUOTA",
    text=(
        "Asked 1 vCPU; quota share a uses 6 vCPUs of 4, and the others lend 0 vCPUs more: short by"
        " 1 vCPU."
    ),
    changes=[("RAISE_QUOTA", None, 1)],
)
def others_lend_no_more(w: World) -> str:
    w.quota_queue(a=(4, {"strategy": "LEND_AND_BORROW"}), b=(2, {"strategy": "LEND"}))
    for _ in range(3):
        w.submit(vcpus=2, shareIdentifier="a")
    return w.submit(vcpus=1, shareIdentifier="a", is_subject=True)


@case(
    cause="QUOTA",
    text=(
        "Asked 2 vCPUs; quota share b uses 0 vCPUs of 4, and what it leaves idle is lent until it"
        " is taken back: short by 2 vCPUs."
    ),
    together=[("RAISE_MAX_VCPUS", None, 1), ("RAISE_QUOTA", None, 2)],
)
def what_is_its_own_is_lent(w: World) -> str:
    w.yard.jobs.behave(job_name="stubborn", run=None, ignores_sigterm=True)
    both = {"strategy": "LEND_AND_BORROW"}
    w.quota_queue(a=(4, both), b=(4, both))
    for _ in range(4):
        w.submit("stubborn", vcpus=2, shareIdentifier="a")
    return w.submit(vcpus=2, shareIdentifier="b", is_subject=True)


@case(
    cause="NEVER_FITS",
    text="Asked 2 vCPUs; quota share a has 1 vCPU and does not borrow: short by 1 vCPU.",
    status_reason=(
        "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share"
        " capacity limits."
    ),
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("RAISE_QUOTA", None, 1)],
)
def above_its_quota(w: World) -> str:
    w.quota_queue(a=(1, {"strategy": "RESERVE"}), b=(4, {"strategy": "RESERVE"}))
    return w.submit(vcpus=2, shareIdentifier="a", is_subject=True)


@case(
    cause="CAPACITY",
    text="se uses 2 of 2 NUM_INSTANCES; asked 1: short by 1.",
    changes=[("RAISE_CAPACITY_LIMIT", None, 1)],
)
def a_service_environment_is_full(w: World) -> str:
    w.service_queue(2)
    w.submit_service_job(2)
    return w.submit_service_job(1)


@case(
    cause="NEVER_FITS",
    text="se uses 0 of 2 NUM_INSTANCES; asked 3: short by 1.",
    status_reason=(
        "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - Service environment(s) associated with"
        " the job queue cannot meet the capacity requirement of the job."
    ),
    changes=[("RAISE_CAPACITY_LIMIT", None, 1)],
)
def above_the_limit_of_its_service_environment(w: World) -> str:
    w.service_queue(2)
    return w.submit_service_job(3)


# -- jobs that wait for jobs, parts of jobs, and what is on its way ------------------------------


@case(cause="DEPENDENCY", text="Waits for job ID, which is RUNNING.", numbers={"unmet_count": 1})
def another_job_must_end(w: World) -> str:
    w.queue_on()
    return w.submit(dependsOn=[{"jobId": w.submit()}], is_subject=True)


@case(
    cause="STOPPING",
    text="It was cancelled (not needed), and fails once what it waits for is over.",
)
def it_was_cancelled_while_it_waits(w: World) -> str:
    w.queue_on()
    job_id = w.submit(dependsOn=[{"jobId": w.submit()}], is_subject=True)
    w.batch.cancel_job(jobId=job_id, reason="not needed")
    return job_id


@case(
    cause="STOPPING",
    text="It has been told to stop: a caller has terminated it: enough.",
    status_reason="",
)
def it_is_terminated_and_takes_its_time(w: World) -> str:
    w.yard.jobs.behave(job_name="deaf", run=None, ignores_sigterm=True)
    w.queue_on()
    job_id = w.submit("deaf", is_subject=True)
    w.batch.terminate_job(jobId=job_id, reason="enough")
    return job_id


@case(cause="DEPENDENCY", text="Waits for job ID:1, which is PENDING.")
def the_child_before_it_must_end(w: World) -> str:
    w.queue_on()
    return w.submit(arrayProperties={"size": 3}, dependsOn=[{"type": "SEQUENTIAL"}]) + ":2"


@case(cause="DEPENDENCY", text="Waits for job ID:2, which is RUNNING.")
def its_counterpart_must_end(w: World) -> str:
    w.queue_on(vcpus=4)
    first = w.submit(arrayProperties={"size": 3})
    each = [{"type": "N_TO_N", "jobId": first}]
    return w.submit(arrayProperties={"size": 3}, dependsOn=each) + ":2"


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: ce uses 4 vCPUs of maxvCpus"
        " 4 vCPUs: short by 1 vCPU."
    ),
    changes=[("RAISE_MAX_VCPUS", None, 3)],
)
def children_before_it_wait(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(vcpus=2, arrayProperties={"size": 4}, is_subject=True) + ":3"


@case(
    cause="TURN",
    text=(
        "1 job of its job queue stands before it. The first waits: Asked 7 vCPUs; ce has maxvCpus"
        " 4 vCPUs: short by 3 vCPUs."
    ),
    # The child before it asks for as much less: 3 vCPUs less would let that one start alone.
    changes=[("ASK_FOR_LESS", "VCPUS", 5), ("RAISE_MAX_VCPUS", None, 5)],
)
def all_its_children_fit_nowhere(w: World) -> str:
    w.queue_on(vcpus=4, instanceTypes=["c6i"])
    return w.submit(vcpus=7, arrayProperties={"size": 2}, is_subject=True) + ":1"


@case(
    cause="MAX_VCPUS",
    text="ce uses 4 vCPUs of maxvCpus 6 vCPUs: short by 2 vCPUs.",
    # Not that it asks for less: the child that runs would have asked for less, too.
    changes=[("RAISE_MAX_VCPUS", None, 2)],
)
def another_child_runs(w: World) -> str:
    w.queue_on(vcpus=6, instanceTypes=["c6i.xlarge"], allocationStrategy="BEST_FIT")
    return w.submit(vcpus=4, arrayProperties={"size": 2}, is_subject=True) + ":1"


@case(
    cause="NEVER_FITS",
    text="Asked 6 vCPUs; ce has maxvCpus 4 vCPUs: short by 2 vCPUs.",
    status_reason=NEVER_MAX,
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("RAISE_MAX_VCPUS", None, 2)],
)
def nodes_above_the_maximum(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(definition=w.nodes(3, vcpus=2), is_subject=True)


@case(
    cause="CAPACITY",
    text="ce has room for 1 of the 2 nodes, which start together.",
    numbers={"asked_nodes": 2, "free_nodes": 1, "short_nodes": 1},
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("RAISE_MAX_VCPUS", None, 1)],
)
def nodes_need_room_together(w: World) -> str:
    w.queue_on(vcpus=4)
    w.submit(vcpus=2)
    return w.submit(definition=w.nodes(2, vcpus=2), is_subject=True)


@case(
    cause="CHILDREN",
    text=(
        "Waits for its children: 2 RUNNABLE, 2 RUNNING. The first that"
        " waits, ID:2: ce uses 4 vCPUs of maxvCpus 4 vCPUs: short by 1 vCPU."
    ),
    numbers={"runnable": 2, "running": 2},
    status_reason="Waits for its children: 2 RUNNABLE, 2 RUNNING.",
)
def its_children_wait(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(vcpus=2, arrayProperties={"size": 4}, is_subject=True)


@case(
    cause="INSTANCE_STARTING",
    text=(
        "An instance with room for it is starting in ce; the first that starts there is ready in 88"
        " seconds."
    ),
    numbers={"ready_in_ms": 88_000},
    status_reason="An instance with room for it is starting in ce.",
    settings={"instance_boot_s": 90},
)
def its_instance_starts(w: World) -> str:
    w.queue_on(vcpus=4)
    return w.submit(is_subject=True)


@case(
    cause="INSTANCE_STARTING",
    text=(
        "An instance with room for it is starting in ce; the first that starts there is ready in 88"
        " seconds."
    ),
    status_reason=(
        "1 job of its job queue stands before it. The first waits: An instance with room for it is"
        " starting in ce."
    ),
    settings={"instance_boot_s": 90},
)
def its_instance_starts_and_another_first(w: World) -> str:
    """Nothing would help it: more room than what starts for it is of no use."""
    w.queue_on(vcpus=4)
    w.submit(vcpus=2)
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="MAX_VCPUS",
    text="ce uses 2 vCPUs of maxvCpus 2 vCPUs: short by 1 vCPU.",
    changes=[("RAISE_MAX_VCPUS", None, 1)],
)
def it_is_tried_again(w: World) -> str:
    w.queue_on()
    w.queue("high", "ce", priority=9)
    w.yard.jobs.behave(job_name="fails-*", run=timedelta(seconds=10), exit_code=1)
    job_id = w.submit(f"fails-{w.name}", vcpus=2, retryStrategy={"attempts": 3}, is_subject=True)
    w.submit(vcpus=2, queue="high")
    w.yard.advance(seconds=11)
    return job_id
