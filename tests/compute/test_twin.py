"""What the twin offers beyond the port: scripts, time, lost hosts."""

import pytest

from batchyard.compute.port import (
    Condition,
    ContainerSpec,
    Network,
    StartsAfter,
    TaskEnded,
    TaskSpec,
)
from batchyard.compute.twin import Script, TwinBackend, TwinMachine
from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, task_id_of
from tests.ports.rigs import TARGET, Listener, MemorySink, target_of

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


def a_task(name: str, image: str = "any") -> TaskSpec:
    return TaskSpec(
        task_id=task_id_of(JobId(name), 1),
        containers=(ContainerSpec(image=image, limits=Amount(), log=TARGET),),
    )


def a_container(
    name: str,
    image: str,
    *,
    is_essential: bool = True,
    starts_after: tuple[StartsAfter, ...] = (),
) -> ContainerSpec:
    return ContainerSpec(
        name=name,
        image=image,
        limits=Amount(),
        log=target_of(name),
        is_essential=is_essential,
        starts_after=starts_after,
    )


async def test_scripts_run_on_the_given_clock() -> None:
    clock, sink = Clock(), MemorySink()
    machine = TwinMachine(now_ms=clock)
    machine.scripts["slow"] = Script(duration_ms=500, lines=("hello",), exit_code=3)
    backend = TwinBackend(machine, sink)
    await backend.open()
    task = a_task("a", "slow")
    await backend.start([task])
    assert machine.next_due_ms() == 1_500
    clock.now = 1_500
    machine.tick()
    listener = Listener(backend)
    ended = await listener.ended(task.task_id)
    assert (ended.at_ms, ended.exit_code) == (1_500, 3)
    assert sink.texts(task.task_id) == ["hello"]
    assert machine.next_due_ms() is None
    await listener.close()


async def test_tasks_are_driven_by_hand() -> None:
    machine, sink = TwinMachine(now_ms=Clock()), MemorySink()
    machine.scripts["held"] = Script(is_start_held=True)
    backend = TwinBackend(machine, sink)
    await backend.open()
    listener = Listener(backend)
    held, lost, failed = a_task("held", "held"), a_task("lost"), a_task("failed")
    await backend.start([held, lost, failed])
    assert machine.tasks[held.task_id].started is None
    machine.begin(held.task_id)
    machine.print_lines(held.task_id, "by hand")
    machine.finish(held.task_id, exit_code=9, reason="Because: so")
    machine.lose(lost.task_id)
    machine.finish(failed.task_id, exit_code=1)
    ended = await listener.ended(held.task_id)
    assert (ended.exit_code, ended.reason) == (9, "Because: so")
    assert (await listener.ended(lost.task_id)).is_lost
    assert sink.texts(held.task_id) == ["by hand"]
    await listener.close()


async def test_machine_outlives_its_backend() -> None:
    machine, sink = TwinMachine(now_ms=Clock()), MemorySink()
    first = TwinBackend(machine, sink)
    await first.open()
    task = a_task("a")
    await first.start([task])
    second = TwinBackend(machine, sink)
    await second.open()
    await second.start([task])
    assert machine.begin_count_by_task == {task.task_id: 1}
    machine.finish(task.task_id)
    listener = Listener(second)
    assert isinstance(await listener.ended(task.task_id), TaskEnded)
    await listener.close()


async def test_containers_of_a_task_are_driven_by_name() -> None:
    clock, sink = Clock(), MemorySink()
    machine = TwinMachine(now_ms=clock)
    machine.scripts["held"] = Script(is_start_held=True)
    machine.scripts["init"] = Script(duration_ms=50, lines=("ready",))
    machine.scripts["deaf"] = Script(is_term_ignored=True)
    backend = TwinBackend(machine, sink)
    await backend.open()
    listener = Listener(backend)
    wait = StartsAfter(container="init", condition=Condition.SUCCESS)
    containers = (
        a_container("main", "held", starts_after=(wait,)),
        a_container("init", "init", is_essential=False),
        a_container("side", "deaf"),
    )
    task = TaskSpec(task_id=task_id_of(JobId("g"), 1), containers=containers, network=Network.OWN)
    await backend.start([task])
    machine.begin(task.task_id, container="main")
    assert machine.next_due_ms() == 1_050
    clock.now = 1_050
    machine.tick()
    assert machine.begin_count_by_task == {task.task_id: 1}
    machine.print_lines(task.task_id, "by hand", container="side")
    assert (await listener.started(task.task_id)).address == "10.213.0.2"
    machine.finish(task.task_id, exit_code=4, container="main")
    assert machine.next_due_ms() == 31_050  # the others have ECS's time to go
    clock.now = 31_050
    machine.tick()
    ended = await listener.ended(task.task_id)
    assert [each.exit_code for each in ended.containers] == [4, 0, 137]
    assert [each.was_stopped for each in ended.containers] == [False, False, True]
    assert (sink.printed("init"), sink.printed("side")) == (["ready"], ["by hand"])
    await listener.close()


async def test_lost_host_takes_all_containers() -> None:
    machine, sink = TwinMachine(now_ms=Clock()), MemorySink()
    backend = TwinBackend(machine, sink)
    await backend.open()
    listener = Listener(backend)
    wait = StartsAfter(container="a", condition=Condition.COMPLETE)
    containers = (a_container("a", "any"), a_container("b", "any", starts_after=(wait,)))
    task = TaskSpec(task_id=task_id_of(JobId("g"), 1), containers=containers)
    await backend.start([task])
    machine.lose(task.task_id)
    ended = await listener.ended(task.task_id)
    assert ended.is_lost
    assert [each.reason for each in ended.containers] == ["DockerStateError: host lost", None]
    await listener.close()
