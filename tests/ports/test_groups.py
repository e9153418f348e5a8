"""Tasks of several containers, for every backend: one life, in the order the task says.

Method as in `test_backend_port`. What a container printed is read by its stream, which has its
name.
"""

from dataclasses import replace

import pytest

from batchyard.compute.port import ContainerEnded, Network, TaskEnded, TaskSpec, TaskStarted
from tests.ports.rigs import Behaviour, Rig, after, group

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only]


def ends_of(ended: TaskEnded) -> dict[str, tuple[int | None, str | None, bool]]:
    """Show how each container ended: exit code, reason, was it stopped."""
    return {each.name: (each.exit_code, each.reason, each.was_stopped) for each in ended.containers}


async def run(rig: Rig, spec: TaskSpec) -> TaskEnded:
    backend, listener = await rig.open()
    await backend.start([spec])
    return await listener.ended(spec.task_id)


async def test_containers_end_with_the_first_essential_one(rig: Rig) -> None:
    backend, listener = await rig.open()
    main = rig.container("main", Behaviour(lines=("m",), exit_code=3))
    # Were the helper not over, it would have been told to stop when the main one ended.
    main = after(after(main, "START", "side"), "COMPLETE", "helper")
    side = replace(
        rig.container("side", Behaviour(lines=("s",), is_waiting=True)), stop_timeout_ms=100
    )
    helper = replace(
        rig.container("helper", Behaviour(lines=("h",), exit_code=9)), is_essential=False
    )
    spec = group(rig, main, side, helper)
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    assert (ended.exit_code, ended.reason, ended.is_lost) == (None, None, False)
    assert ended.containers[0] == ContainerEnded(name="main", is_essential=True, exit_code=3)
    assert [(each.name, each.is_essential) for each in ended.containers] == [
        ("main", True),
        ("side", True),
        ("helper", False),
    ]
    assert ended.containers[2] == ContainerEnded(name="helper", is_essential=False, exit_code=9)
    started, last = listener.of(spec.task_id)
    assert isinstance(started, TaskStarted)
    assert last == ended
    assert {name: rig.sink.printed(name) for name in ("main", "helper")} == {
        "main": ["m"],
        "helper": ["h"],
    }


async def test_stopped_containers_say_so(rig: Rig) -> None:
    backend, listener = await rig.open()
    side = rig.container("side", Behaviour(lines=("ready",), is_waiting=True))
    main = rig.container("main", Behaviour(lines=("ready",), is_waiting=True))
    spec = group(rig, after(main, "START", "side"), side)
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("main") == rig.sink.printed("side") == ["ready"])
    await backend.stop(spec.task_id, grace_ms=600_000)
    ended = await listener.ended(spec.task_id)
    assert ends_of(ended) == {"main": (143, None, True), "side": (143, None, True)}


async def test_stop_timeout_of_a_container_is_its_own_grace(rig: Rig) -> None:
    backend, listener = await rig.open()
    stubborn = Behaviour(lines=("ready",), is_waiting=True, is_term_ignored=True)
    one = replace(rig.container("one", stubborn), stop_timeout_ms=20)
    two = replace(rig.container("two", stubborn), stop_timeout_ms=30)
    spec = group(rig, one, two)
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("one") == rig.sink.printed("two") == ["ready"])
    await backend.stop(spec.task_id, grace_ms=600_000)
    rig.pass_time(30)
    assert ends_of(await listener.ended(spec.task_id)) == {
        "one": (137, None, True),
        "two": (137, None, True),
    }


async def test_containers_wait_for_success_completion_and_start(rig: Rig) -> None:
    init = replace(rig.container("init", Behaviour(lines=("1",))), is_essential=False)
    check = replace(rig.container("check", Behaviour(exit_code=7)), is_essential=False)
    check = after(check, "SUCCESS", "init")
    side = rig.container("side", Behaviour(lines=("3",), is_waiting=True))
    side = replace(side, stop_timeout_ms=100)
    main = after(rig.container("main", Behaviour(lines=("4",))), "START", "side")
    spec = group(rig, main, after(side, "COMPLETE", "check"), check, init)
    ended = await run(rig, spec)
    assert ends_of(ended)["init"] == (0, None, False)
    assert ends_of(ended)["check"] == (7, None, False)
    assert ends_of(ended)["main"] == (0, None, False)
    assert ends_of(ended)["side"][2]


