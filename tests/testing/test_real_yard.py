"""A yard with a real clock and real containers: what nobody can command is refused."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from batchyard.testing import NotInRealTime, Yard, yard
from tests.testing.shop import Shop

pytestmark = [
    pytest.mark.xdist_group("one_at_a_time"),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("crun") is None, reason="containers need root and crun"
    ),
]

COMMANDS: list[Callable[[Yard], object]] = [
    lambda made: made.advance(hours=1),
    lambda made: made.settle(),
    lambda made: made.finish("job"),
    lambda made: made.jobs.behave(run=None),
    lambda made: made.set_exit("job", code=1, after=timedelta(0)),
    lambda made: made.fail_pulls("busybox"),
    lambda made: made.allow_pulls(),
    lambda made: made.set_spot_capacity(0),
]


def test_jobs_fail_by_themselves_and_commands_are_refused():
    with yard(clock="real") as made:
        for command in COMMANDS:
            with pytest.raises(NotInRealTime, match="needs virtual time"):
                command(made)
        shop = Shop(made, image="127.0.0.1:1/nowhere", is_waiting=True)
        job_id = shop.submit()
        while shop.job(job_id)["status"] != "FAILED":
            threading.Event().wait(0.05)
        reason = shop.job(job_id)["container"]["reason"]
        assert reason.startswith("CannotPullContainerError")
        (instance,) = made.instances()
        made.kill_instance(instance["instanceId"])
        assert made.instances() == []
