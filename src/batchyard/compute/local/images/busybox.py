"""A small image from the distribution's static busybox: for demos and tests without a registry.

Decides what is in it: busybox with all its applets, root and nobody, `/tmp`. Refuses to pass for
the official image in anything but the name it is given.
"""

import contextlib
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from batchyard.compute.local.images.archives import FoundImage, FoundLayer
from batchyard.compute.local.images.image_store import ImageInfo, ImageStore
from batchyard.compute.local.images.references import parse_reference
from batchyard.compute.local.shapes import ConfigShape
from batchyard.compute.local.supervisor.ocispec import DEFAULT_PATH
from batchyard.compute.port import Trouble

_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_CONFIG: ConfigShape = {"Cmd": ["sh"], "Env": [f"PATH={DEFAULT_PATH}"]}
#: The kernel's name of a machine, and Go's.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = {
    "bin": 0o755,
    "etc": 0o755,
    "root": 0o700,
    "tmp": 0o1777,
    "dev": 0o755,
    "proc": 0o755,
}


def make_busybox_image(store: ImageStore, name: str = "busybox") -> ImageInfo:
    """Build the image and store it. Raises `Trouble` if busybox is missing or not static."""
    layer = _make_layer()

    @contextlib.contextmanager
    def open_layer() -> Iterator[IO[bytes]]:
        yield io.BytesIO(layer)

    image = FoundImage(
        config=_CONFIG,
        layers=[FoundLayer(open=open_layer, diff_id=None)],
    )
    image_id = store.add(image, names=[str(parse_reference(name))])
    return next(info for info in store.list_images() if info.image_id == image_id)


def make_busybox_archive(name: str = "busybox") -> bytes:
    """Build the image as a docker-archive, for engines. Raises as `make_busybox_image`."""
    layer = _make_layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        # Both engines want to know; an image of this machine's busybox runs on this machine.
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": _CONFIG,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [
        {
            "Config": "config.json",
            "RepoTags": [str(parse_reference(name))],
            "Layers": ["layer.tar"],
        }
    ]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add_file(archive, "manifest.json", json.dumps(manifest).encode(), mode=0o644)
        _add_file(archive, "config.json", json.dumps(config).encode(), mode=0o644)
        _add_file(archive, "layer.tar", layer, mode=0o644)
    return buffer.getvalue()


def _make_layer() -> bytes:
    path = shutil.which("busybox")
    if path is None:
        raise Trouble("busybox is not installed (apt-get install busybox-static)")
    binary = Path(path).read_bytes()
    if b"/lib64/ld-linux" in binary or b"/lib/ld-" in binary:
        raise Trouble("busybox is linked dynamically (apt-get install busybox-static)")
    applets = subprocess.run([path, "--list"], check=True, capture_output=True, text=True)
    return _layer(binary, applets.stdout.split())


def _layer(binary: bytes, applets: list[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in _DIRECTORIES.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, text in _FILES.items():
            _add_file(archive, name, text.encode(), mode=0o644)
        _add_file(archive, "bin/busybox", binary, mode=0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(content)
    archive.addfile(entry, io.BytesIO(content))
