"""Host paths: what is mounted is what was allowed, whatever jobs do to the names meanwhile."""

import os
from pathlib import Path

import pytest

from batchyard.compute.local.supervisor.hostpaths import open_without_links
from batchyard.compute.port import Mount
from tests.ports.rigs import LocalRig, change

pytestmark = [pytest.mark.ours_only]


def open_and_read(path: Path) -> str:
    fd = open_without_links(str(path))
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_missing_directories_are_made_and_files_are_opened(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    assert open_and_read(base / "a" / "b") == str(base / "a" / "b")
    assert (base / "a" / "b").is_dir()
    (base / "file").touch()
    assert open_and_read(base / "file") == str(base / "file")
    assert open_and_read(Path("/")) == "/"


def test_no_component_may_have_become_a_link(tmp_path: Path) -> None:
    """A job exchanged it after the path was resolved."""
    base = tmp_path.resolve()
    (base / "real" / "below").mkdir(parents=True)
    (base / "link").symlink_to("/etc")
    (base / "near").symlink_to("real")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("link", "link/ssl", "near", "near/below", "near/new"):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            open_without_links(str(base / path))
    (base / "file").touch()
    with pytest.raises(NotADirectoryError):
        open_without_links(str(base / "file" / "x"))
    assert not (base / "real" / "new").exists()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
@pytest.mark.asyncio
async def test_clean_up_leaves_what_was_mounted(rig: LocalRig) -> None:
    folder = rig.host_paths[0]
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "kept").write_text("kept\n")
    (folder / "file").write_text("a file\n")
    backend, listener = await rig.open()
    for user in (None, "ghost"):
        spec = change(
            rig.shell("cat /m/kept /f; echo more >/m/more; ls /m"),
            user=user,
            mounts=(
                Mount(source=str(folder / "in"), destination="/m"),
                Mount(source=str(folder / "file"), destination="/f", is_read_only=True),
            ),
        )
        await backend.start([spec])
        ended = await listener.ended(spec.task_id)
        assert ended.exit_code == (0 if user is None else None)
        if user is None:
            assert rig.sink.texts(spec.task_id) == ["kept", "a file", "kept", "more"]
    assert sorted(path.name for path in (folder / "in").iterdir()) == ["kept", "more"]
    assert (folder / "file").read_text() == "a file\n"
    table = mount_table_of_supervisor(rig.data_dir)
    assert f"{rig.data_dir}/run" in table
    assert "/binds/" not in table


def mount_table_of_supervisor(data_dir: Path) -> str:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(data_dir).encode() in (entry / "cmdline").read_bytes():
                return (entry / "mountinfo").read_text()
        except OSError:
            continue  # It has ended.
    return ""
