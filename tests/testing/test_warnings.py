"""What callers are warned of, through the front door: each mistake that is known at once.

Goal: whatever will not come to what was meant says so in a header of the answer, and nothing is
refused for it. Method: one mistake a test, in a yard with virtual time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from batchyard.model.amounts import Amount
from tests.testing.worlds import World, open_yard

SPOT: dict[str, Any] = {"kind": "SPOT", "allocationStrategy": "SPOT_CAPACITY_OPTIMIZED"}


class Watched(World):
    """A world that notes the last warning it was given."""

    _last: str | None = None

    def watch(self) -> None:
        self.batch.meta.events.register("after-call.batch", self._note)

    def warned(self) -> str | None:
        return self._last

    def _note(self, http_response: Any, **_: Any) -> None:
        self._last = http_response.headers.get("x-batchyard-warning")


@pytest.fixture
def w() -> Iterator[Watched]:
    with ExitStack() as own:
        machine = Amount(cpu_milli=16_000, memory_mib=32_000)
        made = own.enter_context(open_yard(machine=machine))
        world = Watched(made, "w", less=Amount(), priority_more=0)
        world.watch()
        yield world


def test_nothing_is_said_of_what_is_well(w: Watched) -> None:
    w.environment(**SPOT)
    assert w.warned() is None
    w.queue()
    assert w.warned() is None
    first = w.submit()
    assert w.warned() is None
    w.submit(dependsOn=[{"jobId": first}])
    assert w.warned() is None
    w.environment("wide", vcpus=4)
    w.queue("nodes", "wide")
    for _ in range(2):  # The second waits for the first alone.
        w.submit(queue="nodes", definition=w.nodes(2, vcpus=2))
        assert w.warned() is None


def test_a_job_on_which_it_depends_has_failed(w: Watched) -> None:
    w.environment()
    w.queue()
    w.yard.jobs.behave(job_name="fails", exit_code=1)
    failed = w.submit("fails")
    w.yard.finish(failed)
    w.submit(dependsOn=[{"jobId": failed}])
    assert w.warned() == f"Job {failed}, which it depends on, is FAILED: it will fail, too."


def test_an_array_on_which_it_depends_child_by_child_has_failed(w: Watched) -> None:
    w.environment()
    w.queue()
    w.yard.jobs.behave(job_name="fails", exit_code=1)
    failed = w.submit("fails", arrayProperties={"size": 2})
    w.yard.finish(failed)
    each = [{"jobId": failed, "type": "N_TO_N"}]
    w.submit(arrayProperties={"size": 2}, dependsOn=each)
    assert w.warned() == (
        f"Array job {failed}, which it depends on, is FAILED: children whose counterparts are will"
        " fail, too."
    )


def test_spot_capacity_is_dearer_than_the_bid(w: Watched) -> None:
    w.environment(bidPercentage=20, **SPOT)
    assert w.warned() == (
        "No Spot capacity is there at what w-ce pays (bidPercentage 20): c6i.large, the nearest,"
        " needs 36."
    )
    w.queue()
    w.submit()
    assert (w.warned() or "").startswith(
        "The job cannot start in job queue w-jq as that is: Spot capacity of c6i.large, "
    )
    w.update("ce", computeResources={"bidPercentage": 36})
    w.submit()
    assert w.warned() is None


def test_no_registered_instance_is_large_enough(w: Watched) -> None:
    w.unmanaged()
    w.queue()
    w.submit(vcpus=2)
    assert w.warned() == (
        "The job cannot start in job queue w-jq as that is: Asked 2 vCPUs, 512 MiB; no instance"
        " with room is registered with w-ce."
    )
    assert w.register_instance(vcpus=1, memoryMib=1024) is None
    w.submit(vcpus=2)
    assert w.warned() == (
        "The job cannot start in job queue w-jq as that is: Asked 2 vCPUs; the nearest of the"
        " instances with room in w-ce has 1 vCPU free; short by 1 vCPU."
    )
    assert w.register_instance(vcpus=2, memoryMib=1024) is None
    w.submit(vcpus=2)
    w.yard.settle()
    w.submit(vcpus=2)
    assert w.warned() is None, "it waits for the other one alone"


def test_a_job_definition_that_no_environment_can_run(w: Watched) -> None:
    asked = [{"type": "VCPU", "value": "3"}, {"type": "MEMORY", "value": "512"}]
    large = {
        "type": "container",
        "jobDefinitionName": "large",
        "containerProperties": {"image": "busybox", "resourceRequirements": asked},
    }
    w.batch.register_job_definition(**large)
    assert w.warned() is None, "there is no environment yet"
    w.environment(vcpus=8)
    w.batch.register_job_definition(**large)
    assert w.warned() == (
        "No compute environment that there is can run it: Asked 3 vCPUs; the nearest instance type,"
        " c6i.large, of w-ce has 2 vCPUs; short by 1 vCPU."
    )
    w.environment("off", vcpus=8, instanceTypes=["c6i.xlarge"])
    w.disable("off")
    w.batch.register_job_definition(**large)
    assert w.warned() is None, "it may be ENABLED"


def test_queues_are_left_without_an_environment(w: Watched) -> None:
    w.environment("one")
    w.environment("two")
    w.queue("jq", "one", "two")
    w.disable("one")
    assert w.warned() is None
    w.disable("two")
    assert w.warned() == "Job queue w-jq has no environment that can be used then."


def test_environments_that_hold_nothing_or_want_too_much(w: Watched) -> None:
    w.environment("none", vcpus=0, kind="FARGATE")
    assert w.warned() == "maxvCpus of w-none is 0: nothing ever starts in it."
    w.environment("most", vcpus=64, minvCpus=32)
    assert w.warned() == "minvCpus 32 of w-most is more than the machines have: 16."
