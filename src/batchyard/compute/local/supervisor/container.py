"""One container from its bundle to its ashes: overlay, control group, runtime process, clean-up.

Owns everything on the machine that exists because a container does. Decides how a failure on the
way is told (AWS's error names, reference/jobs.md section 1.6). Refuses to know queues, sockets and
time: the supervisor says when. Runs in the supervisor's private mount namespace, with
`images/layers` as its working directory, so that overlay options stay short (the kernel takes one
page of them).
"""

from __future__ import annotations

import json
import os
import signal
import traceback

from batchyard.compute.local.supervisor import ocispec, rootfs
from batchyard.compute.local.supervisor.cgroups import Groups, Limits
from batchyard.compute.local.supervisor.hostpaths import HostPaths, NotAllowed
from batchyard.compute.local.supervisor.records import delete_tree
from batchyard.compute.local.supervisor.roots import Root, Roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import ContainerShape, ImageShape, SettingsShape, SpecShape

#: Directories and files every container needs as mount points, lowest of all layers: so that the
#: runtime need not make them in each container's own layer.
MOUNT_POINTS_LAYER = "mountpoints"
_REASON_LENGTH_MAX = 255
_RUNTIME_ENVIRONMENT = {"PATH": ocispec.DEFAULT_PATH}
#: How crun and runc complain when the kernel refuses to execute the file: as the first line of the
#: container's stderr, after they have told the pid.
EXEC_FAILED_PREFIXES = (b'{"msg":"exec container process', b"exec /")


class LaunchRefused(Exception):
    """The container cannot be started; the text is the reason in AWS's form."""


class Image:
    """An image record, and what was learnt from its files on first use."""

    __slots__ = ("accounts", "config", "lower")

    def __init__(self, record: ImageShape) -> None:
        self.config = ocispec.ImageConfig(record["config"])
        self.lower = ":".join([*reversed(record["layers"]), MOUNT_POINTS_LAYER])
        self.accounts: rootfs.Accounts | None = None


class Container:
    """A container whose runtime process was spawned."""

    __slots__ = ("pid", "root", "runtime_name", "stderr", "stdout", "task_id")

    def __init__(  # noqa: PLR0913  # a record: one value for each field, all by keyword
        self, *, task_id: str, pid: int, stdout: int, stderr: int, root: Root, runtime: str
    ) -> None:
        self.task_id = task_id
        #: The runtime's process, our child.
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.root = root
        self.runtime_name = runtime


def note(text: str) -> None:
    """Write a line for the operator into `supervisor.log`, if the disk takes it."""
    try:
        os.write(2, text.encode("utf-8", "replace") + b"\n")
    except OSError:
        return


def clip(name: str, text: str) -> str:
    """Spell a reason `<name>: <text>` within AWS's length."""
    reason = f"{name}: {' '.join(text.split())}"
    return reason if len(reason) <= _REASON_LENGTH_MAX else reason[: _REASON_LENGTH_MAX - 3] + "..."


def host_name_of(task_id: str) -> str:
    """Name the machine that a task's containers see, as docker does."""
    return task_id[:12]


