"""Control groups: one per task, on the v1 and the v2 layout, and what they tell of memory.

Owns the names of the groups, the content of their files, and the answer to "was anything in there
killed for memory". Refuses to know containers: a group is a name and limits.

Rules: the groups are ours, not the runtime's. A runtime that manages groups deletes them, with
their counters, before we could read whether an OOM kill happened. So crun runs with its manager
disabled from inside the group (`entry_files`), and runc is told to keep what it made (`--keep`).
What is not available (a controller, swap accounting) is left out, not an error: `detect` says it
once.
"""

import os
import select
import signal

#: Processes of one container: a quarter of what the machine can have, so that a fork bomb ends
#: while the machine goes on; and no more than this, which honest programs do not notice.
PIDS_MAX = 32768
_PID_MAX_FILE = "/proc/sys/kernel/pid_max"
#: Where the supervisor itself lives, beside the groups of its tasks.
OWN_GROUP = "supervisor"
_MEBIBYTE = 1024 * 1024
_CPU_PERIOD_US = 100_000
_V1_CONTROLLERS = ("memory", "cpu", "pids")


class Layout:
    """Where control groups are mounted.

    `v1_by_controller` maps controller to mount point, and is empty on pure v2; `v2` is the mount
    point of the unified hierarchy, None where v1 has the memory controller.
    """

    __slots__ = ("v1_by_controller", "v2")

    def __init__(self, *, v1_by_controller: dict[str, str], v2: str | None) -> None:
        self.v1_by_controller = v1_by_controller
        self.v2 = v2

    @property
    def mount_points(self) -> list[str]:
        """Every hierarchy in which a group of ours may have a directory, the memory one first."""
        if self.v2 is not None:
            return [self.v2]
        first = [self.v1_by_controller[c] for c in _V1_CONTROLLERS if c in self.v1_by_controller]
        return list(dict.fromkeys([*first, *self.v1_by_controller.values()]))

    @property
    def entered_mount_points(self) -> list[str]:
        """The hierarchies whose limits we set ourselves."""
        if self.v2 is not None:
            return [self.v2]
        by_controller = self.v1_by_controller
        return list(dict.fromkeys(by_controller[c] for c in _V1_CONTROLLERS if c in by_controller))


