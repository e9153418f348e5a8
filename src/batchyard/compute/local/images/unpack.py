"""Unpacks one image layer: a process of its own, shut into the layer's directory.

Run as `python -m batchyard.compute.local.images.unpack <directory>` with the layer's blob on
stdin; writes the sha256 of the uncompressed tar to stdout, or what is wrong to stderr with status
1. It changes its root to the directory before it reads a byte, so that no name, symbolic or hard
link in a hostile layer leads out.

Decides how a layer looks on disk: whiteouts become overlay's (a character device 0/0, an opaque
attribute), ownership and modes are kept, devices are left out (jobs may not make any either).
Source: OCI image specification, `layer.md`; kernel, `filesystems/overlayfs.rst`.
"""

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from typing import IO, Protocol, cast

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_XATTR_PREFIX = "SCHILY.xattr."
_COPY_BYTES = 1024 * 1024


class BadLayer(Exception):
    """The blob is no layer; the text says why."""


class Source(Protocol):
    """Something bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class _Hashing:
    """Passes bytes on and hashes them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.hash.update(data)
        return data


class _Replayed:
    """Puts bytes that were read to look at them back in front."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._source.read(size)
        if size < 0:
            head, self._head = self._head, b""
            return head + self._source.read()
        head, self._head = self._head[:size], self._head[size:]
        return head


def decompressed(blob: IO[bytes]) -> Source:
    """Open a blob that may be compressed with gzip or zstd. Raises `BadLayer`."""
    head = blob.read(6)
    source = _Replayed(head, blob)
    if head[:2] == b"\x1f\x8b":
        return cast("Source", gzip.GzipFile(fileobj=cast("IO[bytes]", source), mode="rb"))
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return _zstd(head, blob)
    if head[:6] == b"\xfd7zXZ\0" or head[:3] == b"BZh":
        raise BadLayer("layers compressed with xz or bzip2 are not supported")
    return source


def _zstd(head: bytes, blob: IO[bytes]) -> Source:
    path = shutil.which("zstd")
    if path is None:
        raise BadLayer("the layer is compressed with zstd; install it (apt-get install zstd)")
    process = subprocess.Popen([path, "-dc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    if os.fork() == 0:
        process.stdout.close()
        process.stdin.write(head)
        shutil.copyfileobj(blob, process.stdin)
        process.stdin.close()
        os._exit(0)
    process.stdin.close()
    return process.stdout


def unpack(source: Source) -> str:
    """Unpack a tar stream below `/`; return its sha256. Raises `BadLayer`."""
    hashing = _Hashing(source)
    directories: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(fileobj=hashing, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                _place(archive, member)
                if member.isdir():
                    directories.append(member)
        while hashing.read(_COPY_BYTES):
            pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, UnicodeError) as error:
        raise BadLayer(f"the layer is damaged: {error}") from error
    for member in reversed(directories):
        path = _path_of(member.name)
        if os.path.isdir(path) and not os.path.islink(path):
            os.utime(path, (member.mtime, member.mtime))
    return hashing.hash.hexdigest()


def _path_of(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadLayer(f"the layer has a name that leads out of it: {name}")
    return "/" + "/".join(parts)


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = _path_of(member.name)
    parent, name = os.path.split(path)
    if path == "/":
        os.chmod("/", stat.S_IMODE(member.mode))
        return
    if not os.path.isdir(parent):
        os.makedirs(parent, 0o755)
    if name.startswith(_WHITEOUT):
        _hide(parent, name)
        return
    if member.ischr() or member.isblk():
        return
    _clear(path, is_directory=member.isdir())
    if member.islnk():
        os.link(_path_of(member.linkname), path, follow_symlinks=False)
        return
    if member.issym():
        os.symlink(member.linkname, path)
        os.lchown(path, member.uid, member.gid)
        return
    _make(archive, member, path)
    os.chown(path, member.uid, member.gid)
    os.chmod(path, stat.S_IMODE(member.mode))
    for key, value in member.pax_headers.items():
        if key.startswith(_XATTR_PREFIX + "security.capability"):
            os.setxattr(
                path, key.removeprefix(_XATTR_PREFIX), value.encode("utf-8", "surrogateescape")
            )
    if not member.isdir():
        os.utime(path, (member.mtime, member.mtime))


def _hide(parent: str, name: str) -> None:
    """Turn a whiteout into overlay's form."""
    if name == _OPAQUE:
        os.setxattr(parent, "trusted.overlay.opaque", b"y")
        return
    hidden = os.path.join(parent, name.removeprefix(_WHITEOUT))
    _clear(hidden, is_directory=False)
    os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    if member.isdir():
        os.makedirs(path, 0o755, exist_ok=True)
    elif member.isfifo():
        os.mkfifo(path)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        with open(path, "wb") as file:
            shutil.copyfileobj(content, file, _COPY_BYTES)
    else:
        raise BadLayer(f"the layer has an entry of an unknown kind: {member.name}")


def _clear(path: str, *, is_directory: bool) -> None:
    """Remove what an earlier entry put at `path`, but not a directory that is only named again."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        if not is_directory:
            shutil.rmtree(path)
    else:
        os.unlink(path)


def main(directory: str) -> int:
    """Unpack stdin into the directory. Returns the exit status."""
    os.umask(0)
    # Everything that reading may import later must be there before the door shuts.
    "".encode("idna"), "".encode("utf-8", "surrogateescape")
    try:
        source = decompressed(sys.stdin.buffer)
        os.chroot(directory)
        os.chdir("/")
        digest = unpack(source)
    except (BadLayer, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(digest + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
