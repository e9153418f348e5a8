"""What this machine can do: which runtime works, and what is missing.

Decides which runtime is used, by running a container with each in order of preference; that answer
is kept until the next boot or another version. Owns the checks of `batchyard doctor`. Refuses to
change anything.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from batchyard.compute.local.supervisor import cgroups
from batchyard.compute.local.supervisor.network import ROUTES_FILE, Range, link_name_of
from batchyard.compute.port import Trouble
from batchyard.model.amounts import Amount

#: Kept from jobs for the kernel and ourselves, when the operator did not say what jobs may have.
MEMORY_RESERVE_MIB: Final = 32
#: Where tasks with a network of their own have their addresses, if the operator does not say.
DEFAULT_NETWORK_RANGE: Final = "10.213.0.0/16"
RUNTIMES: Final = ("crun", "runc")
_INITS: Final = (
    "/usr/bin/tini-static",
    "/usr/libexec/docker/docker-init",
    "/usr/bin/docker-init",
    "/usr/bin/catatonit",
    "/usr/libexec/podman/catatonit",
)
_READ_ONLY_REMEDY: Final = (
    "batchyard itself is in a container; start that one with --privileged, or run batchyard on the"
    " host"
)
_FREE_BYTES_MIN: Final = 2 * 1024**3
_PROBE_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRuntime:
    """A runtime that was seen to work."""

    name: str
    path: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `batchyard doctor`; `remedy` is empty where all is well."""

    name: str
    is_ok: bool
    detail: str
    remedy: str = ""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def machine_capacity(*, gpu_count: int = 0) -> Amount:
    """Tell what jobs may have of this machine, unless the operator says otherwise."""
    return Amount(
        cpu_milli=(psutil.cpu_count() or 1) * 1000,
        memory_mib=(psutil.virtual_memory().total >> 20) - MEMORY_RESERVE_MIB,
        gpu_count=gpu_count,
    )


def capability_mask() -> int:
    """The capabilities this process could hand on."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def find_init() -> str | None:
    """Find a static init that can be mounted into any container."""
    return next((path for path in _INITS if os.access(path, os.X_OK)), None)


def read_layout() -> cgroups.Layout:
    """Find this machine's control group hierarchies."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return cgroups.layout_of(text)


def read_only_groups(layout: cgroups.Layout) -> list[str]:
    """List the hierarchies that are there but cannot be written, as in an ordinary container."""
    return [
        point
        for point in layout.entered_mount_points
        if os.path.isdir(point) and os.statvfs(point).f_flag & os.ST_RDONLY
    ]


def find_runtime(data_dir: Path, wish: str = "auto") -> FoundRuntime:
    """Find the runtime to use: the wished one, or the first that works. Raises `Trouble`.

    Starts a trivial container once for each boot and version; about 50 ms.
    """
    closed = read_only_groups(read_layout())
    if closed:
        raise Trouble(f"the control groups at {closed[0]} are read-only: {_READ_ONLY_REMEDY}")
    names = RUNTIMES if wish == "auto" else (wish,)
    problems = []
    for name in names:
        path = shutil.which(name)
        if path is None:
            problems.append(f"{name} is not installed")
            continue
        status = os.stat(path)
        mark = f"{_boot_id()} {path} {status.st_mtime_ns} {status.st_size}"
        kept = _read_kept(data_dir, name)
        if kept is not None and kept.get("mark") == mark:
            return FoundRuntime(name=name, path=path, version=kept["version"])
        problem = probe(name, path)
        if problem:
            problems.append(f"{name} does not work here: {problem}")
            continue
        version = _version(path)
        _keep(data_dir, name, {"mark": mark, "version": version})
        return FoundRuntime(name=name, path=path, version=version)
    raise Trouble(
        f"no container runtime works: {'; '.join(problems)}. Install one (apt-get install"
        " crun, or dnf install crun), then see `batchyard doctor`"
    )


def probe(name: str, path: str) -> str:
    """Run a container that exits with status 7 at once; return what is wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="batchyard-probe-") as directory:
        process = subprocess.run(
            [*_probe_command(), name, path, directory],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    if process.returncode == 0:
        return ""
    lines = (process.stderr or process.stdout).strip().splitlines()
    return lines[-1] if lines else f"it exited with status {process.returncode}"


def _probe_command() -> list[str]:
    import sys

    # -P: what lies in the operator's current folder, /tmp for one, must not be imported as root.
    return [sys.executable, "-P", "-m", "batchyard.compute.local.supervisor.probe"]


def _version(path: str) -> str:
    process = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return process.stdout.split("\n", 1)[0].rpartition(" ")[2]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _read_kept(data_dir: Path, name: str) -> dict[str, str] | None:
    try:
        kept: dict[str, str] = json.loads((data_dir / f"runtime-{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return kept


def _keep(data_dir: Path, name: str, content: dict[str, str]) -> None:
    """Keep it among a server's things; whoever looks before the first start makes no folder."""
    if not data_dir.exists():
        return
    try:
        # A draft of our own, readable by us alone: two servers may open at once.
        number, draft = tempfile.mkstemp(prefix=f"runtime-{name}.json.", dir=data_dir)
        with os.fdopen(number, "w") as file:
            json.dump(content, file)
        os.rename(draft, data_dir / f"runtime-{name}.json")
    except OSError as error:
        raise Trouble(f"the data directory cannot be written: {error}") from error


