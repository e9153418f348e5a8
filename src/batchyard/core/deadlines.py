"""When something is due: a heap that forgets lazily.

Owns the order of deadlines. Refuses to know what happens when one is reached. An entry whose
subject is over stays in the heap until it comes to the top, or until most entries are such;
`is_current` tells them apart.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=str)

#: A smaller heap is not worth cleaning.
_CLEAN_SIZE_MIN = 1024


class Deadlines(Generic[_Key]):
    """Deadlines of what is live, earliest first. Adding and dropping cost O(log n)."""

    __slots__ = ("_clean_size", "_heap")

    def __init__(self, entries: Iterable[tuple[int, _Key]] = ()) -> None:
        self._heap = sorted(entries)
        #: The size at which the heap is looked through for entries of the past.
        self._clean_size = _CLEAN_SIZE_MIN

    def __len__(self) -> int:
        """Count the entries, those of the past included."""
        return len(self._heap)

    def entries(self) -> Sequence[tuple[int, _Key]]:
        """Give all of them, those of the past included, in no order."""
        return tuple(self._heap)

    def add(self, at_ms: int, key: _Key) -> None:
        heapq.heappush(self._heap, (at_ms, key))

    def next_ms(self, is_current: Callable[[_Key], bool]) -> int | None:
        """Tell when the next current deadline is reached; None if there is none."""
        if len(self._heap) >= self._clean_size:
            self._heap = [entry for entry in self._heap if is_current(entry[1])]
            heapq.heapify(self._heap)
            self._clean_size = max(_CLEAN_SIZE_MIN, 2 * len(self._heap))
        while self._heap and not is_current(self._heap[0][1]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ms: int) -> Iterator[_Key]:
        """Take out everything whose deadline is at or before `now_ms`, current or not."""
        while self._heap and self._heap[0][0] <= now_ms:
            yield heapq.heappop(self._heap)[1]
