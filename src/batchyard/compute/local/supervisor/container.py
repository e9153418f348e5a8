"""One container from its spawn to its ashes: control group, runtime process, clean-up.

Owns everything on the machine that exists because a container runs; what it was given before is
`bundle`'s. Decides how a failure to start is told. Refuses to know queues, sockets and time: the
supervisor says when.
"""

from __future__ import annotations

import json
import os
import signal

from batchyard.compute.local.supervisor import ocispec
from batchyard.compute.local.supervisor.bundle import Bundle, Bundler, Surroundings
from batchyard.compute.local.supervisor.cgroups import Groups, runtime_resources
from batchyard.compute.local.supervisor.records import delete_tree
from batchyard.compute.local.supervisor.refusals import LaunchRefused, clip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import ContainerShape, GpuShape, SettingsShape

_RUNTIME_ENVIRONMENT = {"PATH": ocispec.DEFAULT_PATH}
#: How crun and runc complain when the kernel refuses to execute the file: as the first line of the
#: container's stderr, after they have told the pid.
EXEC_FAILED_PREFIXES = (b'{"msg":"exec container process', b"exec /")


class Container:
    """A container whose runtime process was spawned."""

    __slots__ = ("has_own_devices", "pid", "runtime_name", "stderr", "stdout", "unit_id")

    def __init__(  # noqa: PLR0913  # a record: one value for each field, all by keyword
        self,
        *,
        unit_id: str,
        pid: int,
        stdout: int,
        stderr: int,
        runtime: str,
        has_own_devices: bool = False,
    ) -> None:
        self.unit_id = unit_id
        #: The runtime's process, our child.
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.runtime_name = runtime
        #: It has a control group for devices, too.
        self.has_own_devices = has_own_devices