class Limits:
    """What a container may use. `memory_mib` is hard; `cpu_milli` is a weight, or a ceiling too.

    `device_rules` None leaves devices to what nodes the container has; else they are all it may use
    (kind, major, minor, access; None for any).
    """

    __slots__ = (
        "cpu_milli",
        "device_rules",
        "is_cpu_capped",
        "memory_mib",
        "swap_mib",
        "swappiness",
    )

    def __init__(  # noqa: PLR0913  # one value for each limit, all by keyword
        self,
        *,
        cpu_milli: int,
        memory_mib: int,
        is_cpu_capped: bool,
        swap_mib: int = 0,
        swappiness: int | None = None,
        device_rules: list[tuple[str, int | None, int | None, str]] | None = None,
    ) -> None:
        self.cpu_milli = cpu_milli
        self.memory_mib = memory_mib
        self.is_cpu_capped = is_cpu_capped
        self.swap_mib = swap_mib
        self.swappiness = swappiness
        self.device_rules = device_rules

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * _MEBIBYTE

    @property
    def swap_bytes(self) -> int:
        return self.swap_mib * _MEBIBYTE

    @property
    def cpu_shares(self) -> int:
        """docker's `--cpu-shares` for it; 2 is the kernel's smallest."""
        return max(2, self.cpu_milli * 1024 // 1000)

    @property
    def cpu_quota_us(self) -> int:
        """Microseconds in each period of 100 ms; 1 ms is the kernel's smallest."""
        return max(1000, self.cpu_milli * _CPU_PERIOD_US // 1000)


def pids_max() -> int:
    """Tell how many processes one container may have."""
    text = _read(_PID_MAX_FILE)
    return min(PIDS_MAX, int(text) // 4) if text.strip().isdigit() else PIDS_MAX


def layout_of(mountinfo: str) -> Layout:
    """Find the hierarchies in the text of `/proc/self/mountinfo`."""
    v1_by_controller: dict[str, str] = {}
    v2 = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        kind, _, options = right.partition(" ")
        if kind == "cgroup":
            for option in options.split()[-1].split(","):
                if option.startswith("name=") or option in _V1_NAMES:
                    v1_by_controller.setdefault(option, point)
        elif kind == "cgroup2":
            v2 = v2 or point
    if "memory" in v1_by_controller:
        return Layout(v1_by_controller=v1_by_controller, v2=None)
    return Layout(v1_by_controller={}, v2=v2)


_V1_NAMES = frozenset(
    [
        "memory",
        "cpu",
        "cpuacct",
        "cpuset",
        "pids",
        "devices",
        "freezer",
        "blkio",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
    ]
)


def v1_files(limits: Limits, controller: str) -> list[tuple[str, str]]:
    """Give file names and contents for one v1 controller, in the order they must be written."""
    if controller == "memory":
        both = limits.memory_bytes + limits.swap_bytes
        files = [
            ("memory.limit_in_bytes", str(limits.memory_bytes)),
            ("memory.memsw.limit_in_bytes", str(both)),
        ]
        if limits.swappiness is not None:
            files.append(("memory.swappiness", str(limits.swappiness)))
        return files
    if controller == "devices":
        rules = [_device_line(rule) for rule in limits.device_rules or ()]
        return [("devices.deny", "a"), *(("devices.allow", line) for line in rules)]
    if controller == "cpu":
        files = [("cpu.shares", str(limits.cpu_shares))]
        if limits.is_cpu_capped:
            files.append(("cpu.cfs_period_us", str(_CPU_PERIOD_US)))
            files.append(("cpu.cfs_quota_us", str(limits.cpu_quota_us)))
        return files
    return [("pids.max", str(pids_max()))]


def _device_line(rule: tuple[str, int | None, int | None, str]) -> str:
    kind, major, minor, access = rule
    numbers = ("*" if number is None else str(number) for number in (major, minor))
    return f"{kind} {':'.join(numbers)} {access}"


def v2_files(limits: Limits) -> list[tuple[str, str]]:
    """Give file names and contents for the unified hierarchy, which knows no swappiness."""
    weight = 1 + (min(limits.cpu_shares, 262144) - 2) * 9999 // 262142
    files = [
        ("memory.max", str(limits.memory_bytes)),
        ("memory.swap.max", str(limits.swap_bytes)),
        ("cpu.weight", str(weight)),
        ("pids.max", str(pids_max())),
    ]
    if limits.is_cpu_capped:
        files.append(("cpu.max", f"{limits.cpu_quota_us} {_CPU_PERIOD_US}"))
    return files


def runtime_resources(limits: Limits) -> dict[str, object]:
    """Give the same limits as `linux.resources` of an OCI spec, for a runtime that sets them
    itself."""
    cpu: dict[str, int] = {"shares": limits.cpu_shares}
    if limits.is_cpu_capped:
        cpu |= {"quota": limits.cpu_quota_us, "period": _CPU_PERIOD_US}
    memory = {"limit": limits.memory_bytes, "swap": limits.memory_bytes + limits.swap_bytes}
    if limits.swappiness is not None:
        memory["swappiness"] = limits.swappiness
    resources: dict[str, object] = {"memory": memory, "cpu": cpu, "pids": {"limit": pids_max()}}
    if limits.device_rules is not None:
        rules: list[dict[str, object]] = [{"allow": False, "access": "rwm"}]
        for kind, major, minor, access in limits.device_rules:
            rule: dict[str, object] = {"allow": True, "type": kind, "access": access}
            rule |= {} if major is None else {"major": major}
            rules.append(rule | ({} if minor is None else {"minor": minor}))
        resources["devices"] = rules
    return resources


def count_oom_kills(text: str) -> int:
    """Read the counter out of `memory.events` (v2) or `memory.oom_control` (v1, Linux 4.13)."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


class Groups:
    """The groups of one data directory: `<mount point>/<base>/<task id>`."""

    __slots__ = ("_enter", "_layout", "base")

    def __init__(self, layout: Layout, base: str) -> None:
        self._layout = layout
        self.base = base
        self._enter = layout.entered_mount_points

    def path_for_runtime(self, name: str) -> str:
        """The `linux.cgroupsPath` of an OCI spec."""
        return f"/{self.base}/{name}"

    @property
    def is_unified(self) -> bool:
        return self._layout.v2 is not None

    def prepare(self) -> None:
        """Make the parent of all groups and hand the controllers down to its children (v2)."""
        for point in self._layout.mount_points:
            os.makedirs(f"{point}/{self.base}", exist_ok=True)
        if self._layout.v2 is not None:
            for directory in (self._layout.v2, f"{self._layout.v2}/{self.base}"):
                for controller in ("memory", "cpu", "pids"):
                    _try_write(f"{directory}/cgroup.subtree_control", f"+{controller}")

    def create(self, name: str, limits: Limits) -> list[str]:
        """Make the group with its limits; return the files into which a process writes 0 to enter
        it.

        Raises `OSError`; swap accounting may be missing, every other limit may not.
        """
        entry_files = []
        points = self._enter
        devices = self._layout.v1_by_controller.get("devices")
        if limits.device_rules is not None and devices is not None:
            points = [*points, devices]
        for point in points:
            directory = f"{point}/{self.base}/{name}"
            os.mkdir(directory)
            entry_files.append(directory + "/cgroup.procs")
            for file_name, content in self._files(point, limits):
                try:
                    _write(f"{directory}/{file_name}", content)
                except FileNotFoundError:
                    if "sw" not in file_name:
                        raise
        return entry_files

    def _files(self, point: str, limits: Limits) -> list[tuple[str, str]]:
        if self._layout.v2 is not None:
            return v2_files(limits)
        by_controller = self._layout.v1_by_controller
        files = []
        for controller in (*_V1_CONTROLLERS, "devices"):
            is_here = by_controller.get(controller) == point
            if is_here and (controller != "devices" or limits.device_rules is not None):
                files += v1_files(limits, controller)
        return files

    def has_oom_kill(self, name: str) -> bool:
        """Tell whether the kernel killed anything in the group for memory since it was made."""
        points = self._layout.v1_by_controller
        if self._layout.v2 is not None:
            path = f"{self._layout.v2}/{self.base}/{name}/memory.events"
        elif "memory" in points:
            path = f"{points['memory']}/{self.base}/{name}/memory.oom_control"
        else:
            return False
        try:
            return count_oom_kills(_read(path)) > 0
        except OSError:
            return False

    def list_pids(self, name: str) -> list[int]:
        """List the processes in the group and below it."""
        pids: set[int] = set()
        for point in self._enter:
            for directory, _, _ in os.walk(f"{point}/{self.base}/{name}"):
                try:
                    pids.update(int(word) for word in _read(directory + "/cgroup.procs").split())
                except OSError:
                    continue
        return sorted(pids)

    def kill(self, name: str) -> None:
        """Send SIGKILL to everything in the group; newly forked children are caught by
        repeating."""
        for _ in range(8):
            pids = self.list_pids(name)
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def remove(self, name: str, *, everywhere: bool) -> bool:
        """Delete the group; `everywhere` also in hierarchies only a runtime uses. False: still
        busy."""
        is_gone = True
        for point in self._layout.mount_points if everywhere else self._enter:
            directory = f"{point}/{self.base}/{name}"
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                continue
            except OSError:
                is_gone = _remove_tree(directory) and is_gone
        return is_gone

    def enter_own(self) -> None:
        """Move this process into a group without limits, out of reach of whoever started it.

        So that `systemctl restart` of the server, which kills the server's group, leaves us alone.
        """
        points = self._enter[:1]
        if "name=systemd" in self._layout.v1_by_controller:
            points = [*points, self._layout.v1_by_controller["name=systemd"]]
        for point in points:
            os.makedirs(f"{point}/{self.base}/{OWN_GROUP}", exist_ok=True)
            _try_write(f"{point}/{self.base}/{OWN_GROUP}/cgroup.procs", "0")

    def destroy(self, *, timeout_s: float) -> None:
        """Kill everything in all groups of this base but ourselves, and delete them."""
        me = os.getpid()
        for _ in range(8):
            victims = [pid for pid in self.list_pids("") if pid != me]
            if not victims:
                break
            for pid in victims:
                _kill_and_wait(pid, timeout_s)
        for point in self._layout.mount_points:
            # A group cannot be deleted by a process in it.
            if me in self._pids_at(point):
                _try_write(f"{point}/cgroup.procs", "0")
            _remove_tree(f"{point}/{self.base}")

    def _pids_at(self, point: str) -> list[int]:
        try:
            return [int(w) for w in _read(f"{point}/{self.base}/{OWN_GROUP}/cgroup.procs").split()]
        except OSError:
            return []


def _kill_and_wait(pid: int, timeout_s: float) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        os.kill(pid, signal.SIGKILL)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.poll(timeout_s * 1000)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)


def _remove_tree(directory: str) -> bool:
    is_gone = True
    for parent, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(parent)
        except FileNotFoundError:
            continue
        except OSError:
            is_gone = False
    return is_gone


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 65536).decode()
    finally:
        os.close(fd)


def _write(path: str, content: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, content.encode())
    finally:
        os.close(fd)


def _try_write(path: str, content: str) -> None:
    try:
        _write(path, content)
    except OSError:
        return
