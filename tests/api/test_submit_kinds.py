"""SubmitJob with definitions of tasks, pods and nodes: what overrides make of them."""

from typing import Any

import msgspec
import pytest

from batchyard.model.amounts import Amount
from batchyard.model.records import NodeGroup, NodePlan
from tests.api.conftest import CONTAINER, ROLE, Yard, requirements
from tests.api.test_definition_nodes import a_range, nodes
from tests.api.test_definition_pods import a_container as a_pod_container
from tests.api.test_definition_pods import a_pod
from tests.api.test_definition_tasks import a_container, a_task, small

REQUEST = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "kind"}


async def spec(yard: Yard, **request: Any) -> Any:
    job_id = await yard.submit(jobDefinition="kind", **request)
    return msgspec.json.decode((await yard.record(job_id)).job.spec)


async def refused(yard: Yard, **request: Any) -> str:
    return await yard.refused("SubmitJob", **{**REQUEST, **request})


def over(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"ecsPropertiesOverride": {"taskProperties": [{"containers": list(containers)}]}}


# ── tasks ────────────────────────────────────────────────────────────────────────────────


async def a_task_of_two(yard: Yard) -> None:
    await yard.define(
        "kind",
        containerProperties={},
        parameters={"mode": "slow"},
        ecsProperties=a_task(
            a_container("main", command=["run", "Ref::mode"], environment=[{"name": "A"}]),
            a_container("side", essential=False),
        ),
    )


async def test_a_task_needs_the_sum_of_its_containers(ready: Yard):
    await a_task_of_two(ready)
    record = await ready.record(await ready.submit(jobDefinition="kind"))
    assert record.job.demand == Amount(cpu_milli=2000, memory_mib=256)
    job = msgspec.json.decode(record.job.spec)
    assert "container" not in job
    main, side = job["ecsProperties"]["taskProperties"][0]["containers"]
    assert (main["command"], side["command"]) == (["run", "slow"], ["echo", "hello"])


