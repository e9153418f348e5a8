"""Wishes about registered instances; on both databases."""

from __future__ import annotations

from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.model.instance_wishes import Deregistration, Registration
from batchyard.model.instances import InstanceId
from batchyard.store import Store, instance_wishes
from tests.store.builders import SCOPE

INSTANCE = InstanceId("i-00000000000000001")
REGISTRATION = Registration(
    environment_arn=SCOPE.environment_arn("mine"),
    instance_type="custom",
    capacity=Amount(cpu_milli=2000, memory_mib=1024, gpu_count=1),
    count=3,
    host_id=HostId("local"),
)
DEREGISTRATION = Deregistration(
    environment_arn=SCOPE.environment_arn("mine"), instance_id=INSTANCE, is_forced=True
)


async def test_a_wish_waits_until_it_is_answered_and_is_forgotten_later(store: Store) -> None:
    first = await store.write(
        lambda conn: instance_wishes.add_instance_wish(conn, REGISTRATION, at_ms=1)
    )
    second = await store.write(
        lambda conn: instance_wishes.add_instance_wish(conn, DEREGISTRATION, at_ms=2)
    )
    assert first < second

    async def waiting() -> list[tuple[int, object]]:
        found = await store.read(lambda conn: instance_wishes.read_waiting(conn, 10))
        return [(each.seq, each.registration or each.deregistration) for each in found]

    assert await waiting() == [(first, REGISTRATION), (second, DEREGISTRATION)]
    await store.write(
        lambda conn: instance_wishes.settle_instance_wish(conn, first, [INSTANCE], None, at_ms=5)
    )
    await store.write(
        lambda conn: instance_wishes.settle_instance_wish(conn, second, [], "no", at_ms=6)
    )
    assert await waiting() == []
    answered = await store.read(lambda conn: instance_wishes.read_instance_wish(conn, first))
    assert answered is not None
    assert (answered.is_settled, answered.instance_ids, answered.refusal) == (
        True,
        (INSTANCE,),
        None,
    )
    refused = await store.read(lambda conn: instance_wishes.read_instance_wish(conn, second))
    assert refused is not None
    assert (refused.is_settled, refused.instance_ids, refused.refusal) == (True, (), "no")
    assert await store.write(lambda conn: instance_wishes.delete_settled_before(conn, 6)) == 1
    assert await store.read(lambda conn: instance_wishes.read_instance_wish(conn, first)) is None