def run_checks(data_dir: Path, *, network_range: str = DEFAULT_NETWORK_RANGE) -> list[Check]:
    """Look at everything the direct backend needs."""
    checks: list[Callable[[Path], Check]] = [
        _check_root,
        _check_cgroups,
        _check_overlay,
        _check_runtime,
        _check_skopeo,
        _check_busybox,
        _check_init,
        lambda path: _check_network(path, network_range),
        _check_disk,
    ]
    return [check(data_dir) for check in checks]


def _check_root(_: Path) -> Check:
    is_ok = os.geteuid() == 0
    remedy = "" if is_ok else "start batchyard as root, or set runtime to docker or podman"
    return Check(name="root", is_ok=is_ok, detail=f"user id {os.geteuid()}", remedy=remedy)


def _check_cgroups(_: Path) -> Check:
    layout = read_layout()
    if layout.v2 is not None:
        controllers = Path(layout.v2, "cgroup.controllers").read_text().split()
        version = "v2"
    else:
        controllers = sorted(layout.v1_by_controller)
        version = "v1" if controllers else "none"
    missing = [name for name in ("memory", "cpu", "pids") if name not in controllers]
    remedy = (
        f"the kernel or the surrounding container hides: {', '.join(missing)}" if missing else ""
    )
    detail = f"{version}: {' '.join(controllers)}"
    if read_only_groups(layout):
        detail, remedy = f"{detail}, read-only", _READ_ONLY_REMEDY
    return Check(name="cgroups", is_ok=not remedy, detail=detail, remedy=remedy)


def _check_overlay(_: Path) -> Check:
    is_ok = any(
        line.endswith("overlay") for line in Path("/proc/filesystems").read_text().split("\n")
    )
    detail = "the kernel knows overlay" if is_ok else "the kernel does not know overlay"
    return Check(
        name="overlay", is_ok=is_ok, detail=detail, remedy="" if is_ok else "modprobe overlay"
    )


def _check_runtime(data_dir: Path) -> Check:
    try:
        found = find_runtime(data_dir)
    except (Trouble, OSError) as error:
        # Where one is installed, installing it again mends nothing: the text says what is wrong.
        is_there = any(shutil.which(name) for name in RUNTIMES)
        remedy = "see FOUND" if is_there else "apt-get install crun"
        return Check(name="runtime", is_ok=False, detail=str(error), remedy=remedy)
    return Check(name="runtime", is_ok=True, detail=f"{found.path} {found.version}")


def _check_skopeo(_: Path) -> Check:
    return _check_command("skopeo", "pulling images needs it", "apt-get install skopeo")


def _check_busybox(_: Path) -> Check:
    return _check_command("busybox", "the demo image needs it", "apt-get install busybox-static")


def _check_init(_: Path) -> Check:
    path = find_init()
    detail = path or "initProcessEnabled needs one"
    remedy = "" if path else "apt-get install tini"
    return Check(name="init", is_ok=path is not None, detail=detail, remedy=remedy)


def _check_network(data_dir: Path, network_range: str) -> Check:
    """Nodes of one job reach each other in a network of theirs; other jobs do without."""
    try:
        block = Range(network_range).free_block(
            Path(ROUTES_FILE).read_text(), own_link=link_name_of(os.path.realpath(data_dir))
        )
    except (OSError, ValueError) as error:
        remedy = "set another range for jobs of several nodes"
        return Check(name="network", is_ok=False, detail=str(error), remedy=remedy)
    return Check(name="network", is_ok=True, detail=str(block))


def _check_command(name: str, need: str, remedy: str) -> Check:
    path = shutil.which(name)
    return Check(
        name=name, is_ok=path is not None, detail=path or need, remedy="" if path else remedy
    )


def _check_disk(data_dir: Path) -> Check:
    directory = data_dir
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    is_ok = free >= _FREE_BYTES_MIN
    remedy = "" if is_ok else f"free some space below {directory}"
    return Check(name="disk", is_ok=is_ok, detail=f"{free // 1024**2} MiB free", remedy=remedy)
