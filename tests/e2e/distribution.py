"""An image that is this machine's own distribution: its programs, without a copy of them.

The image holds little more than the links of a merged /usr; `/usr` and what else a program needs
come read-only from the host, through the operator's allow-list. With it run Open MPI and Python as
they are installed here.
"""

import contextlib
import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from batchyard.compute.local.images.archives import FoundImage, FoundLayer
from batchyard.compute.local.images.image_store import ImageStore
from batchyard.compute.local.images.references import parse_reference
from batchyard.compute.local.supervisor.ocispec import DEFAULT_PATH

#: What jobs of the image mount, each at its own path, as far as this machine has it.
FOLDERS = tuple(
    path for path in ("/usr", "/etc/alternatives", "/etc/openmpi") if Path(path).is_dir()
)

_LINKS = ("bin", "sbin", "lib", "lib64")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_SSH_CONFIG = """\
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


def make_distribution_image(
    store: ImageStore, name: str, files: Mapping[str, str | bytes] | None = None
) -> None:
    """Store the image, with these files more; those below `root/.ssh` are root's alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for link in _LINKS:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            archive.addfile(entry)
        for folder, mode in {
            "usr": 0o755,
            "root": 0o700,
            "tmp": 0o1777,
            "root/.ssh": 0o700,
        }.items():
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for path, text in {**_FILES, **(files or {})}.items():
            content = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o600 if ".ssh" in path else 0o755
            archive.addfile(entry, io.BytesIO(content))

    @contextlib.contextmanager
    def open_layer() -> Iterator[IO[bytes]]:
        yield io.BytesIO(buffer.getvalue())

    image = FoundImage(
        config={"Cmd": ["sh"], "Env": [f"PATH={DEFAULT_PATH}"]},
        layers=[FoundLayer(open=open_layer, diff_id=None)],
    )
    store.add(image, names=[str(parse_reference(name))])


def folder_volumes(*more: str) -> dict[str, Any]:
    """Give the members of a definition that mount the folders, read-only."""
    folders = dict(enumerate((*FOLDERS, *more)))
    return {
        "volumes": [
            {"name": f"folder{number}", "host": {"sourcePath": path}}
            for number, path in folders.items()
        ],
        "mountPoints": [
            {"sourceVolume": f"folder{number}", "containerPath": path, "readOnly": True}
            for number, path in folders.items()
        ],
    }


def make_ssh_files(folder: Path) -> dict[str, str]:
    """Give root a key, and the right to come with it: from one container to another."""
    key = folder / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "nodes", "-f", str(key)], check=True
    )
    return {
        "root/.ssh/id_ed25519": key.read_text(),
        "root/.ssh/authorized_keys": key.with_suffix(".pub").read_text(),
        "root/.ssh/config": _SSH_CONFIG,
    }
