"""The direct backend: containers on this Linux machine through an OCI runtime, without a daemon.

Two processes share the room. The *server* side (`backend`, `link`, `output`, `images`, `pull`)
lives in the asyncio loop of the server and may come and go. The *supervisor* side (`supervisor`,
`container`, `cgroups`, `ocispec`, `rootfs`, `spool`, `records`, `kernel`) is one small process per
data directory that owns the containers and survives the server; it imports nothing but light parts
of the standard library, so this module imports its exports only when they are asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.compute.local.backend import LocalBackend as LocalBackend

__all__ = ["LocalBackend"]


def __getattr__(name: str) -> object:
    if name == "LocalBackend":
        from batchyard.compute.local.backend import LocalBackend

        return LocalBackend
    raise AttributeError(name)
