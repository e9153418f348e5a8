"""Wishes about registered instances: what may be asked, and how an answer is shown."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from batchyard.api.own.registrations import (
    deregister_instance,
    get_instance_wish,
    register_instances,
)
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, Scope
from batchyard.model.instance_wishes import Deregistration, Registration
from batchyard.model.instances import InstanceId
from batchyard.model.records import InstanceRecord, TerminationCause
from batchyard.model.refusal import Refusal
from batchyard.store import instance_wishes, instances
from batchyard.wire.call import Call
from tests.api.conftest import ELSEWHERE, NOW_MS, SCOPE, Yard

ROLE = "arn:aws:iam::123456789012:role/AWSBatchServiceRole"
_OPERATIONS = {
    "register": register_instances,
    "deregister": deregister_instance,
    "wish": get_instance_wish,
}
SMALL: dict[str, Any] = {"vcpus": 2, "memoryMib": 1024}
INSTANCE = InstanceId("i-00000000000000001")


class Registry:
    """The own operations on a yard with the UNMANAGED environment `mine`."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard

    async def call(self, operation: str, scope: Scope = SCOPE, **request: Any) -> Any:
        call = Call(
            scope=scope,
            principal_arn=f"arn:aws:iam::{scope.account}:root",
            user_id=scope.account,
            access_key_id="AKIDEXAMPLE",
            request_id="the-request-id",
            now_ms=NOW_MS,
            body_size=0,
        )
        return await partial(_OPERATIONS[operation], self.yard.store)(call, request)

    async def refused(self, operation: str, **request: Any) -> str:
        with pytest.raises(Refusal) as refused:
            await self.call(operation, **request)
        assert refused.value.http_status == 400
        return refused.value.message

    async def waiting(self) -> list[Any]:
        found = await self.yard.store.read(lambda conn: instance_wishes.read_waiting(conn, 10))
        return [each.registration or each.deregistration for each in found]

    async def launch(self, environment: str = "mine", **ended: Any) -> None:
        record = InstanceRecord(
            id=INSTANCE,
            environment_arn=SCOPE.environment_arn(environment),
            instance_type="custom",
            host_id=HostId("local"),
            capacity=Amount(cpu_milli=2000, memory_mib=1024),
            is_spot=False,
            launched_ms=NOW_MS,
            ready_ms=NOW_MS,
        )

        def work(conn: Any) -> None:
            instances.insert_instance(conn, record)
            if ended:
                instances.end_instance(conn, INSTANCE, at_ms=NOW_MS, **ended)

        await self.yard.store.write(work)


@pytest.fixture
async def registry(yard: Yard) -> Registry:
    await yard.call(
        "CreateComputeEnvironment",
        computeEnvironmentName="mine",
        type="UNMANAGED",
        serviceRole=ROLE,
    )
    await yard.environment("theirs")
    return Registry(yard)


async def test_a_registration_waits_for_the_engine_and_shows_its_answer(registry: Registry):
    answer = await registry.call("register", computeEnvironment="mine", **SMALL, count=2)
    wish_id = answer["wishId"]
    assert await registry.waiting() == [
        Registration(
            environment_arn=SCOPE.environment_arn("mine"),
            instance_type="custom",
            capacity=Amount(cpu_milli=2000, memory_mib=1024),
            count=2,
        )
    ]
    shown = await registry.call("wish", wishId=wish_id)
    assert shown == {"wishId": wish_id, "isSettled": False, "instanceIds": []}

    def settle(conn: Any) -> None:
        instance_wishes.settle_instance_wish(conn, int(wish_id), [INSTANCE], None, at_ms=NOW_MS)

    await registry.yard.store.write(settle)
    shown = await registry.call("wish", wishId=wish_id)
    assert shown == {"wishId": wish_id, "isSettled": True, "instanceIds": [INSTANCE]}
    assert await registry.waiting() == []
    with pytest.raises(Refusal, match=f"There is no wish {wish_id}."):
        await registry.call("wish", scope=ELSEWHERE, wishId=wish_id)

    def sweep(conn: Any) -> list[int]:
        return [instance_wishes.delete_settled_before(conn, at) for at in (NOW_MS, NOW_MS + 1)]

    assert await registry.yard.store.write(sweep) == [0, 1]


async def test_the_cluster_names_the_environment_as_it_does_for_an_agent(registry: Registry):
    answer = await registry.yard.call("DescribeComputeEnvironments", computeEnvironments=["mine"])
    cluster = answer["computeEnvironments"][0]["ecsClusterArn"]
    arn = SCOPE.environment_arn("mine")
    for text in (cluster, cluster.partition(":cluster/")[2], arn):
        await registry.call("register", computeEnvironment=text, instanceType="m6i.large")
    found = await registry.waiting()
    assert [each.environment_arn for each in found] == [arn] * 3
    assert found[0].instance_type == "m6i.large"
    assert found[0].capacity == Amount(cpu_milli=2000, memory_mib=7955)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"computeEnvironment": "gone"}, f"{SCOPE.environment_arn('gone')} does not exist"),
        (
            {"computeEnvironment": "theirs"},
            f"{SCOPE.environment_arn('theirs')} is MANAGED: it launches and ends its instances"
            " itself.",
        ),
        ({"count": 0}, "count must be between 1 and 1000."),
        ({"count": 1001}, "count must be between 1 and 1000."),
        ({"vcpus": 0}, "vcpus must be between 1 and 100000."),
        ({"memoryMib": 3}, "memoryMib must be between 4 and 1073741824."),
        ({"gpus": -1}, "gpus must be between 0 and 1024."),
        ({"instanceType": "m6i.large"}, "instanceType and vcpus cannot be given together."),
    ],
)
async def test_registrations_that_are_refused(registry: Registry, request_, message):
    request = {"computeEnvironment": "mine", **SMALL, **request_}
    assert await registry.refused("register", **request) == message
    assert await registry.waiting() == []


async def test_a_registration_says_how_large(registry: Registry):
    assert await registry.refused("register", computeEnvironment="mine", vcpus=2) == (
        "Either instanceType, or vcpus and memoryMib must be given."
    )
    assert (
        await registry.refused("register", computeEnvironment="mine", instanceType="zz9.huge")
        == "There is no instance type zz9.huge."
    )


async def test_deregistering_is_of_instances_that_are_there_and_registered(registry: Registry):
    unknown = f"There is no instance {INSTANCE}."
    assert await registry.refused("deregister", instanceId=INSTANCE) == unknown
    await registry.launch()
    assert await registry.refused("deregister", instanceId=INSTANCE, scope=ELSEWHERE) == unknown
    await registry.call("deregister", instanceId=INSTANCE, force=True)
    assert await registry.waiting() == [
        Deregistration(
            environment_arn=SCOPE.environment_arn("mine"), instance_id=INSTANCE, is_forced=True
        )
    ]


async def test_ended_instances_and_those_of_others_are_not_deregistered(registry: Registry):
    await registry.launch("theirs")
    assert "is MANAGED" in await registry.refused("deregister", instanceId=INSTANCE)


async def test_an_ended_instance_says_why(registry: Registry):
    await registry.launch(cause=TerminationCause.DEREGISTERED)
    assert (
        await registry.refused("deregister", instanceId=INSTANCE)
        == f"Instance {INSTANCE} has ended: DEREGISTERED."
    )


@pytest.mark.parametrize("text", ["", "x", "1" * 30, "99", "٣"])
async def test_a_wish_that_is_not_there(registry: Registry, text):
    assert await registry.refused("wish", wishId=text) == f"There is no wish {text}."
