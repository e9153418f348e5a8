"""Images made to harm: what is in one must not reach other tasks, or the machine."""

import contextlib
import io
from collections.abc import Iterator
from typing import IO

import pytest

from batchyard.compute.local.images.archives import FoundImage, FoundLayer
from batchyard.compute.local.images.image_store import ImageStore
from batchyard.compute.local.shapes import ConfigShape
from batchyard.compute.port import TaskEnded
from tests.compute.made_images import busybox_entries, make_layer
from tests.ports.rigs import Behaviour, LocalRig, change

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]


def add_image(rig: LocalRig, name: str, config: ConfigShape, **files: bytes | str) -> None:
    """Store a busybox image with more files; `__` in a name stands for a slash."""
    entries = {path.replace("__", "/"): content for path, content in files.items()}
    layer = make_layer({**busybox_entries(), **entries})

    @contextlib.contextmanager
    def open_layer() -> Iterator[IO[bytes]]:
        yield io.BytesIO(layer)

    image = FoundImage(config=config, layers=[FoundLayer(open=open_layer, diff_id=None)])
    ImageStore(rig.data_dir).add(image, names=[f"docker.io/library/{name}:latest"])


@pytest.mark.parametrize("number", [str(2**31), str(2**32), "9" * 30, "9" * 5000])
async def test_user_with_an_impossible_number_harms_nobody_else(rig: LocalRig, number: str) -> None:
    backend, listener = await rig.open()
    passwd = f"bob:x:{number}:0:bob:/:/bin/sh\neve:x:7:{number}:eve:/:/bin/sh\n"
    group = f"many:x:{number}:root\n"
    add_image(rig, "bob", {"User": "bob"}, etc__passwd=passwd.encode(), etc__group=group.encode())
    other = rig.task(Behaviour(lines=("ready",), is_waiting=True))
    await backend.start([other])
    await listener.started(other.task_id)
    for user in (None, "eve", f"root:{number}", "root:many", number):
        spec = change(rig.shell("echo ran"), image="bob", user=user)
        await backend.start([spec])
        ended = await listener.ended(spec.task_id)
        assert (ended.exit_code, ended.is_lost) == (None, False)
        assert ended.reason is not None
        assert ended.reason.startswith("CannotStartContainerError: unable to find ")
    assert not any(isinstance(report, TaskEnded) for report in listener.of(other.task_id))
