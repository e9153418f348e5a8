"""RegisterJobDefinition with nodeProperties: multi-node parallel jobs."""

from typing import Any

import pytest

from tests.api.conftest import CONTAINER, Yard, requirements
from tests.api.test_definition_pods import a_container as a_pod_container
from tests.api.test_definition_pods import a_pod
from tests.api.test_definition_tasks import a_task


def a_range(target: str, **members: Any) -> dict[str, Any]:
    return {"targetNodes": target, **(members or {"container": CONTAINER})}


def nodes(count: int, *ranges: dict[str, Any], main: int = 0) -> dict[str, Any]:
    return {"numNodes": count, "mainNode": main, "nodeRangeProperties": list(ranges)}


async def registered(yard: Yard, properties: dict[str, Any]) -> Any:
    await yard.call(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="multinode",
        nodeProperties=properties,
    )
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    return shown


async def test_nodes_are_shown_as_registered_with_their_lists(yard: Yard):
    shown = await registered(
        yard,
        nodes(
            4,
            a_range("0", container={**CONTAINER, "instanceType": "c5.large"}),
            a_range("1:", container=CONTAINER, instanceTypes=["c5.large"]),
        ),
    )
    empty: dict[str, Any] = {
        "environment": [],
        "mountPoints": [],
        "secrets": [],
        "ulimits": [],
        "volumes": [],
    }
    assert shown["type"] == "multinode"
    assert shown["containerOrchestrationType"] == "ECS"
    assert "containerProperties" not in shown
    assert shown["nodeProperties"] == {
        "numNodes": 4,
        "mainNode": 0,
        "nodeRangeProperties": [
            {
                "targetNodes": "0",
                "container": {**CONTAINER, **empty, "instanceType": "c5.large"},
            },
            {
                "targetNodes": "1:",
                "container": {**CONTAINER, **empty},
                "instanceTypes": ["c5.large"],
            },
        ],
    }


@pytest.mark.parametrize(
    ("count", "targets"),
    [
        (1, [":"]),
        (1, ["0"]),
        (10, ["0:"]),
        (10, [":9"]),
        (10, ["0:0", "1:9"]),
        (11, ["0:10", "4:5"]),
        (11, ["4:5", ":", "4"]),
        (1000, ["0:499", "500:"]),
    ],
)
async def test_ranges_that_account_for_all_nodes(yard: Yard, count, targets):
    shown = await registered(yard, nodes(count, *(a_range(target) for target in targets)))
    ranges = shown["nodeProperties"]["nodeRangeProperties"]
    assert [each["targetNodes"] for each in ranges] == targets


async def test_nodes_may_be_tasks_or_pods(yard: Yard):
    both = nodes(2, a_range("0:0", ecsProperties=a_task()), a_range("1:1"))
    shown = await registered(yard, both)
    first, second = shown["nodeProperties"]["nodeRangeProperties"]
    assert first["ecsProperties"]["taskProperties"][0]["containers"][0]["essential"] is True
    assert second["container"]["secrets"] == []
    await yard.call("DeregisterJobDefinition", jobDefinition="jd:1")
    await yard.define(
        "pods",
        type="multinode",
        containerProperties={},
        nodeProperties=nodes(2, a_range(":", eksProperties=a_pod())),
    )
    answer = await yard.call("DescribeJobDefinitions", jobDefinitions=["pods:1"])
    [shown] = answer["jobDefinitions"]
    assert shown["containerOrchestrationType"] == "EKS"
    [only] = shown["nodeProperties"]["nodeRangeProperties"]
    assert only["eksProperties"]["podProperties"]["initContainers"] == []