async def test_containers_of_a_task_are_overridden_by_name(ready: Yard):
    await a_task_of_two(ready)
    job_id = await ready.submit(
        jobDefinition="kind",
        parameters={"mode": "fast"},
        **over(
            {"name": "side", "command": ["Ref::mode"]},
            {
                "name": "main",
                "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "resourceRequirements": requirements(MEMORY="256", GPU="1"),
            },
        ),
    )
    record = await ready.record(job_id)
    assert record.job.demand == Amount(cpu_milli=2000, memory_mib=384, gpu_count=1)
    [task] = msgspec.json.decode(record.job.spec)["ecsProperties"]["taskProperties"]
    main, side = task["containers"]
    assert main["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert main["resourceRequirements"] == requirements(VCPU="1", MEMORY="256", GPU="1")
    assert (main["command"], side["command"]) == (["run", "fast"], ["fast"])


async def test_the_only_container_of_a_task_is_overridden_without_its_name(ready: Yard):
    await ready.define("kind", containerProperties={}, ecsProperties=a_task({**CONTAINER}))
    job = await spec(ready, **over({"command": ["a"]}))
    [task] = job["ecsProperties"]["taskProperties"]
    assert [(each["name"], each["command"]) for each in task["containers"]] == [("default", ["a"])]


@pytest.mark.parametrize(
    ("request_members", "message"),
    [
        (
            over({"name": "gone", "command": ["a"]}),
            "ecsPropertiesOverride: container gone is not in the job definition.",
        ),
        (
            over({"command": ["a"]}),
            "ecsPropertiesOverride: name must be provided for each of several containers.",
        ),
        (
            over({"name": "main"}, {"name": "main"}),
            "ecsPropertiesOverride: container main is given more than once.",
        ),
        (over({"name": "main", "command": [""]}), "Command cannot be empty"),
        (
            over({"name": "main", "environment": [{"name": "AWS_BATCH_A"}]}),
            "Environment variables cannot start with AWS_BATCH.",
        ),
        (
            over({"name": "main", "resourceRequirements": requirements(VCPU="0.5")}),
            "VCPU must be a whole number for jobs on EC2.",
        ),
        (
            {"ecsPropertiesOverride": {"taskProperties": [{"containers": []}] * 2}},
            "ecsPropertiesOverride.taskProperties must have 0 to 1 items.",
        ),
        (
            {"containerOverrides": {"command": ["a"]}},
            "Container overrides should not be set for ECS job definitions.",
        ),
        (
            over({"name": "side", "command": ["Ref::gone"]}),
            "Unable to substitute value. No parameter found for reference gone",
        ),
    ],
)
async def test_overrides_of_tasks_that_are_refused(ready: Yard, request_members, message):
    await a_task_of_two(ready)
    assert await refused(ready, **request_members) == message


async def test_the_sum_of_a_fargate_task_is_looked_at_again(yard: Yard):
    await yard.fargate_environment("ce")
    await yard.queue()
    await yard.define(
        "kind",
        platformCapabilities=["FARGATE"],
        containerProperties={},
        ecsProperties=a_task(small("a"), small("b"), executionRoleArn=ROLE),
    )
    await spec(yard)
    await spec(yard, **over({"name": "a", "resourceRequirements": requirements(MEMORY="1536")}))
    message = await refused(
        yard, **over({"name": "a", "resourceRequirements": requirements(MEMORY="1024")})
    )
    assert message == "Fargate resource requirements (0.50 vCPU, 1536 MiB) not valid."


async def test_a_variable_must_not_take_the_name_of_a_secret(ready: Yard):
    secrets = [{"name": "PASSWORD", "valueFrom": "/password"}]
    await ready.define(
        "kind", containerProperties={**CONTAINER, "executionRoleArn": ROLE, "secrets": secrets}
    )
    environment = [{"name": "PASSWORD", "value": "1"}]
    message = await refused(ready, containerOverrides={"environment": environment})
    assert message == (
        "The secret name must be unique and not shared with any new or existing environment"
        " variables set on the container, such as 'PASSWORD'."
    )
    job = await spec(ready, containerOverrides={"environment": [{"name": "A", "value": "1"}]})
    assert job["container"]["secrets"] == secrets


# ── pods ─────────────────────────────────────────────────────────────────────────────────


async def a_pod_queue(yard: Yard, **pod: Any) -> None:
    await yard.eks_environment()
    await yard.queue("jq", "eks")
    properties = a_pod(
        a_pod_container("main", command=["sh"], env=[{"name": "A", "value": "1"}]),
        a_pod_container("side", resources={"requests": {"cpu": "0.25", "memory": "64Mi"}}),
        **pod,
    )
    await yard.define("kind", containerProperties={}, eksProperties=properties)


def over_pod(*containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"eksPropertiesOverride": {"podProperties": {"containers": [*containers], **members}}}


async def test_a_pod_needs_what_its_containers_request_at_once(yard: Yard):
    first = a_pod_container("first", resources={"limits": {"cpu": "0.5", "memory": "512Mi"}})
    await a_pod_queue(yard, initContainers=[first])
    record = await yard.record(await yard.submit(jobDefinition="kind"))
    assert record.job.demand == Amount(cpu_milli=1250, memory_mib=512)
    job = msgspec.json.decode(record.job.spec)
    assert job["platformCapabilities"] == []
    main, side = job["eksProperties"]["podProperties"]["containers"]
    same = {"cpu": "1", "memory": "128Mi"}
    assert main["resources"] == {"limits": same, "requests": same}
    assert side["resources"] == {"limits": {}, "requests": {"cpu": "0.25", "memory": "64Mi"}}


async def test_containers_of_a_pod_are_overridden_by_name(yard: Yard):
    await a_pod_queue(yard, metadata={"labels": {"a": "1", "b": "2"}, "namespace": "jobs"})
    job = await spec(
        yard,
        **over_pod(
            {
                "name": "main",
                "image": "alpine",
                "args": ["-c", "Ref::stays"],
                "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
                "resources": {"limits": {"cpu": "2", "memory": "8Mi"}},
            },
            metadata={"labels": {"b": "3"}, "annotations": {"c": "4"}},
        ),
    )
    pod = job["eksProperties"]["podProperties"]
    main, side = pod["containers"]
    assert (main["image"], main["command"], main["args"]) == (
        "alpine",
        ["sh"],
        ["-c", "Ref::stays"],
    )
    assert main["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]
    assert main["resources"]["requests"] == {"cpu": "2", "memory": "8Mi"}
    assert side["image"] == "busybox"
    assert pod["metadata"] == {
        "labels": {"a": "1", "b": "3"},
        "annotations": {"c": "4"},
        "namespace": "jobs",
    }


@pytest.mark.parametrize(
    ("request_members", "message"),
    [
        (
            over_pod({"name": "gone", "image": "a"}),
            "eksPropertiesOverride: containers gone is not in the job definition.",
        ),
        (
            over_pod({"image": "a"}),
            "eksPropertiesOverride: name must be provided for each of several containers.",
        ),
        (
            over_pod({"name": "main"}, {"name": "main", "image": "b"}),
            "eksPropertiesOverride: containers main is given more than once.",
        ),
        (
            over_pod(initContainers=[{"name": "main", "image": "a"}]),
            "eksPropertiesOverride: initContainers main is not in the job definition.",
        ),
        (
            over_pod({"name": "main", "resources": {"limits": {"cpu": "1"}}}),
            "containers[0].resources must have memory in limits or requests.",
        ),
        (
            over_pod(metadata={"namespace": "default"}),
            "metadata.namespace must not be default, and must not start with kube.",
        ),
        ({"propagateTags": True}, "propagateTags is not applicable for EKS."),
        (
            {"containerOverrides": {"command": ["a"]}},
            "Container overrides should not be set for EKS job definitions.",
        ),
    ],
)
async def test_overrides_of_pods_that_are_refused(yard: Yard, request_members, message):
    await a_pod_queue(yard)
    assert await refused(yard, **request_members) == message


async def test_pods_and_containers_have_queues_of_their_own(ready: Yard):
    await ready.eks_environment()
    await ready.queue("pods", "eks")
    await ready.define("kind", containerProperties={}, eksProperties=a_pod())
    fault = "Job Queue is attached to Compute Environment that can not run Jobs with capability"
    assert await refused(ready) == f"{fault} EKS"
    assert await refused(ready, jobQueue="pods", jobDefinition="jd") == f"{fault} EC2"
    await spec(ready, jobQueue="pods")


# ── nodes ────────────────────────────────────────────────────────────────────────────────


def a_node(cpu: str = "1", memory: str = "128", **changes: Any) -> dict[str, Any]:
    return {
        **CONTAINER,
        "resourceRequirements": requirements(VCPU=cpu, MEMORY=memory),
        **changes,
    }


async def define_nodes(yard: Yard, count: int, *ranges: dict[str, Any], main: int = 0) -> None:
    await yard.define(
        "kind",
        type="multinode",
        containerProperties={},
        parameters={"mode": "slow"},
        nodeProperties=nodes(count, *ranges, main=main),
    )


def over_range(target: str, **members: Any) -> dict[str, Any]:
    return {"targetNodes": target, **members}


async def test_nodes_are_planned_in_the_order_of_their_indexes(ready: Yard):
    await define_nodes(
        ready,
        6,
        a_range(":", container=a_node("2", command=["run", "Ref::mode"])),
        a_range("2:3", container=a_node("4")),
        a_range("5", container=a_node("4")),
        main=1,
    )
    job_id = await ready.submit(jobDefinition="kind", parameters={"mode": "fast"})
    record = await ready.record(job_id)
    two, four = (Amount(cpu_milli=cpu, memory_mib=128) for cpu in (2000, 4000))
    assert record.job.nodes == NodePlan(
        main_index=1,
        groups=(
            NodeGroup(count=2, demand=two),
            NodeGroup(count=2, demand=four),
            NodeGroup(count=1, demand=two),
            NodeGroup(count=1, demand=four),
        ),
    )
    assert record.job.demand == Amount(cpu_milli=18_000, memory_mib=768)
    job = msgspec.json.decode(record.job.spec)
    assert "container" not in job
    assert job["nodeProperties"]["nodeRangeProperties"][0]["container"]["command"] == [
        "run",
        "fast",
    ]


async def test_the_number_of_nodes_is_overridden_where_a_range_is_open(ready: Yard):
    await define_nodes(ready, 4, a_range("0"), a_range("1:", container=a_node("2")))
    record = await ready.record(
        await ready.submit(jobDefinition="kind", nodeOverrides={"numNodes": 8})
    )
    assert record.job.nodes is not None
    assert [group.count for group in record.job.nodes.groups] == [1, 7]
    properties = msgspec.json.decode(record.job.spec)["nodeProperties"]
    assert properties["numNodes"] == 8
    assert [each["targetNodes"] for each in properties["nodeRangeProperties"]] == ["0", "1:"]


async def test_fewer_nodes_leave_out_what_is_behind_them(ready: Yard):
    await define_nodes(
        ready, 6, a_range(":", container=a_node("2")), a_range("4:5", container=a_node("4"))
    )
    record = await ready.record(
        await ready.submit(jobDefinition="kind", nodeOverrides={"numNodes": 2})
    )
    assert record.job.demand == Amount(cpu_milli=4000, memory_mib=256)


@pytest.mark.parametrize("target", ["1:", "1:3", "1:5"])
async def test_ranges_are_overridden_by_their_words_or_their_nodes(ready: Yard, target):
    await define_nodes(ready, 4, a_range("0:0"), a_range("1:"))
    job = await spec(
        ready,
        nodeOverrides={
            "numNodes": 6,
            "nodePropertyOverrides": [
                over_range("0", containerOverrides={"command": ["main"]}),
                over_range(
                    target,
                    containerOverrides={
                        "command": ["Ref::mode"],
                        "environment": [{"name": "A", "value": "1"}],
                        "resourceRequirements": requirements(GPU="1"),
                    },
                    instanceTypes=["p4d.24xlarge"],
                ),
            ],
        },
    )
    first, rest = job["nodeProperties"]["nodeRangeProperties"]
    assert first["container"]["command"] == ["main"]
    assert rest["container"]["command"] == ["slow"]
    assert rest["container"]["environment"] == [{"name": "A", "value": "1"}]
    assert rest["container"]["resourceRequirements"] == requirements(
        VCPU="1", MEMORY="128", GPU="1"
    )
    assert rest["instanceTypes"] == ["p4d.24xlarge"]


async def test_nodes_of_tasks_are_overridden_by_container(ready: Yard):
    await define_nodes(ready, 2, a_range(":", ecsProperties=a_task()))
    job = await spec(
        ready,
        nodeOverrides={
            "nodePropertyOverrides": [
                over_range(":", **over({"name": "main", "command": ["Ref::mode"]}))
            ]
        },
    )
    [only] = job["nodeProperties"]["nodeRangeProperties"]
    assert only["ecsProperties"]["taskProperties"][0]["containers"][0]["command"] == ["slow"]


async def test_nodes_of_pods_wait_in_a_queue_of_eks(yard: Yard):
    await yard.eks_environment()
    await yard.queue("jq", "eks")
    await define_nodes(yard, 2, a_range(":", eksProperties=a_pod()))
    job = await spec(yard, nodeOverrides={"nodePropertyOverrides": [over_range(":", **over_pod())]})
    [only] = job["nodeProperties"]["nodeRangeProperties"]
    [container] = only["eksProperties"]["podProperties"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "128Mi"}


NOT_MATCHING = "NodeOverride targets should match job definition. Non matching targets - "


@pytest.mark.parametrize(
    ("ranges", "overrides", "message"),
    [
        (
            ["0", "1:3"],
            {"numNodes": 5},
            "numNodes can only be overridden where a node range of the job definition has an open"
            " upper end.",
        ),
        (
            ["0:1", "2:"],
            {"numNodes": 2},
            "nodeOverrides.numNodes 2 must be above the lower end of an open node range of the job"
            " definition, 2.",
        ),
        (
            [":"],
            {"numNodes": 1},
            "nodeProperties.mainNode must be at least 0, and below the number of nodes, 1.",
        ),
        ([":"], {"numNodes": 0}, "nodeOverrides.numNodes must be between 1 and 1000."),
        ([":"], {"numNodes": 1001}, "nodeOverrides.numNodes must be between 1 and 1000."),
        (
            [":"],
            {"nodePropertyOverrides": [over_range("0:0")]},
            f"{NOT_MATCHING}0:0",
        ),
        (
            [":"],
            {"nodePropertyOverrides": [over_range("0:0"), over_range("all")]},
            f"{NOT_MATCHING}0:0, all",
        ),
        (
            [":"],
            {"nodePropertyOverrides": [over_range(":"), over_range("0:3")]},
            "nodePropertyOverrides.targetNodes 0:3 is given more than once.",
        ),
        (
            [":"],
            {"nodePropertyOverrides": [over_range(":", containerOverrides={"command": ["a", ""]})]},
            "Command cannot be empty",
        ),
        (
            [":"],
            {"nodePropertyOverrides": [over_range(":", **over({"name": "a"}))]},
            "ECS properties overrides should not be set for container job definitions.",
        ),
        (
            ["0:1", "2:3"],
            {
                "nodePropertyOverrides": [
                    over_range("0:1", instanceTypes=["a.large"]),
                    over_range("2:3", containerOverrides={"instanceType": "b.large"}),
                ]
            },
            "All node ranges must have the same instance type.",
        ),
        (
            [":"],
            {"nodePropertyOverrides": [over_range(":", instanceTypes=["a.large", "b.large"])]},
            "instanceTypes must have 0 to 1 items.",
        ),
        (
            [":"],
            {
                "nodePropertyOverrides": [
                    over_range(
                        ":",
                        consumableResourcePropertiesOverride={
                            "consumableResourceList": [{"quantity": 1}]
                        },
                    )
                ]
            },
            "consumableResource must be provided",
        ),
    ],
)
async def test_overrides_of_nodes_that_are_refused(ready: Yard, ranges, overrides, message):
    await define_nodes(ready, 4, *(a_range(target) for target in ranges), main=1)
    assert await refused(ready, nodeOverrides=overrides) == message


async def test_a_multi_node_job_takes_no_container_overrides(ready: Yard):
    await define_nodes(ready, 2, a_range(":"))
    message = await refused(ready, containerOverrides={"command": ["a"]})
    assert message == "Container overrides should not be set for multinode job definitions."
    empty: Any = {"command": [], "environment": [], "resourceRequirements": []}
    assert await spec(ready, containerOverrides=empty, nodeOverrides={}) == await spec(ready)


async def test_a_multi_node_job_does_not_run_on_fargate(ready: Yard):
    await ready.fargate_environment()
    await ready.queue("fargate", "fargate")
    await define_nodes(ready, 2, a_range(":"))
    assert await refused(ready, jobQueue="fargate") == (
        "Job Queue is attached to Compute Environment that can not run Jobs with capability EC2"
    )