async def test_condition_that_can_never_hold_fails_the_task(rig: Rig) -> None:
    init = replace(rig.container("init", Behaviour(exit_code=4)), is_essential=False)
    main = after(rig.container("main", Behaviour(lines=("never",))), "SUCCESS", "init")
    other = after(rig.container("other", Behaviour()), "START", "main")
    backend, listener = await rig.open()
    spec = group(rig, main, init, other)
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    reason = (
        "CannotStartContainerError: dependency graph: failed to resolve container ordering"
        " dependency [init] for target [main] as dependency did not exit successfully."
    )
    assert ends_of(ended) == {
        "main": (None, reason, False),
        "init": (4, None, False),
        "other": (None, None, True),
    }
    assert listener.of(spec.task_id) == [ended]
    assert rig.sink.printed("main") == []


async def test_waiting_for_others_has_its_time(rig: Rig) -> None:
    backend, listener = await rig.open()
    slow = rig.container("slow", Behaviour(lines=("ready",), is_waiting=True))
    slow = replace(slow, is_essential=False)
    main = after(rig.container("main", Behaviour()), "SUCCESS", "slow")
    spec = group(rig, replace(main, start_timeout_ms=2000), slow)
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("slow") == ["ready"])
    rig.pass_time(2000)
    ended = await listener.ended(spec.task_id)
    reason = (
        "CannotStartContainerError: dependency graph: container ordering dependency [slow] for"
        " target [main] has timed out."
    )
    assert ends_of(ended) == {"main": (None, reason, False), "slow": (143, None, True)}


async def test_stop_while_containers_wait(rig: Rig) -> None:
    backend, listener = await rig.open()
    slow = rig.container("slow", Behaviour(lines=("ready",), is_waiting=True))
    main = after(rig.container("main", Behaviour(lines=("never",))), "COMPLETE", "slow")
    spec = group(rig, main, replace(slow, is_essential=False))
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("slow") == ["ready"])
    await backend.stop(spec.task_id, grace_ms=600_000)
    ended = await listener.ended(spec.task_id)
    assert ends_of(ended) == {"main": (None, None, True), "slow": (143, None, True)}
    assert listener.of(spec.task_id) == [ended]


async def test_container_that_cannot_start_takes_the_others_only_if_essential(rig: Rig) -> None:
    broken = Behaviour(is_executable_missing=True)
    backend, listener = await rig.open()
    main = rig.container("main", Behaviour(lines=("m",)))
    aside = replace(rig.container("aside", broken), is_essential=False)
    spared = group(rig, main, aside)
    await backend.start([spared])
    ended = await listener.ended(spared.task_id)
    assert ends_of(ended)["main"] == (0, None, False)
    assert isinstance(listener.of(spared.task_id)[0], TaskStarted)

    lost = group(
        rig,
        rig.container("first", broken),
        after(rig.container("second", Behaviour()), "START", "first"),
    )
    await backend.start([lost])
    ended = await listener.ended(lost.task_id)
    code, reason, was_stopped = ends_of(ended)["first"]
    assert (code, was_stopped) == (None, False)
    assert reason is not None
    assert reason.startswith("CannotStartContainerError: ")
    assert ends_of(ended)["second"] == (None, None, True)
    assert listener.of(lost.task_id) == [ended]


async def test_groups_outlive_the_server_and_are_told_again(rig: Rig) -> None:
    backend, listener = await rig.open()
    init = replace(rig.container("init", Behaviour(lines=("i",))), is_essential=False)
    main = rig.container("main", Behaviour(lines=("m",), is_waiting=True))
    spec = group(rig, after(main, "SUCCESS", "init"), init)
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("main") == ["m"])

    backend, listener = await rig.open()
    assert await backend.list_tasks() == {spec.task_id}
    await backend.start([spec])
    await listener.started(spec.task_id)
    await backend.stop(spec.task_id, grace_ms=60_000)
    first = await listener.ended(spec.task_id)
    assert ends_of(first) == {"main": (143, None, True), "init": (0, None, False)}

    backend, listener = await rig.open()
    assert await listener.ended(spec.task_id) == first
    assert (rig.sink.printed("init"), rig.sink.printed("main")) == (["i"], ["m"])
    await backend.forget([spec.task_id])
    assert await backend.list_tasks() == frozenset()
    backend, listener = await rig.open()
    assert await backend.list_tasks() == frozenset()


async def test_tasks_with_a_network_of_their_own_have_an_address(rig: Rig) -> None:
    backend, listener = await rig.open()
    waiting = Behaviour(is_waiting=True)
    specs = [
        group(rig, rig.container("only", waiting), network=Network.OWN),
        group(rig, rig.container("a", waiting), rig.container("b", waiting), network=Network.OWN),
    ]
    await backend.start(specs)
    addresses = [(await listener.started(spec.task_id)).address for spec in specs]
    assert None not in addresses
    assert len(set(addresses)) == 2
    shared = group(rig, rig.container("c", Behaviour()))
    await backend.start([shared])
    assert (await listener.started(shared.task_id)).address is None

    backend, listener = await rig.open()
    assert [(await listener.started(spec.task_id)).address for spec in specs] == addresses
