"""When the engine writes down how queues stand.

Owns the pace: after a change, at most once a second, and only of queues that stand differently; a
queue in which somebody begins to wait is looked at at once. So reads never ask the engine, a queue
that nothing happens to costs nothing, and one with a million jobs costs no more than one with a
hundred. Refuses to know what a snapshot holds (see
`core.fronts`).
"""

from collections.abc import Mapping

from batchyard.core.explaining import why_head_waits
from batchyard.core.fronts import Look, front_of, snapshot_of
from batchyard.core.state import Queue, State
from batchyard.core.viewing import has_waiting, view_of
from batchyard.model.ids import QueueArn
from batchyard.model.queue_snapshots import QueueSnapshot

#: AWS says that its snapshots may lag, and not how much.
PAUSE_MS = 1000
#: Ours: where shares take turns, the order changes also while nothing happens but that jobs run.
AGAIN_MS = 30_000


class Snapshots:
    """What is stored of each queue, and whether it is time to look again."""

    def __init__(self, stored: Mapping[QueueArn, QueueSnapshot]) -> None:
        self._stored = dict(stored)
        #: Something has happened since the last look.
        self._is_due = True
        #: When the last look was; None: there was none.
        self._looked_ms: int | None = None
        #: The order of a queue may change though nothing happens: see `_is_moving`.
        self._is_moving = False

    def note_change(self) -> None:
        """Something has happened."""
        self._is_due = True

    def next_ms(self, now_ms: int) -> int | None:
        """Tell when to look again; None: not before something happens."""
        if not (self._is_due or self._is_moving):
            return None
        # A clock that was set back must not make us wait for it.
        if self._looked_ms is None or self._looked_ms > now_ms:
            return now_ms
        return max(now_ms, self._looked_ms + (PAUSE_MS if self._is_due else AGAIN_MS))

    def take(self, state: State, now_ms: int) -> dict[QueueArn, QueueSnapshot]:
        """Look, if it is time; give what is to be stored with the facts of this turn."""
        looked = state.queues
        if self.next_ms(now_ms) != now_ms:
            looked = self._newly_waited_in(state)
            if not looked:
                return {}
        else:
            self._is_due = False
            self._looked_ms = now_ms
            self._is_moving = any(map(_is_moving, state.queues.values()))
        view = view_of(state, now_ms)
        fronts = {each.arn: front_of(each) for each in view.queues if each.arn in looked}
        look = Look(
            state=state,
            now_ms=now_ms,
            why=lambda job_id: why_head_waits(state, job_id, view, now_ms),
        )
        taken = {
            arn: snapshot_of(look, queue, fronts.get(arn, []), self._stored.get(arn))
            for arn, queue in looked.items()
        }
        changed = {arn: each for arn, each in taken.items() if each != self._stored.get(arn)}
        if looked is state.queues:
            self._stored = taken
        else:
            self._stored.update(taken)
        return changed

    def _newly_waited_in(self, state: State) -> dict[QueueArn, Queue]:
        """Give the queues in which nobody waited when they were looked at, and somebody does now.

        The first that waits does not wait for the pause to be told why: once a pause for a queue.
        """
        if not self._is_due:
            return {}
        return {
            arn: queue
            for arn, queue in state.queues.items()
            if has_waiting(queue) and not ((known := self._stored.get(arn)) and known.jobs)
        }


def _is_moving(queue: Queue) -> bool:
    """Tell whether jobs of several fair shares wait while some run: what these use decides."""
    return queue.cpu_milli > 0 and sum(1 for each in queue.shares.values() if len(each.line)) > 1
