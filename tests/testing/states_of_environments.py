"""More states made by hand: environments that cannot be used now, or pay too little.

Owns nothing but these: the table and its words are those of `states`.
"""

from __future__ import annotations

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
    w.environment(vcpus=4, bidPercentage=20, **SPOT)
    w.queue()
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
    w.environment(role=OWN_ROLE)
    w.queue()
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
    w.environment()
    w.queue()
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
