"""The GPUs of this machine: found, or as the operator declares them.

Decides what a GPU is called (NVIDIA's UUID, else its number) and which device nodes belong to it.
Refuses to know who has one. Source: `/proc/driver/nvidia/gpus/*/information` (the driver's own
account of UUIDs and device minors), else `nvidia-smi -L`.

NVIDIA's OCI hook is used where it is installed: it brings the driver's libraries into containers
that may see a GPU. Without it a container gets the device nodes, and its image must bring the rest.
"""

import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from batchyard.compute.local.shapes import GpuShape
from batchyard.compute.port import Trouble

_INFORMATION: Final = "/proc/driver/nvidia/gpus"
_LIST_TIMEOUT_S: Final = 20.0
_HOOKS: Final = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
_CONTROL_PATHS: Final = (
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
)
_NODE = re.compile(r"/dev/nvidia(\d+)")
_LISTED = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[0-9A-Za-z-]+)\)")


def gpus_of_information(texts: Sequence[str]) -> list[GpuShape]:
    """Read the driver's information files, one for each GPU."""
    gpu_by_minor: dict[int, GpuShape] = {}
    for text in texts:
        value_by_name = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in text.splitlines())
        }
        minor, uuid = value_by_name.get("Device Minor", ""), value_by_name.get("GPU UUID", "")
        if minor.isdigit() and uuid:
            gpu_by_minor[int(minor)] = {"id": uuid, "paths": [f"/dev/nvidia{minor}"]}
    return [gpu_by_minor[minor] for minor in sorted(gpu_by_minor)]


def gpus_of_listing(text: str) -> list[GpuShape]:
    """Read what `nvidia-smi -L` prints. Slices of a GPU (MIG) are not told apart from it."""
    return [
        {"id": found[2], "paths": [f"/dev/nvidia{found[1]}"]}
        for line in text.splitlines()
        if (found := _LISTED.match(line))
    ]


def detect_gpus() -> list[GpuShape]:
    """Find the GPUs of this machine; none if there is no driver. May take a second."""
    nodes = [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    if not nodes:
        return []
    files = sorted(Path(_INFORMATION).glob("*/information"))
    texts = [path.read_text(errors="replace") for path in files]
    found = gpus_of_information(texts) or gpus_of_listing(_list())
    known = [gpu for gpu in found if all(path in nodes for path in gpu["paths"])]
    return known or [{"id": node.removeprefix("/dev/nvidia"), "paths": [node]} for node in nodes]


def _list() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        process = subprocess.run(
            [command, "-L"], capture_output=True, text=True, timeout=_LIST_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout


def declared_gpus(wishes: Sequence[str], found: Sequence[GpuShape]) -> list[GpuShape]:
    """Give what the operator declares: device paths, or names that NVIDIA's tools know.

    A path of a GPU that was found is that GPU; a name that was not found has no device node of its
    own. Raises `Trouble` for a path that is no device, and for one GPU named twice.
    """
    gpus: list[GpuShape] = []
    for wish in wishes:
        match = next((gpu for gpu in found if wish == gpu["id"] or wish in gpu["paths"]), None)
        number = f"/dev/nvidia{wish}" if wish.isdigit() else ""
        match = match or next((gpu for gpu in found if number in gpu["paths"]), None)
        if match is None:
            match = _declared(wish)
        if any(gpu["id"] == match["id"] for gpu in gpus):
            raise Trouble(f"the GPU {wish} is named twice")
        gpus.append(match)
    return gpus


def _declared(wish: str) -> GpuShape:
    if not wish.startswith("/"):
        return {"id": wish, "paths": []}
    try:
        is_device = stat.S_ISCHR(Path(wish).stat().st_mode)
    except OSError as error:
        raise Trouble(f"the GPU {wish} is not there: {error.strerror}") from error
    if not is_device:
        raise Trouble(f"the GPU {wish} is not a character device")
    node = _NODE.fullmatch(wish)
    return {"id": node[1] if node else wish, "paths": [wish]}


def find_gpus(wishes: Sequence[str] | None) -> list[GpuShape]:
    """Find the GPUs that jobs may have: all, or those declared. Raises `Trouble`; blocks."""
    if wishes is not None and not wishes:
        return []
    found = detect_gpus()
    return found if wishes is None else declared_gpus(wishes, found)


def control_paths() -> list[str]:
    """List the devices that every container with a GPU needs beside it."""
    return [path for path in _CONTROL_PATHS if Path(path).exists()]


def find_hook() -> str | None:
    """Find NVIDIA's OCI hook."""
    return next((path for name in _HOOKS if (path := shutil.which(name))), None)
