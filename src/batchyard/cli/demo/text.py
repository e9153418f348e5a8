"""The text that the demo counts: Python's own sources, in shards of about equal size.

Owns which files are taken, how they are spread, and what a word is, so that the shell programs in
`programs` and the direct computation here can be compared word by word.
"""

import heapq
import os
import re
import shutil
import sysconfig
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARD_COUNT = 10

#: Enough to see; more would only take longer on a small machine.
_TEXT_BYTES_MAX = 48_000_000

#: In bytes, so that no file's encoding matters. A run of letters, digits and underscores counts
#: from its first letter or underscore on.
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")

_SKIPPED_FOLDERS = frozenset(("site-packages", "dist-packages", "__pycache__"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of the library: its path there, and its size when it was found."""

    path: Path
    size_bytes: int


def library_path() -> Path:
    """Say where Python's standard library lies on this machine."""
    return Path(sysconfig.get_paths()["stdlib"])


def find_sources(root: Path) -> list[SourceFile]:
    """Find the Python files below `root`, in a fixed order, up to a size in all."""
    found: list[SourceFile] = []
    total_bytes = 0
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            path = Path(folder, name)
            # A line break in a name would be two names to a shell program.
            if not name.endswith(".py") or not path.is_file() or not str(path).isprintable():
                continue
            size_bytes = path.stat().st_size
            if total_bytes + size_bytes > _TEXT_BYTES_MAX:
                return found
            total_bytes += size_bytes
            found.append(SourceFile(path=path, size_bytes=size_bytes))
    return found


def balance(files: Iterable[SourceFile], shard_count: int) -> list[list[SourceFile]]:
    """Spread files over shards of about equal size: the largest left goes to the smallest shard."""
    shards: list[list[SourceFile]] = [[] for _ in range(shard_count)]
    sizes = [(0, number) for number in range(shard_count)]
    for file in sorted(files, key=lambda file: (-file.size_bytes, str(file.path))):
        size_bytes, number = heapq.heappop(sizes)
        shards[number].append(file)
        heapq.heappush(sizes, (size_bytes + file.size_bytes, number))
    return shards


def shard_name(number: int) -> str:
    """Name a shard; numbers start at 1."""
    return f"shard-{number:02d}"


def copy_shards(shards: Sequence[Sequence[SourceFile]], root: Path, target: Path) -> None:
    """Copy each shard into a folder of its own, below which files keep their paths."""
    for number, files in enumerate(shards, 1):
        for file in files:
            copy = target / shard_name(number) / file.path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, copy)


def count_words(folder: Path) -> Counter[str]:
    """Count the words of all files below `folder`: the direct computation."""
    counts: Counter[bytes] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            counts.update(_WORD.findall(path.read_bytes()))
    return Counter({word.decode("ascii"): count for word, count in counts.items()})


def read_counts(path: Path) -> Counter[str]:
    """Read a table as the jobs write it: a count, a tab, a word in each line.

    Raises ValueError if it is none.
    """
    counts: Counter[str] = Counter()
    for line in path.read_text("ascii").splitlines():
        number, tab, word = line.partition("\t")
        if not tab or word in counts:
            raise ValueError(f"{path.name} has a line that is none of ours: {line[:80]!r}")
        counts[word] = int(number)
    return counts
