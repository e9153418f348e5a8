"""What is foreseen of the machine itself."""

from __future__ import annotations

from batchyard.core.state import State
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.foresight import Foresight
from batchyard.model.ids import EnvironmentArn
from batchyard.model.records import EnvironmentRecord
from batchyard.model.status import ResourceState, ResourceStatus
from tests.builders import SCOPE

WARNING = (
    "By instanceTypes of ce jobs are for arm64, and this machine is x86_64: they run on it all the"
    " same, with images for x86_64."
)


def an_environment(*instance_types: str) -> EnvironmentRecord:
    resources = {
        "type": "EC2",
        "minvCpus": 0,
        "maxvCpus": 4,
        "instanceTypes": list(instance_types),
        "instanceRole": "ecsInstanceRole",
        "allocationStrategy": "BEST_FIT_PROGRESSIVE",
    }
    return EnvironmentRecord(
        seq=0,
        arn=EnvironmentArn("arn:aws:batch:us-east-1:000000000000:compute-environment/ce"),
        scope=SCOPE,
        name="ce",
        uuid="",
        state=ResourceState.ENABLED,
        status=ResourceStatus.CREATING,
        status_reason=None,
        detail={"type": "MANAGED", "computeResources": resources},
        tags={},
    )


def warned(architecture: str | None, *instance_types: str) -> tuple[str, ...]:
    foresight = Foresight(State, LaunchTimes(), architecture)
    return foresight.of_environment(an_environment(*instance_types))


def test_instance_types_of_another_architecture() -> None:
    assert warned("x86_64", "m6g.large") == (WARNING,)
    assert warned("arm64", "m6g.large") == ()
    assert warned("x86_64", "c6i") == ()


def test_nothing_is_said_of_a_machine_that_is_pretended() -> None:
    assert warned(None, "m6g.large") == ()
