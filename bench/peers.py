"""What would be said of a start without a scheduler: two simple ways, to compare forecasts with.

Refuses to know what came of it, but for what has started and run by then.
"""

from collections.abc import Sequence

from batchyard.core.state import State
from batchyard.model.ids import JobId, QueueArn
from batchyard.store.run_times import Kind
from bench.yards import Yard

#: 10, 50 and 90 %, in milliseconds from now.
Peer = tuple[float, float, float]

_LEVELS = (0.1, 0.5, 0.9)
#: How many of the latest waits, and of what was wrong of late, say what is to come.
_LATEST = 100
_LEAST = 10
_DEFAULT_MS = 600_000


class _Peer:
    """Hears of the past, and is asked."""

    def note_start(
        self, queue_arn: QueueArn, job_id: JobId, created_ms: int, started_ms: int
    ) -> None:
        """Hear of a first start."""

    def note_run(self, kind: Kind, run_ms: int) -> None:
        """Hear of an attempt that is over."""

    def ask(self, state: State, drawn: Yard, job_id: JobId, now_ms: int) -> Peer:
        """Say when a job will start."""
        raise NotImplementedError


class PastWaits(_Peer):
    """A job waits like those that started last in its queue; of these, like those that waited
    for as long as it has done already.
    """

    def __init__(self) -> None:
        self._waits: dict[QueueArn, list[int]] = {}

    def note_start(
        self, queue_arn: QueueArn, job_id: JobId, created_ms: int, started_ms: int
    ) -> None:
        del job_id
        self._waits.setdefault(queue_arn, []).append(started_ms - created_ms)

    def ask(self, state: State, drawn: Yard, job_id: JobId, now_ms: int) -> Peer:
        waited_ms = now_ms - drawn.created_ms[job_id]
        latest = self._waits.get(state.jobs[job_id].queue_arn, [])[-_LATEST:]
        left = [each - waited_ms for each in latest if each > waited_ms]
        if len(left) < _LEAST:
            left = latest or [_DEFAULT_MS]
        return _ends_of(left)


class Backlog(_Peer):
    """What is before a job in its queue, and half of what runs, at the mean run time of its kind,
    by the machine's size; times what that was wrong by of late.
    """

    def __init__(self) -> None:
        self._runs: dict[Kind, tuple[int, int]] = {}
        self._said: dict[JobId, tuple[float, int]] = {}
        self._wrong: list[float] = []

    def note_start(
        self, queue_arn: QueueArn, job_id: JobId, created_ms: int, started_ms: int
    ) -> None:
        del queue_arn, created_ms
        said = self._said.pop(job_id, None)
        if said is not None:
            self._wrong.append((started_ms - said[1]) / max(said[0], 1.0))

    def note_run(self, kind: Kind, run_ms: int) -> None:
        count, sum_ms = self._runs.get(kind, (0, 0))
        self._runs[kind] = (count + 1, sum_ms + run_ms)

    def ask(self, state: State, drawn: Yard, job_id: JobId, now_ms: int) -> Peer:
        own = state.jobs[job_id]
        work = 0.0
        for each in state.jobs.values():
            if each.parent is not None:
                continue
            mean_ms = self._mean_ms(drawn.origins[each.id].kind)
            if each.progress.status.has_task:
                work += each.demand.cpu_milli * mean_ms / 2
            elif each.queue_arn == own.queue_arn and each.seq < own.seq:
                array = each.progress.array
                work += each.demand.cpu_milli * mean_ms * (1 if array is None else array.size)
        vcpus = sum(each.cpu_milli_max for each in state.environments.values())
        middle = work / max(vcpus, 1)
        self._said[job_id] = (middle, now_ms)
        low, half, high = (0.5, 1.0, 2.0)
        if len(self._wrong) >= _LEAST:
            low, half, high = _ends_of(self._wrong[-_LATEST:])
        return middle * low, middle * half, middle * high

    def _mean_ms(self, kind: Kind) -> float:
        known = [self._runs[kind]] if kind in self._runs else list(self._runs.values())
        known = known or [(1, _DEFAULT_MS)]
        return sum(sum_ms for _, sum_ms in known) / sum(count for count, _ in known)


PEERS = (PastWaits, Backlog)


def _ends_of(values: Sequence[float]) -> Peer:
    ordered = sorted(values)
    low, middle, high = (
        ordered[min(int(len(ordered) * each), len(ordered) - 1)] for each in _LEVELS
    )
    return low, middle, high