class Launcher:
    """Starts containers and cleans up after them."""

    __slots__ = ("_bundler", "_groups", "_null", "_run", "leftovers")

    def __init__(self, *, groups: Groups, data_dir: str) -> None:
        self._groups = groups
        self._run = f"{data_dir}/run"
        self._bundler = Bundler(groups=groups, data_dir=data_dir)
        #: Trees too large to delete here; whoever has a process to spare deletes them.
        self.leftovers: list[str] = []
        self._null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for name in ("pids", "state"):
            os.makedirs(f"{self._run}/{name}", exist_ok=True)

    @property
    def pids_path(self) -> str:
        """Where runtimes write the pid of a container's process, in a file named by the unit."""
        return f"{self._run}/pids"

    @property
    def settings(self) -> SettingsShape:
        return self._bundler.settings

    @settings.setter
    def settings(self, settings: SettingsShape) -> None:
        self._bundler.settings = settings

    def drop_image(self, image_id: str) -> None:
        """Forget what was learnt of an image that is being removed."""
        self.leftovers += self._bundler.drop_image(image_id)

    def make_ready(
        self,
        unit_id: str,
        spec: ContainerShape,
        image_id: str,
        *,
        around: Surroundings,
        gpus: list[GpuShape],
    ) -> Bundle:
        """Make a container ready to be run. Raises `LaunchRefused`; `clean` and `release` follow in
        both cases."""
        return self._bundler.make(unit_id, spec, image_id, around=around, gpus=gpus)

    def launch(self, bundle: Bundle) -> Container:
        """Run what was made ready. Raises `LaunchRefused`; `clean` follows in both cases."""
        unit_id = bundle.unit_id
        arguments = [
            self.settings["runtime_path"],
            f"--root={self._run}/state",
            f"--log={bundle.path}/log",
            "--log-format=json",
        ]
        tail = ["run", f"--bundle={bundle.path}", f"--pid-file={self._run}/pids/{unit_id}", unit_id]
        try:
            if bundle.runtime_name == "crun":
                entry_files = self._groups.create(unit_id, bundle.limits)
                enter = "".join(f"echo 0 >{path} && " for path in entry_files)
                shell = ["/bin/sh", "-c", enter + 'exec "$@"', "sh"]
                arguments = [*shell, *arguments, "--cgroup-manager=disabled", *tail]
            else:
                self._set_runtime_limits(bundle)
                arguments = [*arguments, tail[0], "--keep", *tail[1:]]
            return self._spawn_process(bundle, arguments)
        except (OSError, ValueError) as error:
            raise LaunchRefused(clip("CannotCreateContainerError", str(error))) from error

    def _set_runtime_limits(self, bundle: Bundle) -> None:
        with open(f"{bundle.path}/config.json", "rb") as file:
            config = json.loads(file.read())
        config["linux"]["cgroupsPath"] = self._groups.path_for_runtime(bundle.unit_id)
        config["linux"]["resources"] = runtime_resources(bundle.limits)
        with open(f"{bundle.path}/config.json", "wb") as file:
            file.write(json.dumps(config).encode())

    def _spawn_process(self, bundle: Bundle, arguments: list[str]) -> Container:
        identity = bundle.identity
        pipes: list[int] = []
        try:
            for _ in range(2):
                pipes += os.pipe2(os.O_CLOEXEC)
            out_read, out_write, error_read, error_write = pipes
            for fd in (out_write, error_write):
                # So that a process of another user may open /dev/stdout again.
                os.fchown(fd, identity.uid, identity.gid)
            pid = os.posix_spawn(
                arguments[0],
                arguments,
                _RUNTIME_ENVIRONMENT,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, self._null, 0),
                    (os.POSIX_SPAWN_DUP2, out_write, 1),
                    (os.POSIX_SPAWN_DUP2, error_write, 2),
                ],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                setsigmask=[],
            )
        except Exception:
            for fd in pipes:
                os.close(fd)
            raise
        for fd in (out_write, error_write):
            os.close(fd)
        for fd in (out_read, error_read):
            os.set_blocking(fd, False)
        return Container(
            unit_id=bundle.unit_id,
            pid=pid,
            stdout=out_read,
            stderr=error_read,
            runtime=bundle.runtime_name,
            has_own_devices=bundle.limits.device_rules is not None,
        )

    def take_process_id(self, unit_id: str) -> int | None:
        """Read and remove the pid that the runtime left when it made the container's process."""
        path = f"{self._run}/pids/{unit_id}"
        try:
            with open(path, "rb") as file:
                text = file.read()
            os.unlink(path)
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else None

    def send_signal(self, unit_id: str, process_id: int, number: int) -> bool:
        """Signal the container's first process, if it is still the one we know; tell whether."""
        try:
            with open(f"/proc/{process_id}/cgroup", encoding="ascii") as file:
                if not _is_in_group(file.read(), unit_id):
                    return False
            os.kill(process_id, number)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def read_error(self, unit_id: str) -> str:
        """Give the last error in the runtime's log; empty if it logged none."""
        try:
            with open(f"{self._run}/{unit_id}/log", "rb") as file:
                lines = file.read().splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            text = message_of(line)
            if text:
                return text
        return ""

    def has_oom_kill(self, unit_id: str) -> bool:
        return self._groups.has_oom_kill(unit_id)

    def kill_all(self, unit_id: str) -> None:
        """Kill every process of the container."""
        self._groups.kill(unit_id)

    def clean(self, unit_id: str, container: Container | None) -> bool:
        """Undo what was made for one container alone. False: something in its control group still
        lives."""
        runtime = container.runtime_name if container else self.settings["runtime_name"]
        is_gone = self._remove_group(unit_id, container)
        self._bundler.host_paths.release(unit_id)
        delete_tree(f"{self._run}/{unit_id}")
        if runtime != "crun":
            delete_tree(f"{self._run}/state/{unit_id}")
        return is_gone

    def release(self, around: Surroundings) -> None:
        """Undo what was made for all containers of a task; each was cleaned before."""
        self._bundler.host_paths.release(around.task_id)
        for root in around.roots:
            self.leftovers += self._bundler.roots.give_back(root, is_reusable=around.is_reusable)
        around.roots.clear()

    def remove_group(self, container: Container) -> bool:
        """Try again to remove a control group that was busy."""
        self._groups.kill(container.unit_id)
        return self._remove_group(container.unit_id, container)

    def _remove_group(self, unit_id: str, container: Container | None) -> bool:
        is_everywhere = container is None or container.runtime_name != "crun"
        if container is not None and container.has_own_devices:
            is_everywhere = True
        return self._groups.remove(unit_id, everywhere=is_everywhere)


def _is_in_group(text: str, unit_id: str) -> bool:
    """Tell from `/proc/<pid>/cgroup` whether a process is in the group of a unit, or below it."""
    return f"/{unit_id}\n" in text or f"/{unit_id}/" in text


def message_of(line: bytes) -> str:
    """Give the message of one line of a runtime's JSON log, if it is an error."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or entry.get("level") not in ("error", "fatal"):
        return ""
    return str(entry.get("msg", ""))


def exec_failure_of(first_error_bytes: bytes) -> str:
    """Give the text of a runtime's complaint that the kernel would not execute the file, if it is
    one."""
    line = first_error_bytes.split(b"\n", 1)[0]
    if line.startswith(EXEC_FAILED_PREFIXES[0]):
        return message_of(line)
    if line.startswith(EXEC_FAILED_PREFIXES[1]) and line.endswith(b"exec format error"):
        return line.decode("utf-8", "replace")
    return ""
