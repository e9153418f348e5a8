"""The image store of a data directory: names, records and unpacked layers.

Owns `images/`: `index.json` (name -> image id), `records/<image id>.json`, `layers/<short id>/`
(one read-only directory for each layer, shared by all images that have it). Refuses to know
registries (`pull`) and archive forms (`archives`).

Rules: an image id is the digest of its configuration and layers, so the same image has one id
however it came. Every change is made under one file lock and becomes visible by a rename, so that a
command and the server can change the store at the same time; readers need no lock. Layers are kept
as long as any record names them. Methods block; the server calls all but `resolve` in a thread.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from batchyard.compute.local.images.archives import FoundImage, FoundLayer, NotAnImage, open_archive
from batchyard.compute.local.images.references import BadReference, parse_reference
from batchyard.compute.local.link import ask_supervisor
from batchyard.compute.local.shapes import ConfigShape, ImageShape
from batchyard.compute.local.supervisor.bundle import MOUNT_POINTS_LAYER
from batchyard.compute.port import Trouble

Progress = Callable[[str], None]

_SHORT_ID_LENGTH = 16
_COPY_BYTES = 1024 * 1024


class ImageInUse(Exception):
    """The image cannot be removed while a task uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """An image as `batchyard image list` shows it; `names` are full, and may be empty."""

    image_id: str
    names: tuple[str, ...]
    size_bytes: int
    created_at_ms: int
    layer_count: int


def _ignore(_: str) -> None:
    return


