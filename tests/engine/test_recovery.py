"""What is loaded at the start, and in how much memory."""

from __future__ import annotations

import gc

import pytest

from batchyard.engine import recovery
from batchyard.engine.catalogue import LaunchTimes
from batchyard.model.ids import JobId
from batchyard.model.status import JobStatus
from batchyard.store import live_jobs
from tests.builders import job_id, needs
from tests.engine.stage import Stage


async def load(stage: Stage):
    state, _ = await stage.store.read(
        lambda conn: recovery.load_state(conn, stage.machine.hosts, LaunchTimes(), 1)
    )
    return state


async def test_what_queued_jobs_have_alike_is_one_object(stage: Stage):
    policy = {"shareDecaySeconds": 60}
    async with stage.engine():
        await stage.create(vcpus=0, policy=policy)
        await stage.submit(1, 2, share="a", needs=needs(license=1))
        await stage.until(2, JobStatus.RUNNABLE)
    state = await load(stage)
    first, second = (state.jobs[JobId(job_id(number))] for number in (1, 2))
    for name in ("demand", "queue_arn", "share_identifier", "needs", "exit_rules", "unmet"):
        assert getattr(first, name) is getattr(second, name), name


async def test_the_collector_works_again_after_loading(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    await load(stage)
    assert gc.isenabled()

    def fail(_conn) -> None:
        assert not gc.isenabled()
        raise RuntimeError("unreadable")

    monkeypatch.setattr(live_jobs, "read_live", fail)
    with pytest.raises(RuntimeError, match="unreadable"):
        await load(stage)
    assert gc.isenabled()
