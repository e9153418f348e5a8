"""Which images are being pulled, since when, and for which tasks.

Decides what is told of it: of a task the first image that it waits for. Refuses to know how an
image is pulled, and what becomes of a task.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager

from batchyard.compute.port import RegistryAuth, TaskFetching
from batchyard.model.ids import TaskId

#: An image, and with what it is asked for.
Pull = tuple[str, RegistryAuth | None]


class PullsUnderWay:
    """The pulls of one backend. `waiting` is its own: who waits for an image, asked for or not."""

    def __init__(
        self,
        waiting: Mapping[Pull, Set[TaskId]],
        report: Callable[[TaskFetching], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._waiting = waiting
        self._report = report
        self._now_ms = now_ms
        self._since_ms: dict[Pull, int] = {}

    @contextmanager
    def pulling(self, image: str, auth: RegistryAuth | None) -> Iterator[None]:
        """Tell every task that waits for an image that it is being pulled, meanwhile."""
        self._since_ms[image, auth] = self._now_ms()
        for task_id in sorted(self._waiting.get((image, auth), ())):
            self.tell(task_id)
        try:
            yield
        finally:
            del self._since_ms[image, auth]

    def tell(self, task_id: TaskId) -> None:
        """Report the first image that is being pulled for a task; nothing if none is."""
        for key, since_ms in self._since_ms.items():
            if task_id in self._waiting.get(key, ()):
                self._report(TaskFetching(task_id=task_id, at_ms=since_ms, image=key[0]))
                return