OVERLAP = " overlap: ranges of nodes must be apart, or one must be inside the other."
FORMS = (
    " must have one of the forms 0:3, 0:, :3 and 3, and a first node that is not behind the last."
)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (nodes(0, a_range(":")), "nodeProperties.numNodes must be between 1 and 1000."),
        (nodes(1001, a_range(":")), "nodeProperties.numNodes must be between 1 and 1000."),
        *(
            (
                nodes(2, a_range(":"), main=main),
                "nodeProperties.mainNode must be at least 0, and below the number of nodes, 2.",
            )
            for main in (2, -1)
        ),
        (
            nodes(6, *(a_range(str(n)) for n in range(6))),
            "nodeRangeProperties must have 1 to 5 items.",
        ),
        *(
            (nodes(4, a_range(target)), f"targetNodes {target}{FORMS}")
            for target in ("all", "", "3:1", "-1:2", "0-3")
        ),
        (nodes(4, a_range("0:4")), "targetNodes 0:4 must be below the number of nodes, 4."),
        (
            nodes(4, a_range(":"), a_range("4")),
            "targetNodes 4 must be below the number of nodes, 4.",
        ),
        (nodes(4, a_range("0:2"), a_range("2:3")), f"targetNodes 0:2 and 2:3{OVERLAP}"),
        (nodes(4, a_range("0:3"), a_range(":")), f"targetNodes 0:3 and :{OVERLAP}"),
        (
            nodes(4, a_range("0:1"), a_range("3")),
            "nodeRangeProperties must account for all nodes; node 2 is in no range.",
        ),
        (
            nodes(1, {"targetNodes": "0"}),
            "nodeRangeProperties[0] must have exactly one of container, ecsProperties,"
            " eksProperties.",
        ),
        (
            nodes(1, a_range("0", container=CONTAINER, ecsProperties=a_task())),
            "nodeRangeProperties[0] must have exactly one of container, ecsProperties,"
            " eksProperties.",
        ),
        (
            nodes(1, a_range("0", container={**CONTAINER, "image": ""})),
            "nodeRangeProperties[0].container.image must be provided.",
        ),
        (
            nodes(2, a_range("0"), a_range("1", container={"image": "a"})),
            "Error executing request, Exception : vCPU is not provided., RequestId: the-request-id",
        ),
        (
            nodes(
                1,
                a_range(
                    "0",
                    container={
                        **CONTAINER,
                        "resourceRequirements": requirements(VCPU="0.5", MEMORY="4"),
                    },
                ),
            ),
            "VCPU must be a whole number for jobs on EC2.",
        ),
        (
            nodes(1, a_range("0", container=CONTAINER, instanceTypes=["a.large", "b.large"])),
            "nodeRangeProperties[0].instanceTypes must have 0 to 1 items.",
        ),
        (
            nodes(
                2,
                a_range("0", container=CONTAINER, instanceTypes=["a.large"]),
                a_range("1", container={**CONTAINER, "instanceType": "b.large"}),
            ),
            "All node ranges must have the same instance type.",
        ),
        (
            nodes(
                1,
                a_range(
                    "0",
                    container=CONTAINER,
                    consumableResourceProperties={"consumableResourceList": [{"quantity": 1}]},
                ),
            ),
            "consumableResource must be provided",
        ),
        (
            nodes(2, a_range("0"), a_range("1", eksProperties=a_pod())),
            "All node ranges must have eksProperties, or none.",
        ),
        (
            nodes(
                2,
                a_range("0", eksProperties=a_pod(metadata={"namespace": "a"})),
                a_range("1", eksProperties=a_pod()),
            ),
            "All node ranges must have the same metadata.namespace.",
        ),
        (
            nodes(
                1,
                a_range(
                    "0",
                    eksProperties=a_pod(
                        *(a_pod_container(f"c{n}", image=f"i{n}") for n in range(10)),
                        initContainers=[a_pod_container("first", image="other")],
                    ),
                ),
            ),
            "A node range cannot have more than 10 images.",
        ),
    ],
)
async def test_nodes_that_are_refused(yard: Yard, properties, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="multinode",
        nodeProperties=properties,
    )
    assert refused == message


async def test_nodes_do_not_run_on_fargate(yard: Yard):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="multinode",
        platformCapabilities=["FARGATE"],
        nodeProperties=nodes(1, a_range("0")),
    )
    assert refused == "nodeProperties is not applicable for Fargate."
