"""What is mounted where: host paths, volumes of the task, file systems that folders stand for.

A file system of AWS is a folder of this machine here, as the operator has mapped it (reference/
jobs.md section 11.6). What is mapped to nothing keeps the task from starting, in plain words.
"""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from batchyard.compute.port import Mount
from batchyard.model.records import Json


class NotMapped(Exception):
    """A file system that no folder stands for. The text is fit for an attempt's reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the files of a volume are; `path` None: they live and die with the task."""

    name: str
    path: str | None


def sources_of(volumes: Iterable[Json], folders: Mapping[str, str]) -> dict[str, Source]:
    """Find the files of each volume, by the volume's name. Raises `NotMapped`."""
    return {
        each["name"]: Source(name=each["name"], path=_path_of(each, folders)) for each in volumes
    }


def mounts_of(container: Json, sources: Mapping[str, Source]) -> Iterable[Mount]:
    """Give the mounts of a container."""
    for point in container.get("mountPoints") or ():
        source = sources[point["sourceVolume"]]
        yield Mount(
            source=source.path,
            volume=source.name,
            destination=point["containerPath"],
            is_read_only=bool(point.get("readOnly")),
        )


def _path_of(volume: Json, folders: Mapping[str, str]) -> str | None:
    if efs := volume.get("efsVolumeConfiguration"):
        access_point = (efs.get("authorizationConfig") or {}).get("accessPointId")
        return _folder(folders, access_point, efs["fileSystemId"], efs.get("rootDirectory"))
    if s3 := volume.get("s3filesVolumeConfiguration"):
        return _folder(
            folders, s3.get("accessPointArn"), s3["fileSystemArn"], s3.get("rootDirectory")
        )
    path: str | None = (volume.get("host") or {}).get("sourcePath")
    return path or None


def _folder(
    folders: Mapping[str, str], access_point: str | None, file_system: str, root: str | None
) -> str:
    """Give the folder of the access point, or else of the file system, and the root below it."""
    base = folders.get(access_point or "") or folders.get(file_system)
    if base is None:
        raise NotMapped(
            f"file system {file_system} has no folder on this machine: map it in the setting"
            " file_systems"
        )
    # Taken apart as if it were absolute, it cannot lead out of its folder.
    below = posixpath.normpath("/" + (root or "/"))
    return base if below == "/" else base.rstrip("/") + below
