"""The peer of `containers`: run the runtime in a loop, and nothing else.

`python -m bench.bare_loop DATA_DIR COUNT PARALLEL` prints containers a second. It has a mount
namespace of its own with a short mount table, as the supervisor has.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from batchyard.compute.local.images.image_store import ImageStore
from batchyard.compute.local.supervisor import kernel, rootfs
from batchyard.compute.local.supervisor.cgroups import Limits, runtime_resources
from batchyard.compute.local.supervisor.namespace import unwanted_mounts
from batchyard.compute.local.supervisor.ocispec import ImageConfig, Place, SpecTemplate

HYBRID_V2 = "/sys/fs/cgroup/unified"
CAPABILITIES = 0x00000000A80425FB  # docker's default set


def main(data_dir: Path, count: int, parallel: int) -> float:
    kernel.unshare_mounts()
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    mountinfo = Path("/proc/self/mountinfo").read_text()
    for point in unwanted_mounts(mountinfo, ["/bin", "/etc", "/usr", "/sbin", "/run"]):
        kernel.unmount(point)
    if Path(HYBRID_V2).is_dir():
        # The runtime makes folders where the v2 hierarchy was, and leaves them: let it, in memory.
        kernel.mount("tmpfs", HYBRID_V2, "tmpfs")
    image_id = ImageStore(data_dir).resolve("busybox")
    record = msgspec.json.decode((data_dir / f"images/records/{image_id}.json").read_bytes())
    os.chdir(data_dir / "images" / "layers")
    with tempfile.TemporaryDirectory(prefix="by-bare-") as folder:
        loop = _Loop(Path(folder), record)
        loop.run_one(-1)
        begin = time.perf_counter()
        with ThreadPoolExecutor(parallel) as threads:
            list(threads.map(loop.run_one, range(count)))
        return count / (time.perf_counter() - begin)


class _Loop:
    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder = folder
        self._lower = ":".join(reversed(record["layers"]))
        self._image = ImageConfig(record["config"])
        self._template = SpecTemplate(
            capability_mask=CAPABILITIES, has_cgroup_mount=False, has_resolv_conf=False
        )
        self._resources = runtime_resources(
            Limits(cpu_milli=1000, memory_mib=64, is_cpu_capped=False)
        )

    def run_one(self, number: int) -> None:
        name = f"bare-{os.getpid()}-{number}"
        bundle = self._folder / name
        for part in ("root", "up", "work"):
            (bundle / part).mkdir(parents=True)
        kernel.mount(
            "overlay",
            f"{bundle}/root",
            "overlay",
            options=f"lowerdir={self._lower},upperdir={bundle}/up,workdir={bundle}/work,volatile",
        )
        config = msgspec.json.decode(
            self._template.compose(_spec(), self._image, self._place(bundle))
        )
        config["linux"]["resources"] = self._resources
        config["linux"]["cgroupsPath"] = f"/{name}"
        (bundle / "config.json").write_bytes(msgspec.json.encode(config))
        subprocess.run(
            [
                "crun",
                "--cgroup-manager=cgroupfs",
                f"--root={self._folder}/state",
                "run",
                f"--bundle={bundle}",
                name,
            ],
            stdin=subprocess.DEVNULL,
            check=True,
        )
        kernel.unmount(f"{bundle}/root")
        _delete(bundle)

    def _place(self, bundle: Path) -> Place:
        identity = rootfs.Identity(uid=0, gid=0, home="/root", additional_gids=[])
        return Place(
            root=f"{bundle}/root",
            identity=identity,
            hosts_file="/etc/hosts",
            host_name="bare",
        )


def _spec() -> Any:
    return {
        "image": "busybox",
        "limits": {"cpu_milli": 1000, "memory_mib": 64, "gpu_count": 0},
        "log": None,
        "command": ["true"],
        "environment": [],
        "user": None,
        "is_root_read_only": False,
        "is_privileged": False,
        "has_init": False,
        "mounts": [],
        "ulimits": [],
        "tmpfs": [],
        "shared_memory_mib": 64,
    }


def _delete(directory: Path) -> None:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            _delete(Path(entry.path))
        else:
            os.unlink(entry.path)
    directory.rmdir()


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
