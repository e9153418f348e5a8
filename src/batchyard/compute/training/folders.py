"""The folders of training jobs: `/opt/ml`, and what is left there (docs/service-jobs.md).

Owns what lies in the data folder for each task with a `TrainingSetting`, from before it runs until
it is forgotten, and the way of its results out of there. Refuses to know backends and jobs. All of
it blocks: call it in a thread.

Rules:
- Whatever a job has written may be gone, a link or a pipe at any moment: nothing is followed, and
  only plain files are read.
- What is done twice, after a crash, leads to the same.
"""

import contextlib
import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import msgspec

from batchyard.compute.local.supervisor.hostpaths import open_without_links
from batchyard.compute.port import Mount, TaskSpec, TrainingChannel, TrainingSetting
from batchyard.model.ids import TaskId
from batchyard.model.limits import REASON_LENGTH_MAX

_ROOT = "/opt/ml"
_LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_ANYONE = 0o777
_ENTERED = 0o755
_READABLE = 0o644
#: What is noted of the instances of an attempt; the last is one name among those that are gone.
_ENDED, _GONE, _FAILED = "ended", "gone", "failed"


class NotThere(Exception):
    """Data that a job reads are not there. The text is fit for the reason of its end."""


class TrainingFolders:
    """All folders of one server."""

    def __init__(self, data_path: Path) -> None:
        self._tasks = data_path / "training"
        #: For results of jobs whose S3OutputPath no folder stands for.
        self._results = data_path / "training-results"

    def has(self, task_id: TaskId) -> bool:
        return self._setting_path(task_id).is_file()

    def prepare(self, task: TaskSpec) -> TaskSpec:
        """Make what a task needs; give the task as a backend that knows nothing of it runs it.

        Raises `NotThere`, and `OSError`.
        """
        setting = task.training
        assert setting is not None, task.task_id
        own, shared = self._tasks / task.task_id, self._shared(setting.attempt_id)
        below = ("input/config", "input/data", "output/data")
        for folder in (*(own / each for each in below), shared / "model"):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (own / "output", own / "output" / "data", shared / "model"):
            folder.chmod(_ANYONE)
        self._setting_path(task.task_id).write_bytes(msgspec.json.encode(setting))
        for name, text in setting.config.items():
            (own / "input" / "config" / name).write_text(text)
            (own / "input" / "config" / name).chmod(_READABLE)
        mounts = [
            Mount(source=str(own / "input"), destination=f"{_ROOT}/input", is_own=True),
            Mount(source=str(own / "output"), destination=f"{_ROOT}/output", is_own=True),
            Mount(source=str(shared / "model"), destination=f"{_ROOT}/model", is_own=True),
        ]
        data = own / "input" / "data"
        mounts += [_mount_of(each, data / each.name) for each in setting.channels]
        # Images may have users of their own, and the server's umask is none of their business.
        for folder in (own / "input", own / "input" / "config", data, *data.iterdir()):
            folder.chmod(_ENTERED)
        if setting.checkpoint_path is not None:
            destination = setting.checkpoint_destination
            mounts.append(Mount(source=setting.checkpoint_path, destination=destination))
        [container] = task.containers
        return replace(
            task,
            training=None,
            hosts_path=_hosts_in(shared) if setting.instance_count > 1 else None,
            containers=(replace(container, mounts=(*container.mounts, *mounts)),),
        )

    def read_failure(self, task_id: TaskId) -> str | None:
        """Read what the program left to say why it failed; None: nothing."""
        try:
            with _open_plain(self._tasks / task_id / "output" / "failure") as file:
                text = file.read(REASON_LENGTH_MAX).decode(errors="replace").strip()
        except OSError:
            return None
        return text or None

    def publish(self, task_id: TaskId) -> None:
        """Put the results of a task where they stay. Raises `OSError`.

        What the instances of an attempt have written together goes with the last of them.
        """
        setting = self._setting_of(task_id)
        if setting is None:
            return
        base = setting.results_path or str(self._results)
        is_first = setting.attempt_id == task_id
        output = "output.tar.gz" if is_first else f"output-{task_id}.tar.gz"
        sources = {output: self._tasks / task_id / "output" / "data"}
        if len(self._note(setting, _ENDED, task_id)) >= setting.instance_count:
            sources["model.tar.gz"] = self._shared(setting.attempt_id) / "model"
        for name, folder in sources.items():
            if _has_any(folder):
                # Two instances that end at once both see that all have, and both pack.
                part = f".{name}-{task_id}.part"
                _pack(folder, f"{base}/{setting.job_name}/output", name, part)

    def note_failure(self, task_id: TaskId) -> None:
        """An instance has failed: no other one of its attempt begins any more."""
        setting = self._setting_of(task_id)
        if setting is not None:
            self._note(setting, _GONE, _FAILED)

    def forget(self, task_id: TaskId) -> None:
        """Drop what is kept of a task; what its instances share goes with the last of them."""
        setting = self._setting_of(task_id)
        if setting is None:
            return
        gone = self._note(setting, _GONE, task_id)
        self._setting_path(task_id).unlink(missing_ok=True)
        own, of_attempt = self._tasks / task_id, self._tasks / setting.attempt_id
        for name in ("input", "output"):
            shutil.rmtree(own / name, ignore_errors=True)
        if own != of_attempt:
            shutil.rmtree(own, ignore_errors=True)
        is_last = len(gone - {_FAILED}) >= setting.instance_count
        if is_last or (_FAILED in gone and not self._has_any_of(setting.attempt_id)):
            shutil.rmtree(of_attempt, ignore_errors=True)

    def _note(self, setting: TrainingSetting, what: str, name: str) -> set[str]:
        """Note what has happened to instances of an attempt; give all of that kind."""
        noted = self._shared(setting.attempt_id) / what
        noted.mkdir(parents=True, exist_ok=True)
        (noted / name).touch()
        return set(os.listdir(noted))

    def _has_any_of(self, attempt_id: TaskId) -> bool:
        """Tell whether any instance of an attempt is there still."""
        settings = (self._setting_of(TaskId(name)) for name in os.listdir(self._tasks))
        return any(each is not None and each.attempt_id == attempt_id for each in settings)

    def keep_only(self, task_ids: Collection[TaskId]) -> None:
        """Drop what a crash has left of tasks that no backend knows any more."""
        settings = {task_id: self._setting_of(task_id) for task_id in task_ids}
        kept = {*task_ids, *(each.attempt_id for each in settings.values() if each is not None)}
        if not self._tasks.is_dir():
            return
        for name in os.listdir(self._tasks):
            if name not in kept:
                shutil.rmtree(self._tasks / name, ignore_errors=True)

    def sweep_results(self, before_ms: int) -> int:
        """Delete the server's own results that are older; tell of how many training jobs."""
        if not self._results.is_dir():
            return 0
        old = [each for each in self._results.iterdir() if each.lstat().st_mtime * 1000 < before_ms]
        for each in old:
            shutil.rmtree(each, ignore_errors=True)
        return len(old)

    def _shared(self, attempt_id: TaskId) -> Path:
        return self._tasks / attempt_id / "shared"

    def _setting_path(self, task_id: TaskId) -> Path:
        return self._tasks / task_id / "setting.json"

    def _setting_of(self, task_id: TaskId) -> TrainingSetting | None:
        try:
            stored = self._setting_path(task_id).read_bytes()
        except OSError:
            return None
        return msgspec.json.decode(stored, type=TrainingSetting)


