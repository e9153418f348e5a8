"""What to type for this program, so that every hint can be pasted as it stands."""

import shutil
import sys
from pathlib import Path


def program_name() -> str:
    """Give `batchyard` if the shell finds it, else the path by which it was started."""
    if shutil.which("batchyard"):
        return "batchyard"
    path = Path(sys.argv[0]).absolute()
    if path.name != "batchyard":
        return f"{sys.executable} -m batchyard.cli.main"
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
