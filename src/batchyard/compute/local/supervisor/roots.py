"""Root file systems of containers: overlays over an image's layers, used again while they are
unused.

Owns `roots/<number>/` (the writable layer) and the mounts over it. Refuses to know tasks. An
overlay whose writable layer a container left exactly as it was made serves the next container of
the same image: mounting costs two file systems' worth of locks, and making and deleting directories
is what ext4 does worst (it avoids inodes deleted within the last half minute by searching past them
all, so a busy yard would slow itself down). Whether a layer was touched is told by its top
directory: every change below, a copy, a whiteout or an attribute, goes through it and moves its
change time.
"""

from __future__ import annotations

import contextlib
import errno
import os

from batchyard.compute.local.supervisor import kernel
from batchyard.compute.local.supervisor.records import delete_tree

#: Idle overlays kept; each costs an entry in the mount table that every container start copies.
_IDLE_MAX = 12


class Root:
    """A mounted root file system."""

    __slots__ = ("directory", "image", "mark", "merged")

    def __init__(self, *, directory: str, merged: str, image: str) -> None:
        self.directory = directory
        self.merged = merged
        self.image = image
        #: How the top of the writable layer looked when it was made.
        self.mark: tuple[object, ...] = ()

    def look(self) -> tuple[object, ...]:
        """Describe the top of the writable layer, so that any change below shows."""
        top = f"{self.directory}/up"
        status = os.stat(top)
        owner = (status.st_mode, status.st_uid, status.st_gid)
        return (*owner, status.st_ctime_ns, tuple(os.listxattr(top)), tuple(os.listdir(top)))


class Roots:
    """The root file systems of one data directory. The working directory is `images/layers`."""

    __slots__ = ("_count", "_directory", "_idle", "_merged", "_relative")

    def __init__(self, *, data_dir: str, run_path: str) -> None:
        self._directory = f"{data_dir}/roots"
        #: The same, from the working directory: overlay options must fit one page.
        self._relative = "../../roots"
        self._merged = f"{run_path}/roots"
        self._idle: list[Root] = []
        self._count = 0
        for path in (self._directory, self._merged):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def take(self, image: str, lower: str) -> Root:
        """Give a fresh root over the layers `lower` (overlay's form). Raises `OSError`."""
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index].image == image:
                return self._idle.pop(index)
        self._count += 1
        number = self._count
        root = Root(
            directory=f"{self._directory}/{number}", merged=f"{self._merged}/{number}", image=image
        )
        try:
            for path in (root.merged, root.directory, root.directory + "/up"):
                os.mkdir(path, 0o755)
            os.mkdir(root.directory + "/work", 0o700)
            self._mount(root, number, lower)
        except OSError:
            self._drop(root)
            raise
        root.mark = root.look()
        return root

    def _mount(self, root: Root, number: int, lower: str) -> None:
        own = f"upperdir={self._relative}/{number}/up,workdir={self._relative}/{number}/work"
        options = f"lowerdir={lower},{own}"
        try:
            # Nobody needs the upper layer after a power failure: `volatile` saves the syncs.
            kernel.mount("overlay", root.merged, "overlay", options=options + ",volatile")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            kernel.mount("overlay", root.merged, "overlay", options=options)

    def give_back(self, root: Root, *, is_reusable: bool) -> list[str]:
        """Take a root back; return what `rm` should delete."""
        try:
            is_untouched = is_reusable and root.look() == root.mark
        except OSError:
            is_untouched = False
        if not is_untouched:
            return self._drop(root)
        self._idle.append(root)
        return self._drop(self._idle.pop(0)) if len(self._idle) > _IDLE_MAX else []

    def drop_image(self, image: str) -> list[str]:
        """Unmount idle roots over an image that is being removed; return what `rm` should
        delete."""
        dropped = [root for root in self._idle if root.image == image]
        self._idle = [root for root in self._idle if root.image != image]
        return [path for root in dropped for path in self._drop(root)]

    def _drop(self, root: Root) -> list[str]:
        with contextlib.suppress(OSError):
            kernel.unmount(root.merged)
        with contextlib.suppress(OSError):
            os.rmdir(root.merged)
        return delete_tree(root.directory)
