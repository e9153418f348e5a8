"""When the engine writes down how queues stand.

Owns the pace: after a change, at most once a second, and only of queues that stand differently; so
reads never ask the engine, a queue that nothing happens to costs nothing, and one with a million
jobs costs no more than one with a hundred. Refuses to know what a snapshot holds (see
`core.fronts`).
"""

from collections.abc import Callable, Mapping
from time import perf_counter

from batchyard.core.explaining import why_head_waits
from batchyard.core.fronts import front_of, snapshot_of
from batchyard.core.state import State
from batchyard.core.viewing import view_of
from batchyard.model.ids import QueueArn
from batchyard.model.records import QueueSnapshot

#: AWS says that its snapshots may lag, and not how much.
PAUSE_S = 1.0


class Snapshots:
    """What is stored of each queue, and whether it is time to look again."""

    def __init__(
        self,
        stored: Mapping[QueueArn, QueueSnapshot],
        monotonic_s: Callable[[], float] = perf_counter,
    ) -> None:
        self._monotonic_s = monotonic_s
        self._stored = dict(stored)
        #: Something has happened since the last look.
        self._is_due = True
        self._rest_until_s = 0.0

    def note_change(self) -> None:
        """Something has happened."""
        self._is_due = True

    def wait_s(self) -> float | None:
        """Tell in how many seconds to look again; None: not before something happens."""
        return max(0.0, self._rest_until_s - self._monotonic_s()) if self._is_due else None

    def take(self, state: State, now_ms: int) -> dict[QueueArn, QueueSnapshot]:
        """Look, if it is time; give what is to be stored with the facts of this turn."""
        if self.wait_s() != 0.0:
            return {}
        self._is_due = False
        self._rest_until_s = self._monotonic_s() + PAUSE_S
        view = view_of(state, now_ms)
        fronts = {each.arn: front_of(each) for each in view.queues}
        taken = {
            arn: snapshot_of(
                queue,
                front := fronts.get(arn, []),
                self._stored.get(arn),
                head_waits_for=why_head_waits(state, front[0], view) if front else None,
                now_ms=now_ms,
            )
            for arn, queue in state.queues.items()
        }
        changed = {arn: each for arn, each in taken.items() if each != self._stored.get(arn)}
        self._stored = taken
        return changed
