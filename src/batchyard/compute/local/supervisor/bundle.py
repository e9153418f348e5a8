"""What a container is given before it runs: root, mounts, devices, namespaces, configuration.

Owns the step from a task's spec to a bundle on disk that a runtime can run, and what the containers
of one task have in common (`Surroundings`). Decides how a refusal on the way is told (AWS's error
names). Refuses to know processes, sockets and time. Runs in the supervisor's private mount
namespace, with `images/layers` as its working directory, so that overlay options stay short (the
kernel takes one page of them).

Rule: all containers of a task are made ready before the first of them runs. What one of them could
change later (they may share volumes, which lie in the root of the first that mounts them) is
pinned: the runtime is given what was looked at, not its name.
"""

from __future__ import annotations

import json
import os
import traceback

from batchyard.compute.local.supervisor import devices, ocispec, rootfs
from batchyard.compute.local.supervisor.cgroups import Groups, Limits
from batchyard.compute.local.supervisor.hostpaths import HostPaths, NotAllowed
from batchyard.compute.local.supervisor.refusals import LaunchRefused, clip, note
from batchyard.compute.local.supervisor.roots import Root, Roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import (
        ContainerShape,
        GpuShape,
        ImageShape,
        MountShape,
        SettingsShape,
    )

#: Directories and files every container needs as mount points, lowest of all layers: so that the
#: runtime need not make them in each container's own layer.
MOUNT_POINTS_LAYER = "mountpoints"
#: What names a task's machine in the container, as docker does.
_HOST_NAME_LENGTH = 12
#: Docker's, for a container with a network of its own.
_OWN_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""
_NO_GPUS = "void"
#: In the data folder: what the server keeps of training jobs (see `compute.training`).
TRAINING_FOLDER = "training"


class Image:
    """An image record, and what was learnt from its files on first use."""

    __slots__ = ("accounts", "config", "lower")

    def __init__(self, record: ImageShape) -> None:
        self.config = ocispec.ImageConfig(record["config"])
        self.lower = ":".join([*reversed(record["layers"]), MOUNT_POINTS_LAYER])
        self.accounts: rootfs.Accounts | None = None


class Surroundings:
    """What the containers of a task have in common."""

    __slots__ = (
        "address",
        "has_shared_processes",
        "hosts_path",
        "is_cpu_capped",
        "is_group",
        "is_reusable",
        "namespaces",
        "own_host_name",
        "roots",
        "shared_memory_path",
        "source_by_volume",
        "task_id",
    )

    def __init__(self, task_id: str, *, is_group: bool, is_cpu_capped: bool) -> None:
        self.task_id = task_id
        self.is_group = is_group
        self.is_cpu_capped = is_cpu_capped
        #: As `ocispec.Place` has them.
        self.namespaces: dict[str, str] = {"pid": "", "ipc": ""}
        #: A container's end does not end what it left running.
        self.has_shared_processes = False
        self.shared_memory_path = ""
        self.address: str | None = None
        self.own_host_name = ""
        #: A file that knows the task's companions, and is to know the task itself.
        self.hosts_path: str | None = None
        #: Where each volume of the task is.
        self.source_by_volume: dict[str, str] = {}
        #: Of several containers: kept until the task is over, for volumes lie in them.
        self.roots: list[Root] = []
        #: Nothing that ran in the roots can still be there: an untouched one may serve again.
        self.is_reusable = True

    @property
    def host_name(self) -> str:
        """Name the machine by the task, but never by digits alone: a resolver takes those for an
        address, and finds no such host. One task in 280 has such an id. Some tasks have a name."""
        if self.own_host_name:
            return self.own_host_name
        name = self.task_id[:_HOST_NAME_LENGTH]
        return f"h{name[1:]}" if name.isdigit() else name


class Bundle:
    """A container that is ready to be run."""

    __slots__ = ("identity", "limits", "path", "root", "runtime_name", "unit_id")

    def __init__(  # noqa: PLR0913  # a record: one value for each field, all by keyword
        self,
        *,
        unit_id: str,
        path: str,
        root: Root,
        identity: rootfs.Identity,
        limits: Limits,
        runtime_name: str,
    ) -> None:
        self.unit_id = unit_id
        self.path = path
        self.root = root
        self.identity = identity
        self.limits = limits
        self.runtime_name = runtime_name


