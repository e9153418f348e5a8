"""When attempts run out of time: a heap that forgets lazily.

Owns the order of deadlines. Refuses to know what happens when one is reached. An entry whose
attempt is over stays in the heap until it comes to the top; `is_current` tells such entries
apart.
"""

import heapq
from collections.abc import Callable, Iterator

from batchyard.model.ids import TaskId


class Deadlines:
    """Deadlines of live attempts, earliest first. Adding and dropping cost O(log n)."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, TaskId]] = []

    def add(self, at_ms: int, task_id: TaskId) -> None:
        heapq.heappush(self._heap, (at_ms, task_id))

    def next_ms(self, is_current: Callable[[TaskId], bool]) -> int | None:
        """Tell when the next current deadline is reached; None if there is none."""
        while self._heap and not is_current(self._heap[0][1]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ms: int) -> Iterator[TaskId]:
        """Take out every task whose deadline is at or before `now_ms`, current or not."""
        while self._heap and self._heap[0][0] <= now_ms:
            yield heapq.heappop(self._heap)[1]