class Launcher:
    """Starts containers and cleans up after them."""

    __slots__ = (
        "_groups",
        "_host_paths",
        "_images",
        "_images_path",
        "_null",
        "_roots",
        "_run",
        "_templates",
        "leftovers",
        "settings",
    )

    def __init__(self, *, groups: Groups, data_dir: str) -> None:
        run_path = f"{data_dir}/run"
        self._groups = groups
        self._run = run_path
        self._roots = Roots(data_dir=data_dir, run_path=run_path)
        self._host_paths = HostPaths(run_path)
        self._images_path = f"{data_dir}/images"
        #: Trees too large to delete here; whoever has a process to spare deletes them.
        self.leftovers: list[str] = []
        self._images: dict[str, Image] = {}
        self._null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.settings: SettingsShape = {
            "runtime_name": "crun",
            "runtime_path": "/usr/bin/crun",
            "init_path": None,
            "host_paths": [],
        }
        self._templates = ocispec.SpecTemplate(
            capability_mask=_capability_mask(),
            has_cgroup_mount=groups.is_unified,
            has_resolv_conf=os.path.exists("/etc/resolv.conf"),
        )
        for name in ("pids", "state"):
            os.makedirs(f"{run_path}/{name}", exist_ok=True)

    @property
    def pids_path(self) -> str:
        """Where runtimes write the pid of a container's process, in a file named by the task."""
        return f"{self._run}/pids"

    def launch(self, spec: SpecShape, image_id: str) -> Container:
        """Start the task's container. Raises `LaunchRefused`, with everything cleaned up."""
        task_id = spec["task_id"]
        root: Root | None = None
        try:
            if len(spec["containers"]) != 1:
                raise LaunchRefused(
                    clip("CannotCreateContainerError", "tasks of several containers are not run")
                )
            container = spec["containers"][0]
            self._check(container)
            image = self._image(image_id)
            os.mkdir(f"{self._run}/{task_id}", 0o700)
            root = self._roots.take(image_id, image.lower)
            if image.accounts is None:
                image.accounts = rootfs.read_accounts(root.merged)
            place = self._place(task_id, container, image, root.merged)
            config = self._templates.compose(container, image.config, place)
            with open(f"{self._run}/{task_id}/config.json", "wb") as file:
                file.write(config)
            return self._spawn(spec, place, root)
        except rootfs.BadUser as error:
            reason = clip("CannotStartContainerError", str(error))
        except LaunchRefused as error:
            reason = str(error)
        except (OSError, ValueError, KeyError, ocispec.NoCommand) as error:
            reason = clip("CannotCreateContainerError", str(error))
        except Exception as error:
            # The edge of a task: what one image or spec provokes must not end all the others.
            note(traceback.format_exc())
            reason = clip("CannotCreateContainerError", f"{type(error).__name__}: {error}")
        self._clean(task_id, root, self.settings["runtime_name"])
        raise LaunchRefused(reason)

    def _check(self, spec: ContainerShape) -> None:
        if spec["has_init"] and not self.settings["init_path"]:
            text = "initProcessEnabled needs tini or catatonit on this host (apt-get install tini)"
            raise LaunchRefused(clip("CannotStartContainerError", text))

    def _image(self, image_id: str) -> Image:
        image = self._images.get(image_id)
        if image is None:
            try:
                with open(f"{self._images_path}/records/{image_id}.json", "rb") as file:
                    image = Image(json.loads(file.read()))
            except FileNotFoundError:
                text = f"No such image: {image_id}"
                raise LaunchRefused(clip("CannotCreateContainerError", text)) from None
            self._images[image_id] = image
        return image

    def drop_image(self, image_id: str) -> None:
        """Forget what was learnt of an image that is being removed."""
        self._images.pop(image_id, None)
        self.leftovers += self._roots.drop_image(image_id)

    def _place(self, task_id: str, spec: ContainerShape, image: Image, root: str) -> ocispec.Place:
        accounts = image.accounts
        assert accounts is not None
        user = spec["user"] if spec["user"] is not None else image.config.user
        place = ocispec.Place(
            root=root,
            identity=rootfs.identify(accounts, user),
            hosts_file=self._write_hosts(task_id),
            host_name=host_name_of(task_id),
        )
        for mount in sorted(spec["mounts"], key=lambda item: item["destination"].count("/")):
            destination = mount["destination"]
            if mount["source"] is None:
                # An anonymous volume is the container's own layer, mounted once more: it starts
                # with the image's files, is writable under a read-only root, and goes with the
                # task.
                source = rootfs.ensure_directory(root, destination)
            else:
                source = self._host_source(task_id, mount["source"])
            place.binds.append((source, destination, mount["is_read_only"]))
        if spec["has_init"] and self.settings["init_path"]:
            place.binds.append((self.settings["init_path"], ocispec.INIT_DESTINATION, True))
        if spec["is_root_read_only"]:
            for volume in image.config.volumes:
                place.writable.append((rootfs.ensure_directory(root, volume), volume))
        return place

    def _host_source(self, task_id: str, source: str) -> str:
        """Give a place that shows a host path, if it is allowed, until the task is cleaned up."""
        try:
            return self._host_paths.pin(task_id, source, self.settings["host_paths"])
        except (NotAllowed, OSError) as error:
            raise LaunchRefused(clip("CannotCreateVolumeError", str(error))) from error

    def _write_hosts(self, task_id: str) -> str:
        path = f"{self._run}/{task_id}/hosts"
        try:
            with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            text = "127.0.0.1 localhost\n"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text.rstrip()}\n127.0.1.1 {host_name_of(task_id)}\n")
        os.chmod(path, 0o644)
        return path

    def _spawn(self, spec: SpecShape, place: ocispec.Place, root: Root) -> Container:
        task_id = spec["task_id"]
        amount = spec["containers"][0]["limits"]
        limits = Limits(
            cpu_milli=amount["cpu_milli"],
            memory_mib=amount["memory_mib"],
            is_cpu_capped=spec["is_cpu_capped"],
        )
        bundle = f"{self._run}/{task_id}"
        arguments = [
            self.settings["runtime_path"],
            f"--root={self._run}/state",
            f"--log={bundle}/log",
            "--log-format=json",
        ]
        tail = ["run", f"--bundle={bundle}", f"--pid-file={self._run}/pids/{task_id}", task_id]
        if self.settings["runtime_name"] == "crun":
            entry_files = self._groups.create(task_id, limits)
            enter = "".join(f"echo 0 >{path} && " for path in entry_files)
            shell = ["/bin/sh", "-c", enter + 'exec "$@"', "sh"]
            arguments = [*shell, *arguments, "--cgroup-manager=disabled", *tail]
        else:
            self._set_runtime_limits(bundle, task_id, limits)
            arguments = [*arguments, tail[0], "--keep", *tail[1:]]
        return self._spawn_process(task_id, arguments, place.identity, root)

    def _set_runtime_limits(self, bundle: str, task_id: str, limits: Limits) -> None:
        from batchyard.compute.local.supervisor.cgroups import runtime_resources

        with open(f"{bundle}/config.json", "rb") as file:
            config = json.loads(file.read())
        config["linux"]["cgroupsPath"] = self._groups.path_for_runtime(task_id)
        config["linux"]["resources"] = runtime_resources(limits)
        with open(f"{bundle}/config.json", "wb") as file:
            file.write(json.dumps(config).encode())

    def _spawn_process(
        self, task_id: str, arguments: list[str], identity: rootfs.Identity, root: Root
    ) -> Container:
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
            task_id=task_id,
            pid=pid,
            stdout=out_read,
            stderr=error_read,
            root=root,
            runtime=self.settings["runtime_name"],
        )

    def take_process_id(self, task_id: str) -> int | None:
        """Read and remove the pid that the runtime left when it made the container's process."""
        path = f"{self._run}/pids/{task_id}"
        try:
            with open(path, "rb") as file:
                text = file.read()
            os.unlink(path)
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else None

    def send_signal(self, task_id: str, process_id: int, number: int) -> None:
        """Signal the container's first process, if it is still the one we know."""
        try:
            with open(f"/proc/{process_id}/cgroup", encoding="ascii") as file:
                if task_id not in file.read():
                    return
            os.kill(process_id, number)
        except (FileNotFoundError, ProcessLookupError):
            return

    def read_error(self, task_id: str) -> str:
        """Give the last error in the runtime's log; empty if it logged none."""
        try:
            with open(f"{self._run}/{task_id}/log", "rb") as file:
                lines = file.read().splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            text = message_of(line)
            if text:
                return text
        return ""

    def has_oom_kill(self, task_id: str) -> bool:
        return self._groups.has_oom_kill(task_id)

    def kill_all(self, task_id: str) -> None:
        """Kill every process of the container."""
        self._groups.kill(task_id)

    def clean(self, container: Container, *, is_reusable: bool) -> bool:
        """Undo everything that `launch` made. False: something in the control group still lives."""
        return self._clean(
            container.task_id, container.root, container.runtime_name, is_reusable=is_reusable
        )

    def _clean(
        self, task_id: str, root: Root | None, runtime_name: str, *, is_reusable: bool = False
    ) -> bool:
        is_gone = self._groups.remove(task_id, everywhere=runtime_name != "crun")
        self._host_paths.release(task_id)
        if root is not None:
            self.leftovers += self._roots.give_back(root, is_reusable=is_reusable and is_gone)
        delete_tree(f"{self._run}/{task_id}")
        if runtime_name != "crun":
            delete_tree(f"{self._run}/state/{task_id}")
        return is_gone

    def remove_group(self, container: Container) -> bool:
        """Try again to remove a control group that was busy."""
        self._groups.kill(container.task_id)
        return self._groups.remove(container.task_id, everywhere=container.runtime_name != "crun")


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


def _capability_mask() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    return 0
