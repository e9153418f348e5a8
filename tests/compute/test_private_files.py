"""The data folder may be open to everybody; what is made in it is for its owner."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.compute.local.images.image_store import ImageStore
from tests.compute.made_images import MadeImage, busybox_entries, make_layer
from tests.ports.rigs import LocalRig, change

pytestmark = [pytest.mark.ours_only]


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def reachable_by_others(folder: Path) -> list[str]:
    """List what others may read, write or enter, below a folder that they may enter."""
    found = []
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            found.append(entry.name)
    return found


@pytest.mark.slow
@pytest.mark.asyncio
async def test_nothing_in_an_open_data_folder_is_for_others(
    rig: LocalRig, usual_umask: None
) -> None:
    rig.data_dir.chmod(0o755)
    (rig.data_dir / "images").chmod(0o700)  # a copy of the rig's
    backend, listener = await rig.open()
    spec = change(rig.shell("umask; echo a"), environment=(("PASSWORD", "secret"),))
    await backend.start([spec])
    await listener.ended(spec.task_id)
    assert rig.sink.texts(spec.task_id) == ["0022", "a"]
    assert set(reachable_by_others(rig.data_dir)) <= {"host-id"}  # no secret, and no lock


@pytest.mark.slow
@pytest.mark.asyncio
async def test_containers_keep_their_umask_whatever_the_servers_is(
    rig: LocalRig, usual_umask: None
) -> None:
    os.umask(0o077)
    backend, listener = await rig.open()
    spec = rig.shell("umask")
    await backend.start([spec])
    await listener.ended(spec.task_id)
    assert rig.sink.texts(spec.task_id) == ["0022"]


def test_an_imported_image_is_not_for_others(tmp_path: Path, usual_umask: None) -> None:
    made = MadeImage([make_layer(busybox_entries())])
    archive = tmp_path / "image.tar"
    made.write_docker_archive(archive, name="one:1")
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    ImageStore(folder).import_archive(archive, name="one:1")
    assert reachable_by_others(folder) == []