class ImageStore:
    """The images of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "images"
        self._index: dict[str, str] = {}
        self._index_mark: tuple[int, int, int] | None = None

    # -- reading ------------------------------------------------------------------------------

    def resolve(self, name: str) -> str | None:
        """Give the id of the image that `name` means here; None if it has to be pulled.

        Costs one `stat` while nothing changes. A name that is none resolves to None, too.
        """
        try:
            reference = parse_reference(name)
        except BadReference:
            return None
        return self._read_index().get(str(reference))

    def list_images(self) -> list[ImageInfo]:
        """List the images, by their first name."""
        names_by_id: dict[str, list[str]] = {}
        for name, image_id in self._read_index().items():
            names_by_id.setdefault(image_id, []).append(name)
        found = []
        for record in self._read_records():
            names = tuple(sorted(names_by_id.get(record["id"], [])))
            found.append(
                ImageInfo(
                    image_id=record["id"],
                    names=names,
                    size_bytes=record["size_bytes"],
                    created_at_ms=record["created_at_ms"],
                    layer_count=len(record["layers"]),
                )
            )
        return sorted(found, key=lambda info: (info.names or ("~",), info.image_id))

    def _read_index(self) -> dict[str, str]:
        try:
            status = os.stat(self._path / "index.json")
        except FileNotFoundError:
            return {}
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        if mark != self._index_mark:
            self._index = json.loads((self._path / "index.json").read_bytes())
            self._index_mark = mark
        return self._index

    def _read_records(self) -> Iterator[ImageShape]:
        for path in sorted((self._path / "records").glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                record: ImageShape = json.loads(path.read_bytes())
                yield record

    # -- changing -----------------------------------------------------------------------------

    def import_archive(
        self, path: Path, *, name: str | None = None, progress: Progress = _ignore
    ) -> list[ImageInfo]:
        """Store the images in a docker-archive, OCI layout (directory or tar) or rootfs tar.

        `name` replaces the names in the archive; it is required where there are none.
        Raises `NotAnImage`, `BadReference`, `Trouble`.
        """
        wanted = [str(parse_reference(name))] if name else []
        with open_archive(path) as found:
            if name and len(found) > 1:
                raise NotAnImage(f"{path.name} has {len(found)} images; import it without a name")
            ids = [self.add(image, names=wanted, progress=progress) for image in found]
        return [info for info in self.list_images() if info.image_id in ids]

    def add(self, image: FoundImage, *, names: list[str], progress: Progress = _ignore) -> str:
        """Store an image under `names`, or its own; return its id. Raises as `import_archive`."""
        full_names = names or [str(parse_reference(name)) for name in image.names]
        if not full_names:
            raise NotAnImage("the image has no name; give it one")
        repository = full_names[0].rpartition("@" if "@" in full_names[0] else ":")[0]
        full_names += [f"{repository}@{digest}" for digest in image.digests]
        try:
            self._make_directories()
            layers: list[str] = []
            size = 0
            for number, layer in enumerate(image.layers, 1):
                progress(f"layer {number} of {len(image.layers)}")
                short_id, layer_size = self._add_layer(layer)
                size += layer_size
                # The same layer twice: the upper one covers everything the lower one could show.
                layers = [*(other for other in layers if other != short_id), short_id]
            return self._add_record(image.config, layers, size, full_names)
        except OSError as error:
            raise Trouble(f"the image cannot be stored: {error}") from error

    def remove(self, name: str) -> None:
        """Remove a name, and with the last name the image. Raises `KeyError`, `ImageInUse`."""
        full_name = str(parse_reference(name))
        with self._locked():
            index = dict(self._read_index())
            image_id = index.pop(full_name)
            repository = full_name.rpartition("@" if "@" in full_name else ":")[0]
            rest = {n for n, other in index.items() if other == image_id}
            if all(n.startswith(repository + "@") for n in rest):
                if not self._remove_record(image_id):
                    raise ImageInUse(f"a task uses the image {name}")
                index = {n: other for n, other in index.items() if n not in rest}
            self._write_json(self._path / "index.json", index)
            self._collect_layers()

    def make_draft_directory(self) -> Path:
        """Make the directory for what is not complete yet, on the file system of the layers."""
        self._make_directories()
        return self._path / "draft"

    def _make_directories(self) -> None:
        for directory in (".", "layers", "records", "draft"):
            (self._path / directory).mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._make_directories()
        with (self._path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _add_layer(self, layer: FoundLayer) -> tuple[str, int]:
        if layer.diff_id is not None:
            short_id = layer.diff_id.removeprefix("sha256:")[:_SHORT_ID_LENGTH]
            marker = self._path / "layers" / f"{short_id}.json"
            with contextlib.suppress(FileNotFoundError):
                kept = json.loads(marker.read_bytes())
                _check_same(layer.diff_id, kept["diff_id"])
                return short_id, kept["size_bytes"]
        draft = Path(tempfile.mkdtemp(dir=self._path / "draft"))
        try:
            draft.chmod(0o755)
            diff_id = _unpack(layer, draft)
            if layer.diff_id not in (None, f"sha256:{diff_id}"):
                raise NotAnImage(f"a layer is damaged: its digest is not {layer.diff_id}")
            size = _tree_size(draft)
            short_id = diff_id[:_SHORT_ID_LENGTH]
            with self._locked():
                target = self._path / "layers" / short_id
                if not target.exists():
                    draft.rename(target)
                marker = self._path / "layers" / f"{short_id}.json"
                with contextlib.suppress(FileNotFoundError):
                    _check_same(diff_id, json.loads(marker.read_bytes())["diff_id"])
                self._write_json(marker, {"diff_id": diff_id, "size_bytes": size})
            return short_id, size
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _add_record(
        self, config: ConfigShape, layers: list[str], size: int, names: list[str]
    ) -> str:
        canonical = json.dumps([config, layers], sort_keys=True).encode()
        image_id = hashlib.sha256(canonical).hexdigest()
        record: ImageShape = {
            "id": image_id,
            "layers": layers,
            "config": config,
            "size_bytes": size,
            "created_at_ms": time.time_ns() // 1_000_000,
        }
        with self._locked():
            for layer in layers:
                if not (self._path / "layers" / layer).is_dir():
                    raise Trouble("a layer was removed while the image was stored; try again")
            self._write_json(self._path / "records" / f"{image_id}.json", record)
            index = self._read_index() | dict.fromkeys(names, image_id)
            self._write_json(self._path / "index.json", index)
        return image_id

    def _remove_record(self, image_id: str) -> bool:
        """Remove a record unless a task uses it; the supervisor knows, if there is one."""
        answer = ask_supervisor(self._data_dir, {"do": "remove_image", "image": image_id})
        if answer is not None:
            return answer["is_done"]
        with contextlib.suppress(FileNotFoundError):
            (self._path / "records" / f"{image_id}.json").unlink()
        return True

    def _collect_layers(self) -> None:
        """Delete layers that no record names any more."""
        kept = {layer for record in self._read_records() for layer in record["layers"]}
        for path in (self._path / "layers").iterdir():
            if path.is_dir() and path.name not in kept and path.name != MOUNT_POINTS_LAYER:
                path.with_suffix(".json").unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _write_json(path: Path, content: object) -> None:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with draft.open("w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)


def _check_same(diff_id: str, kept: str) -> None:
    """Refuse a layer that only begins like one we have: two such can be made in an hour."""
    if diff_id.removeprefix("sha256:") != kept:
        raise NotAnImage(f"the layer {diff_id} has the short name of another layer, {kept}")


def _unpack(layer: FoundLayer, directory: Path) -> str:
    """Unpack a layer in a process that is shut into `directory`; return the diff id's digits."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "batchyard.compute.local.images.unpack", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    assert process.stdin is not None
    with process, layer.open() as blob:
        with contextlib.suppress(BrokenPipeError):  # It has said why on stderr.
            shutil.copyfileobj(blob, process.stdin, _COPY_BYTES)
        output, error = process.communicate()
    if process.returncode != 0:
        lines = error.decode("utf-8", "replace").strip().splitlines()
        text = lines[-1] if lines else f"status {process.returncode}"
        if "No space left" in text:
            raise Trouble(f"the image cannot be stored: {text}")
        raise NotAnImage(text)
    return output.decode().strip()


def _tree_size(directory: Path) -> int:
    size = 0
    for parent, _, names in os.walk(directory):
        size += sum(os.lstat(os.path.join(parent, name)).st_size for name in names)
    return size
