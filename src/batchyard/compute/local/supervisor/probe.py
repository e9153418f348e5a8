"""Tries a runtime for real: a process that sets up one trivial container the way the supervisor
does.

Run as `python -m batchyard.compute.local.supervisor.probe <crun|runc> <path> <empty directory>`;
status 0 if a container with a memory limit on an overlay root ran and its exit status arrived.
The last line of stderr says what is wrong otherwise. Everything it makes is gone when it exits.
"""

import json
import os
import shutil
import sys

from batchyard.compute.local.shapes import ContainerShape, SpecShape
from batchyard.compute.local.supervisor.bundle import MOUNT_POINTS_LAYER, Surroundings
from batchyard.compute.local.supervisor.cgroups import Groups, layout_of
from batchyard.compute.local.supervisor.container import Launcher
from batchyard.compute.local.supervisor.loop import prepare_mount_points
from batchyard.compute.local.supervisor.namespace import enter_private_namespace
from batchyard.compute.local.supervisor.refusals import LaunchRefused

_STATUS = 7


def main(name: str, path: str, directory: str) -> str:
    """Return what is wrong, or nothing."""
    shell = shutil.which("busybox")
    for part in ("run", "trash", "images/records", "images/layers/own/bin"):
        os.makedirs(f"{directory}/{part}")
    prepare_mount_points(f"{directory}/images/layers/{MOUNT_POINTS_LAYER}")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        groups = Groups(layout_of(file.read()), f"batchyard-probe-{os.getpid()}")
    groups.prepare()
    try:
        enter_private_namespace(directory)
        os.chdir(f"{directory}/images/layers")
        return _run(name, path, directory, groups, shell)
    finally:
        groups.destroy(timeout_s=5)


def _run(name: str, path: str, directory: str, groups: Groups, shell: str | None) -> str:
    arguments = ["/bin/busybox", "sh", "-c", f"exit {_STATUS}"]
    wanted = _STATUS
    if shell is not None:
        shutil.copy(shell, f"{directory}/images/layers/own/bin/busybox")
    record = {"id": "probe", "layers": ["own"], "config": {}, "size_bytes": 0, "created_at_ms": 0}
    with open(f"{directory}/images/records/probe.json", "w", encoding="utf-8") as file:
        json.dump(record, file)
    launcher = Launcher(groups=groups, data_dir=directory)
    launcher.settings |= {"runtime_name": name, "runtime_path": path}
    around = Surroundings("probe", is_group=False, is_cpu_capped=False)
    spec = _spec(arguments)["containers"][0]
    try:
        bundle = launcher.make_ready("probe", spec, "probe", around=around, gpus=[])
        container = launcher.launch(bundle)
    except LaunchRefused as refused:
        return str(refused)
    _, status = os.waitpid(container.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    has_started = launcher.take_process_id("probe") is not None
    error = launcher.read_error("probe") or os.read(container.stderr, 4096).decode()
    launcher.clean("probe", container)
    around.is_reusable = False
    launcher.release(around)
    if has_started and code == wanted:
        return ""
    if shell is None and ("not found" in error or "no such file" in error.lower()):
        return ""  # Nothing to run, but everything up to running it worked.
    return error.strip() or f"exit status {code} instead of {wanted}"


def _spec(arguments: list[str]) -> SpecShape:
    container: ContainerShape = {
        "name": "default",
        "image": "probe",
        "limits": {"cpu_milli": 1000, "memory_mib": 32, "gpu_count": 0},
        "log": None,
        "command": arguments,
        "environment": [],
        "user": None,
        "is_root_read_only": False,
        "is_privileged": False,
        "has_init": False,
        "mounts": [],
        "ulimits": [],
        "tmpfs": [],
        "devices": [],
        "shared_memory_mib": 64,
        "swap_mib": None,
        "swappiness": None,
        "is_essential": True,
        "starts_after": [],
        "start_timeout_ms": None,
        "stop_timeout_ms": None,
    }
    return {
        "task_id": "probe",
        "containers": [container],
        "is_cpu_capped": False,
        "network": "HOST",
        "processes": "NONE",
        "ipc": "NONE",
    }


if __name__ == "__main__":
    problem = main(*sys.argv[1:])
    if problem:
        sys.stderr.write(problem + "\n")
        sys.exit(1)
