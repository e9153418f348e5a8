"""Lines that come one after the other are one event: all of them reach the server at once.

Goal: the supervisor tells of output whenever there is some that it has not told of, also while the
server keeps what it has read for an event that may still grow. Method: a container prints the
lines of two events with a pause between any two; the server gets no other reason to look.
"""

from dataclasses import replace

import pytest

from tests.ports.rigs import TARGET, LocalRig

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]


async def test_lines_printed_apart_are_one_event(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    spec = rig.shell(
        "trap 'exit 0' TERM; for line in START more most START; do echo $line; sleep 0.2; done;"
        " while :; do sleep 1000 & wait; done"
    )
    (container,) = spec.containers
    log = replace(TARGET, starts_event="^START")
    spec = replace(spec, containers=(replace(container, log=log),))
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.texts(spec.task_id) != [])
    assert rig.sink.texts(spec.task_id) == ["START\nmore\nmost\n"]
    await backend.stop(spec.task_id, grace_ms=5000)
    await listener.ended(spec.task_id)
    assert rig.sink.texts(spec.task_id) == ["START\nmore\nmost\n", "START\n"]
