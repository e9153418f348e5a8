"""A yard with a real clock and real containers: what nobody can command is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from batchyard.compute.local.images.busybox import make_busybox_image
from batchyard.compute.local.images.image_store import ImageStore
from batchyard.testing import NotInRealTime, Yard, yard
from tests.testing.shop import Shop

pytestmark = [
    pytest.mark.xdist_group("one_at_a_time"),
    pytest.mark.skipif(
        os.geteuid() != 0 or None in (shutil.which("crun"), shutil.which("busybox")),
        reason="containers need root, crun and busybox",
    ),
]

HOUR_MS = 3_600_000

COMMANDS: list[Callable[[Yard], object]] = [
    lambda made: made.advance(hours=1),
    lambda made: made.settle(),
    lambda made: made.jobs.behave(run=None),
    lambda made: made.set_exit("job", code=1, after=timedelta(0)),
    lambda made: made.fail_pulls("busybox"),
    lambda made: made.allow_pulls(),
    lambda made: made.set_spot_capacity(0),
]


def test_containers_really_run_and_none_is_left(tmp_path: Path):
    make_busybox_image(ImageStore(tmp_path))
    with yard(clock="real", data_dir=str(tmp_path)) as made:
        shop = Shop(made)
        told = shop.submit(containerOverrides={"command": ["echo", "hello"]})
        endless = shop.submit(containerOverrides={"command": ["sleep", "1000"]})
        (job,) = made.finish(told)
        made.advance_until(lambda: shop.job(endless)["status"] == "RUNNING")
        assert [text for _, text in shop.lines(told)] == ["hello"]
        assert abs(made.now.timestamp() * 1000 - shop.job(told)["stoppedAt"]) < HOUR_MS
        assert job["status"] == "SUCCEEDED"
    left = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
    assert not [line for line in left if any(str(tmp_path) in word for word in line)]


def test_jobs_fail_by_themselves_and_commands_are_refused():
    with yard(clock="real") as made:
        for command in COMMANDS:
            with pytest.raises(NotInRealTime, match="needs virtual time"):
                command(made)
        shop = Shop(made, image="127.0.0.1:1/nowhere")
        (job,) = made.finish(shop.submit())
        assert job["container"]["reason"].startswith("CannotPullContainerError")
        (instance,) = made.instances()
        made.kill_instance(instance["instanceId"])
        assert made.instances() == []