def _mount_of(channel: TrainingChannel, place: Path) -> Mount:
    """Show a folder as the channel, or a file in it. `place` is where the task sees it."""
    path = channel.path
    destination = f"{_ROOT}/input/data/{channel.name}"
    if os.path.isfile(path):
        destination = f"{destination}/{os.path.basename(path)}"
    elif not os.path.isdir(path):
        raise NotThere(
            f"ClientError: Data download failed: channel {channel.name}: there is nothing at"
            f" {channel.source}"
        )
    place.mkdir(parents=True, exist_ok=True)
    return Mount(source=path, destination=destination, is_read_only=channel.is_read_only)


def _hosts_in(shared: Path) -> str:
    """Begin the file in which the instances of an attempt find each other."""
    path = shared / "hosts"
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(_LOCALHOST)
    path.chmod(_READABLE)
    return str(path)


def _open_plain(path: Path) -> IO[bytes]:
    """Open a plain file to read. Raises `OSError` for everything else."""
    return os.fdopen(_fd_of_plain(str(path)), "rb")


def _fd_of_plain(path: str, dir_fd: int | None = None) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a plain file", path)
    return fd


def _has_any(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except FileNotFoundError:
        return False


def _pack(folder: Path, target: str, name: str, part: str) -> None:
    """Pack a folder into a file of another one, which is made if it is missing.

    `part` is the file's name until all is in it: nobody else may use it.
    """
    target_fd = open_without_links(target)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(part, flags, _READABLE, dir_fd=target_fd)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for info, content in _entries_of(archive, folder):
                archive.addfile(info, content)
        os.replace(part, name, src_dir_fd=target_fd, dst_dir_fd=target_fd)
    finally:
        os.close(target_fd)


def _entries_of(
    archive: tarfile.TarFile, folder: Path
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield what is in a folder; links as links, and nothing that is neither link nor plain."""
    root_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for path, folders, files, dir_fd in os.fwalk(".", dir_fd=root_fd):
            for name in sorted([*folders, *files]):
                arcname = os.path.normpath(os.path.join(path, name))
                mode = os.lstat(name, dir_fd=dir_fd).st_mode
                info = tarfile.TarInfo(arcname)
                info.mode = stat.S_IMODE(mode)
                if stat.S_ISDIR(mode):
                    info.type = tarfile.DIRTYPE
                    yield info, None
                elif stat.S_ISLNK(mode):
                    info.type = tarfile.SYMTYPE
                    info.linkname = os.readlink(name, dir_fd=dir_fd)
                    yield info, None
                elif stat.S_ISREG(mode):
                    with os.fdopen(_fd_of_plain(name, dir_fd), "rb") as content:
                        info.size = os.fstat(content.fileno()).st_size
                        yield info, content
    finally:
        os.close(root_fd)