class Bundler:
    """Makes bundles. What it takes for one goes back through `roots` and `host_paths`."""

    __slots__ = (
        "_images",
        "_images_path",
        "_own_paths",
        "_run",
        "_templates",
        "host_paths",
        "roots",
        "settings",
    )

    def __init__(self, *, groups: Groups, data_dir: str) -> None:
        self._run = f"{data_dir}/run"
        self._images_path = f"{data_dir}/images"
        self._own_paths = [f"{data_dir}/{TRAINING_FOLDER}"]
        self._images: dict[str, Image] = {}
        self.roots = Roots(data_dir=data_dir, run_path=self._run)
        self.host_paths = HostPaths(self._run)
        self._templates = ocispec.SpecTemplate(
            capability_mask=_capability_mask(),
            has_cgroup_mount=groups.is_unified,
            has_resolv_conf=os.path.exists("/etc/resolv.conf"),
        )
        self.settings: SettingsShape = {
            "runtime_name": "crun",
            "runtime_path": "/usr/bin/crun",
            "init_path": None,
            "host_paths": [],
            "device_paths": [],
            "is_privileged_allowed": False,
            "gpus": [],
            "gpu_control_paths": [],
            "gpu_hook_path": None,
            "network_range": "",
        }

    def make(
        self,
        unit_id: str,
        spec: ContainerShape,
        image_id: str,
        *,
        around: Surroundings,
        gpus: list[GpuShape],
    ) -> Bundle:
        """Make a container ready. Raises `LaunchRefused`; what was taken is to be given back by the
        caller: the root in `around.roots`, pins by unit and task, the directory of the unit."""
        try:
            self._check(spec)
            image = self._image(image_id)
            path = f"{self._run}/{unit_id}"
            os.mkdir(path, 0o700)
            root = self.roots.take(image_id, image.lower)
            around.roots.append(root)
            if image.accounts is None:
                image.accounts = rootfs.read_accounts(root.merged)
            place = self._place(unit_id, spec, image, root.merged, around)
            self._add_devices(spec, place, gpus)
            config = self._templates.compose(spec, image.config, place)
            with open(f"{path}/config.json", "wb") as file:
                file.write(config)
            return Bundle(
                unit_id=unit_id,
                path=path,
                root=root,
                identity=place.identity,
                limits=_limits_of(spec, place, is_cpu_capped=around.is_cpu_capped),
                runtime_name=self.settings["runtime_name"],
            )
        except rootfs.BadUser as error:
            reason = clip("CannotStartContainerError", str(error))
        except LaunchRefused as error:
            reason = str(error)
        except (OSError, ValueError, KeyError, ocispec.NoCommand, devices.NotGiven) as error:
            reason = clip("CannotCreateContainerError", str(error))
        except Exception as error:
            # The edge of a task: what one image or spec provokes must not end all the others.
            note(traceback.format_exc())
            reason = clip("CannotCreateContainerError", f"{type(error).__name__}: {error}")
        raise LaunchRefused(reason)

    def drop_image(self, image_id: str) -> list[str]:
        """Forget what was learnt of an image that is being removed; return what `rm` should
        delete."""
        self._images.pop(image_id, None)
        return self.roots.drop_image(image_id)

    def _check(self, spec: ContainerShape) -> None:
        if spec["has_init"] and not self.settings["init_path"]:
            text = "initProcessEnabled needs tini or catatonit on this host (apt-get install tini)"
            raise LaunchRefused(clip("CannotStartContainerError", text))
        if spec["is_privileged"] and not self.settings["is_privileged_allowed"]:
            text = "privileged containers are not allowed on this host"
            raise LaunchRefused(clip("CannotCreateContainerError", text))

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

    def _place(
        self, unit_id: str, spec: ContainerShape, image: Image, root: str, around: Surroundings
    ) -> ocispec.Place:
        accounts = image.accounts
        assert accounts is not None
        user = spec["user"] if spec["user"] is not None else image.config.user
        place = ocispec.Place(
            root=root,
            identity=rootfs.identify(accounts, user),
            hosts_file=self._write_hosts(unit_id, around),
            host_name=around.host_name,
        )
        place.namespaces = around.namespaces
        place.shared_memory_path = around.shared_memory_path
        for mount in sorted(spec["mounts"], key=lambda item: item["destination"].count("/")):
            if not mount["destination"].strip("/"):
                raise ValueError("invalid mount config: the destination can't be '/'")
            if mount["source"] is None:
                source = self._volume(mount, root, around)
            else:
                is_own = mount.get("is_own", False)
                source = self._host_source(unit_id, mount["source"], is_own=is_own)
            place.binds.append((source, mount["destination"], mount["is_read_only"]))
        if spec["has_init"] and self.settings["init_path"]:
            place.binds.append((self.settings["init_path"], ocispec.INIT_DESTINATION, True))
        if spec["is_root_read_only"]:
            for volume in image.config.volumes:
                place.writable.append((self._in_root(root, volume, around), volume))
        return place

    def _volume(self, mount: MountShape, root: str, around: Surroundings) -> str:
        """Give where a volume of the task is: in the layer of the first container that mounts it.

        There it begins with the image's files, is writable under a read-only root, and goes with
        the task.
        """
        name = mount["volume"]
        source = around.source_by_volume.get(name)
        if source is None or not name:
            source = self._in_root(root, mount["destination"], around)
            around.source_by_volume[name] = source
        return source

    def _in_root(self, root: str, path: str, around: Surroundings) -> str:
        source = rootfs.ensure_directory(root, path)
        if not around.is_group:
            return source  # Nothing runs in there before the runtime has mounted it.
        return self.host_paths.pin_in_root(around.task_id, source)

    def _host_source(self, unit_id: str, source: str, *, is_own: bool) -> str:
        """Give a place that shows a host path, if it is allowed, until the task is cleaned up."""
        allowed = self._own_paths if is_own else self.settings["host_paths"]
        try:
            return self.host_paths.pin(unit_id, source, allowed)
        except (NotAllowed, OSError) as error:
            raise LaunchRefused(clip("CannotCreateVolumeError", str(error))) from error

    def _write_hosts(self, unit_id: str, around: Surroundings) -> str:
        if around.hosts_path is not None and around.address is not None:
            with open(around.hosts_path, "a", encoding="utf-8") as file:
                file.write(f"{around.address} {around.host_name}\n")
            return self._host_source(unit_id, around.hosts_path, is_own=True)
        path = f"{self._run}/{unit_id}/hosts"
        text, address = _OWN_HOSTS, around.address
        if address is None:
            address = "127.0.1.1"
            try:
                with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                text = "127.0.0.1 localhost\n"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text.rstrip()}\n{address} {around.host_name}\n")
        os.chmod(path, 0o644)
        return path

    def _add_devices(
        self, spec: ContainerShape, place: ocispec.Place, gpus: list[GpuShape]
    ) -> None:
        for device in spec["devices"]:
            source = devices.check_allowed(device["source"], self.settings["device_paths"])
            place.nodes.append(
                devices.node_of(source, device["destination"], device["permissions"])
            )
        if gpus:
            paths = [path for gpu in gpus for path in gpu["paths"]]
            for path in [*paths, *self.settings["gpu_control_paths"]]:
                place.nodes.append(devices.node_of(path, path, "rw"))
            place.hook = self.settings["gpu_hook_path"] or ""
        if self.settings["gpus"]:
            visible = ",".join(gpu["id"] for gpu in gpus) or _NO_GPUS
            place.extra_environment["NVIDIA_VISIBLE_DEVICES"] = visible
        if spec["is_privileged"]:
            known = {node.path for node in place.nodes}
            place.nodes += [node for node in devices.every_node() if node.path not in known]


def _limits_of(spec: ContainerShape, place: ocispec.Place, *, is_cpu_capped: bool) -> Limits:
    amount = spec["limits"]
    rules = None
    if spec["is_privileged"]:
        rules = devices.ANY_RULES
    elif place.nodes:
        rules = devices.rules_for(place.nodes)
    return Limits(
        cpu_milli=amount["cpu_milli"],
        memory_mib=amount["memory_mib"],
        is_cpu_capped=is_cpu_capped,
        swap_mib=spec["swap_mib"] or 0,
        swappiness=spec["swappiness"],
        device_rules=rules,
    )


def _capability_mask() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    return 0
