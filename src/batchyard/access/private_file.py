"""Files that only their owner may read, written once and never half."""

import os
import secrets
from pathlib import Path


def create_private_file(path: Path, content: bytes) -> bool:
    """Write `path` unless it exists; tell whether we wrote it.

    The file appears whole or not at all; of two processes that try at once, one is told True.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails if the name is taken, unlike a rename
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            draft.rename(path)
        return True
    finally:
        draft.unlink(missing_ok=True)
