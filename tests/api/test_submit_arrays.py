"""SubmitJob: arrays, and what jobs and children wait for."""

from typing import Any

import pytest

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from tests.api.conftest import CONTAINER, Yard
from tests.api.test_definition_nodes import a_range, nodes

BATCH = "arn:aws:batch:eu-central-1:123456789012"
REQUEST = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "jd"}


async def an_array(yard: Yard, size: int = 3, **request: Any) -> JobId:
    return await yard.submit(arrayProperties={"size": size}, **request)


@pytest.mark.parametrize("size", [2, 10_000])
async def test_an_array_is_one_job_with_a_size(ready: Yard, size):
    job_id = await an_array(ready, size)
    record = await ready.record(job_id)
    assert record.job.array_size == size
    assert record.job.demand == Amount(cpu_milli=1000, memory_mib=128)
    plain = await ready.record(await ready.submit())
    assert (plain.job.array_size, plain.job.nodes) == (None, None)
    assert plain.job.spec == record.job.spec


async def test_dependencies_of_arrays_may_be_mixed(ready: Yard):
    plain, other = await ready.submit(), await an_array(ready)
    given = [
        {"type": "SEQUENTIAL"},
        {"jobId": other, "type": "N_TO_N"},
        {"jobId": plain},
        {"jobId": f"{BATCH}:job/{other}:2", "type": "SEQUENTIAL"},
        {"jobId": other, "type": "N_TO_N"},
    ]
    job_id = await an_array(ready, dependsOn=given)
    job = (await ready.record(job_id)).job
    assert job.depends_on == (plain, f"{other}:2")
    assert job.depends_on_each == (other,)
    assert job.is_sequential
    assert (await ready.job(job_id))["dependsOn"] == given


async def test_a_plain_job_may_wait_for_a_whole_array_or_one_child(ready: Yard):
    array = await an_array(ready)
    job_id = await ready.submit(dependsOn=[{"jobId": array}, {"jobId": f"{array}:0"}])
    job = (await ready.record(job_id)).job
    assert job.depends_on == (array, f"{array}:0")
    assert (job.depends_on_each, job.is_sequential) == ((), False)


async def test_children_that_an_array_does_not_have_do_not_exist(ready: Yard):
    array, plain = await an_array(ready), await ready.submit()
    for job_id in (f"{array}:3", f"{plain}:0"):
        message = await ready.refused("SubmitJob", **REQUEST, dependsOn=[{"jobId": job_id}])
        assert message == f"Job {job_id} does not exist."


async def test_n_to_n_goes_between_arrays_of_one_size(ready: Yard):
    plain, array = await ready.submit(), await an_array(ready, 4)
    size: Any = {"arrayProperties": {"size": 3}}
    for job_id, message in (
        (plain, f"dependsOn type N_TO_N: job {plain} is not an array job."),
        (f"{array}:1", f"dependsOn type N_TO_N: job {array}:1 is not an array job."),
        (array, f"dependsOn type N_TO_N: array job {array} has 4 children, this one 3."),
    ):
        depends_on = [{"jobId": job_id, "type": "N_TO_N"}]
        assert await ready.refused("SubmitJob", **REQUEST, **size, dependsOn=depends_on) == message
    await an_array(ready, 4, dependsOn=[{"jobId": array, "type": "N_TO_N"}])


async def test_n_to_n_needs_an_id(ready: Yard):
    message = await ready.refused(
        "SubmitJob", **REQUEST, arrayProperties={"size": 2}, dependsOn=[{"type": "N_TO_N"}]
    )
    assert message == "dependsOn.jobId must be provided"


async def test_a_multi_node_job_is_no_array_and_its_nodes_are_no_dependencies(ready: Yard):
    await ready.define(
        "nodes",
        type="multinode",
        containerProperties={},
        nodeProperties=nodes(2, a_range(":", container=CONTAINER)),
    )
    message = await ready.refused(
        "SubmitJob", **{**REQUEST, "jobDefinition": "nodes"}, arrayProperties={"size": 2}
    )
    assert message == "arrayProperties is not applicable for multinode job definitions."
    job_id = await ready.submit(jobDefinition="nodes")
    message = await ready.refused("SubmitJob", **REQUEST, dependsOn=[{"jobId": f"{job_id}#0"}])
    assert message == (
        f"dependsOn.jobId {job_id}#0 is a node; a job can depend on the whole multi-node job."
    )
    waiting = await ready.submit(dependsOn=[{"jobId": job_id}])
    assert (await ready.record(waiting)).job.depends_on == (job_id,)
