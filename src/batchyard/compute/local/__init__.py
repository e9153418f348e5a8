"""The direct backend: containers on this Linux machine through an OCI runtime, without a daemon.

Two processes share the room. The *server* side (`backend`, `link`, `output`, `images`, `gpus`,
`detect`) lives in the asyncio loop of the server and may come and go. The *supervisor* side (the
folder `supervisor`) is one small process per data directory that owns the containers and survives
the server; it imports nothing but light parts of the standard library, so this module imports its
exports only when they are asked for.

In the supervisor, from the outside in: `loop` (connections, what happened), `life` (tasks and what
is done with them) with `group` (what follows, pure), `ground` (what a task's containers share:
`network`, `sharing`, the book of GPUs in `devices`), `bundle` (what a container is given), and
`container` (what runs).
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
