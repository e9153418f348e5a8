"""Reading images out of what people have: docker-archive, OCI layout, skopeo's `dir:`, or a bare
rootfs.

Decides which form a path has, and what images are in it. Refuses to unpack or store anything:
layers are handed on as streams. Everything that arrives here comes from outside; what does not hold
together is refused with a text for the person who imports it.
"""

import contextlib
import gzip
import hashlib
import json
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from batchyard.compute.local.shapes import ConfigShape

_JSON_BYTES_MAX = 4 * 1024 * 1024
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le"}

#: Becomes part of a file's name: nothing else may.
_DIFF_ID = re.compile(r"sha256:[0-9a-f]{64}")

#: JSON from outside. What is not as expected raises, and `open_archive` says so.
Foreign = Any


class NotAnImage(Exception):
    """What was given is no image, or a damaged one; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLayer:
    """A layer: how to read its blob, and what its uncompressed bytes must hash to (if it is
    said)."""

    open: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]
    diff_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImage:
    """An image in an archive. `digests` are those it may be asked for by."""

    config: ConfigShape
    layers: list[FoundLayer]
    names: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


class Files(Protocol):
    """The files of an archive by name."""

    def has(self, name: str) -> bool: ...

    def open(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]: ...


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, name: str) -> bool:
        """Tell whether the directory has a file: links and names that lead out of it count for
        nothing."""
        path = (self._root / name).resolve()
        return path.is_relative_to(self._root.resolve()) and path.is_file()

    def open(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        if not self.has(name):
            raise NotAnImage(f"{name} is missing")
        return (self._root / name).open("rb")


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {m.name.removeprefix("./"): m for m in archive.getmembers()}

    def has(self, name: str) -> bool:
        return name in self._members

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        member = self._members.get(name)
        if member is not None and member.issym():  # docker before 25 links equal layers
            target = (Path(name).parent / member.linkname).as_posix()
            parts: list[str] = []
            for part in target.split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            member = self._members.get("/".join(parts))
        if member is None or not (member.isreg() or member.islnk()):
            raise NotAnImage(f"{name} is missing")
        content = self._archive.extractfile(member)
        assert content is not None
        with content:
            yield content


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[list[FoundImage]]:
    """Find the images in `path`; their layers can be read while the context lasts.

    Raises `NotAnImage`.
    """
    try:
        if path.is_dir():
            yield _find(_Directory(path), path)
            return
        with _plain_tar(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            files = _Tar(archive)
            if any(files.has(n) for n in ("manifest.json", "index.json", "oci-layout")):
                yield _find(files, path)
            elif any(files.has(n) or _has_below(archive, n) for n in ("bin", "usr", "etc", "app")):
                yield [_bare_rootfs(path)]
            else:
                raise NotAnImage(f"{path.name} is neither an image nor the files of one")
    except FileNotFoundError as error:
        raise NotAnImage(f"{path} does not exist") from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise NotAnImage(f"{path.name} is not an image, or damaged: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError, msgspec.ValidationError) as error:
        raise NotAnImage(f"{path.name} is not an image: its description is malformed") from error


def _has_below(archive: tarfile.TarFile, name: str) -> bool:
    return any(m.name.removeprefix("./").startswith(name + "/") for m in archive.getmembers())


@contextlib.contextmanager
def _plain_tar(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            yield file
            return
        file.seek(0)
        with tempfile.TemporaryFile() as plain:
            with gzip.open(file) as source:
                shutil.copyfileobj(source, plain, 1024 * 1024)
            plain.seek(0)
            yield plain


def _find(files: Files, path: Path) -> list[FoundImage]:
    if files.has("manifest.json"):
        data = _read(files, "manifest.json")
        manifest = _json(data, "manifest.json")
        if isinstance(manifest, list):
            return [_docker_image(files, entry) for entry in manifest]
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        return [_manifest_image(files, manifest, digest, blob=_hex)]
    if files.has("index.json"):
        index = _json(_read(files, "index.json"), "index.json")
        found = [_index_image(files, entry) for entry in index["manifests"]]
        if found:
            return found
    raise NotAnImage(f"{path.name} is not an image: it has neither manifest.json nor index.json")


def _read(files: Files, name: str) -> bytes:
    with files.open(name) as file:
        data = file.read(_JSON_BYTES_MAX + 1)
    if len(data) > _JSON_BYTES_MAX:
        raise NotAnImage(f"{name} is too large")
    return data


def _json(data: bytes, name: str) -> Foreign:
    try:
        return json.loads(data)
    except ValueError as error:
        raise NotAnImage(f"{name} is not JSON: {error}") from error


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _oci_blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _checked(files: Files, name: str, digest: str) -> bytes:
    data = _read(files, name)
    if hashlib.sha256(data).hexdigest() != _hex(digest):
        raise NotAnImage(f"{name} is damaged: its digest is not {digest}")
    return data


def _index_image(files: Files, entry: Foreign) -> FoundImage:
    annotations = entry.get("annotations") or {}
    names = [
        annotations[key]
        for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name")
        if key in annotations
    ]
    digests = [entry["digest"]]
    manifest = _json(_checked(files, _oci_blob(entry["digest"]), entry["digest"]), "the manifest")
    if "manifests" in manifest:
        chosen = _for_this_machine(manifest["manifests"])
        digests.append(chosen["digest"])
        manifest = _json(_checked(files, _oci_blob(chosen["digest"]), chosen["digest"]), "manifest")
    image = _manifest_image(files, manifest, digests[-1], blob=_oci_blob)
    return FoundImage(config=image.config, layers=image.layers, names=names[:1], digests=digests)


def _for_this_machine(entries: Foreign) -> Foreign:
    machine = platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    for entry in entries:
        wanted = entry.get("platform") or {}
        if wanted.get("os", "linux") == "linux" and wanted.get("architecture") == architecture:
            return entry
    raise NotAnImage(f"no matching manifest for linux/{architecture} in the manifest list entries")


def _manifest_image(
    files: Files, manifest: Foreign, digest: str, *, blob: Callable[[str], str]
) -> FoundImage:
    name = blob(manifest["config"]["digest"])
    config = _json(_checked(files, name, manifest["config"]["digest"]), name)
    names = [blob(layer["digest"]) for layer in manifest["layers"]]
    return FoundImage(
        config=_run_config(config), layers=_layers(files, names, config), digests=[digest]
    )


def _docker_image(files: Files, entry: Foreign) -> FoundImage:
    config = _json(_read(files, entry["Config"]), entry["Config"])
    return FoundImage(
        config=_run_config(config),
        layers=_layers(files, entry["Layers"], config),
        names=list(entry.get("RepoTags") or []),
    )


def _layers(files: Files, names: list[str], config: Foreign) -> list[FoundLayer]:
    diff_ids = config["rootfs"]["diff_ids"]
    for diff_id in diff_ids:
        if not isinstance(diff_id, str) or _DIFF_ID.fullmatch(diff_id) is None:
            raise NotAnImage(f"the image is damaged: {str(diff_id)[:80]} is no digest of a layer")
    if len(diff_ids) != len(names):
        raise NotAnImage("the image is damaged: its configuration names other layers than it has")
    for name in names:
        if not files.has(name):
            raise NotAnImage(f"the image is damaged: layer {name} is missing")
    return [
        FoundLayer(open=lambda name=name: files.open(name), diff_id=diff_id)  # type: ignore[misc]
        for name, diff_id in zip(names, diff_ids, strict=True)
    ]


def _run_config(config: Foreign) -> ConfigShape:
    known: ConfigShape = msgspec.convert(config.get("config") or {}, ConfigShape)
    return known


def _bare_rootfs(path: Path) -> FoundImage:
    return FoundImage(config={}, layers=[FoundLayer(open=lambda: path.open("rb"), diff_id=None)])
