"""Which reader reads a file: by the name that its format is given, or that it ends with.

Decides also that a file may be compressed with gzip. Refuses to know any format.
"""

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from batchyard.sim.csv_trace import parse_csv
from batchyard.sim.swf import parse_swf
from batchyard.sim.trace import BadTrace, Trace
from batchyard.sim.wfformat import parse_wfformat

#: Reads the lines of a text file; the name is for messages.
Reader = Callable[[Iterable[str], str], Trace]

READERS: Mapping[str, Reader] = {"swf": parse_swf, "csv": parse_csv, "wfformat": parse_wfformat}
_KIND_BY_ENDING = {"json": "wfformat"}

#: What becomes of bytes that are no UTF-8: in SWF they are in comments, of long ago.
_ERRORS_BY_KIND = {"swf": "replace"}

_GZIP = b"\x1f\x8b"


def read_trace(path: Path, kind: str | None = None) -> Trace:
    """Read a trace; without a kind, the file's name tells it. Raises `BadTrace`."""
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    kind = kind or _KIND_BY_ENDING.get(ending, ending)
    reader = READERS.get(kind)
    if reader is None:
        raise BadTrace(f"{path.name}: its format is not known; say which: {', '.join(READERS)}")
    try:
        with (
            _open(path) as raw,
            # Some editors write a mark at the beginning.
            io.TextIOWrapper(
                raw, encoding="utf-8-sig", errors=_ERRORS_BY_KIND.get(kind), newline=""
            ) as text,
        ):
            return reader(text, path.name)
    except UnicodeDecodeError as error:
        raise BadTrace(f"{path.name}: is no text in UTF-8: {error.reason}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise BadTrace(f"{path.name}: cannot be read: {error}") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
    return cast("BinaryIO", gzip.open(path)) if is_packed else path.open("rb")
