"""What surrounds training jobs on disk: made before they run, put away at their end, then gone."""

from __future__ import annotations

import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchyard.compute.port import ContainerSpec, TaskSpec, TrainingChannel, TrainingSetting
from batchyard.compute.training import folders as training_folders
from batchyard.compute.training.folders import NotThere, TrainingFolders
from batchyard.model.amounts import Amount
from batchyard.model.ids import TaskId

FIRST, SECOND = TaskId("a" * 32), TaskId("b" * 32)


def a_task(task_id: TaskId = FIRST, *, count: int = 1, **setting) -> TaskSpec:
    container = ContainerSpec(image="i", limits=Amount(), log=None)
    return TaskSpec(
        task_id=task_id,
        containers=(container,),
        training=TrainingSetting(
            attempt_id=FIRST,
            instance_count=count,
            job_name="job",
            config={"hyperparameters.json": "{}"},
            **setting,
        ),
    )


@pytest.fixture
def folders(tmp_path: Path) -> TrainingFolders:
    return TrainingFolders(tmp_path)


def left(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "training"))


def results(tmp_path: Path) -> dict[str, list[str]]:
    """Name what is in each packed result."""
    found = {}
    for path in sorted((tmp_path / "training-results").glob("job/output/*")):
        with tarfile.open(path) as archive:
            found[path.name] = sorted(archive.getnames())
    return found


def test_a_task_gets_its_mounts_and_nothing_tells_that_it_trains(
    folders: TrainingFolders, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    channels = (
        TrainingChannel(name="all", path=str(tmp_path / "data"), source="s3://b/all"),
        TrainingChannel(name="one", path=str(tmp_path / "data" / "file"), source="s3://b/one"),
    )
    task = folders.prepare(a_task(channels=channels, checkpoint_path="/checkpoints"))
    assert (task.training, task.hosts_path) == (None, None)
    shown = {
        each.destination: (each.is_own, each.is_read_only) for each in task.containers[0].mounts
    }
    assert shown == {
        "/opt/ml/input": (True, False),
        "/opt/ml/output": (True, False),
        "/opt/ml/model": (True, False),
        "/opt/ml/input/data/all": (False, True),
        "/opt/ml/input/data/one/file": (False, True),
        "/opt/ml/checkpoints": (False, False),
    }


def test_missing_data_are_told_and_leave_nothing(folders: TrainingFolders, tmp_path: Path) -> None:
    channel = TrainingChannel(name="c", path="/no/where", source="s3://b/c")
    with pytest.raises(NotThere, match=r"channel c: there is nothing at s3://b/c$"):
        folders.prepare(a_task(channels=(channel,)))
    folders.note_failure(FIRST)
    folders.forget(FIRST)
    assert left(tmp_path) == []


def test_links_and_pipes_are_neither_read_nor_followed(
    folders: TrainingFolders, tmp_path: Path
) -> None:
    folders.prepare(a_task())
    own = tmp_path / "training" / FIRST
    model = own / "shared" / "model"
    (model / "link").symlink_to("/etc")
    (model / "plain").write_text("x")
    os.mkfifo(model / "pipe")
    os.mkfifo(own / "output" / "failure")
    assert folders.read_failure(FIRST) is None
    folders.publish(FIRST)
    assert results(tmp_path) == {"model.tar.gz": ["link", "plain"]}


def test_results_go_nowhere_through_a_link(folders: TrainingFolders, tmp_path: Path) -> None:
    base = tmp_path / "s3"
    base.mkdir()
    (base / "trap").symlink_to(tmp_path)
    folders.prepare(a_task(results_path=str(base / "trap")))
    (tmp_path / "training" / FIRST / "shared" / "model" / "m").touch()
    with pytest.raises(OSError, match="symbolic"):
        folders.publish(FIRST)
    assert not (tmp_path / "job").exists()


def test_a_shared_model_is_packed_once_all_have_ended(
    folders: TrainingFolders, tmp_path: Path
) -> None:
    tasks = [folders.prepare(a_task(each, count=2)) for each in (FIRST, SECOND)]
    assert tasks[0].hosts_path == tasks[1].hosts_path is not None
    (tmp_path / "training" / FIRST / "shared" / "model" / "m").touch()
    (tmp_path / "training" / SECOND / "output" / "data" / "o").touch()
    folders.publish(FIRST)
    assert results(tmp_path) == {}
    folders.forget(FIRST)
    assert left(tmp_path) == [FIRST, SECOND], "the other one still needs what they share"
    folders.publish(SECOND)
    folders.publish(SECOND)
    assert results(tmp_path) == {"model.tar.gz": ["m"], f"output-{SECOND}.tar.gz": ["o"]}
    folders.forget(SECOND)
    assert left(tmp_path) == []


def test_instances_that_end_at_once_both_pack_the_model(
    folders: TrainingFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have begun before either is done."""
    for each in (FIRST, SECOND):
        folders.prepare(a_task(each, count=2))
    for each in (FIRST, SECOND):
        folders.publish(each)
    assert results(tmp_path) == {}, "there is nothing yet"
    (tmp_path / "training" / FIRST / "shared" / "model" / "m").touch()
    both_pack, entries_of = threading.Barrier(2, timeout=60), training_folders._entries_of

    def once_both_pack(archive: tarfile.TarFile, folder: Path) -> Any:
        both_pack.wait()
        return entries_of(archive, folder)

    monkeypatch.setattr(training_folders, "_entries_of", once_both_pack)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(folders.publish, (FIRST, SECOND)))
    assert results(tmp_path) == {"model.tar.gz": ["m"]}


def test_what_instances_share_goes_with_the_last_one_if_others_never_began(
    folders: TrainingFolders, tmp_path: Path
) -> None:
    folders.prepare(a_task(count=2))
    folders.note_failure(FIRST)
    folders.forget(FIRST)
    folders.forget(FIRST)
    assert left(tmp_path) == []


def test_a_start_drops_what_nobody_knows(folders: TrainingFolders, tmp_path: Path) -> None:
    folders.prepare(a_task(SECOND, count=2))
    (tmp_path / "training" / ("c" * 32)).mkdir()
    folders.keep_only(frozenset({SECOND}))
    assert left(tmp_path) == [FIRST, SECOND], "the attempt's folder stays with its instance"
    folders.keep_only(frozenset())
    assert left(tmp_path) == []


def test_own_results_are_kept_for_a_while(folders: TrainingFolders, tmp_path: Path) -> None:
    assert folders.sweep_results(0) == 0
    (tmp_path / "training-results" / "job").mkdir(parents=True)
    at_ms = int((tmp_path / "training-results" / "job").stat().st_mtime * 1000)
    assert folders.sweep_results(at_ms - 1000) == 0
    assert folders.sweep_results(at_ms + 1000) == 1
