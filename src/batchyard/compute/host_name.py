"""The name under which a backend offers this machine.

Decides it: one for each data folder and kind of backend, drawn once and kept there. Servers that
share a database must not take each other's tasks for their own; nor may one that runs containers
another way than before, for what still runs is not there to be seen.
"""

import secrets
from pathlib import Path

from batchyard.compute.port import Trouble
from batchyard.model.ids import HostId

#: The direct runtime's was the first, when there was no other.
_FILE_BY_KIND = {"local": "host-id"}


def read_host_id(data_dir: Path, *, kind: str) -> HostId:
    """Tell the name, or draw it. Raises `Trouble`."""
    path = data_dir / _FILE_BY_KIND.get(kind, f"host-id-{kind}")
    try:
        if not path.exists():
            scratch = path.with_suffix(".new")
            scratch.write_text(f"{kind}-{secrets.token_hex(4)}")
            scratch.replace(path)
        return HostId(path.read_text())
    except OSError as error:
        raise Trouble(f"the name of this host cannot be kept: {error}") from error
