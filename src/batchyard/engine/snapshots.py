"""When the engine writes down how queues stand.

Owns the pace: after a change, at most once a second, and only of queues that stand differently; so
reads never ask the engine, a queue that nothing happens to costs nothing, and one with a million
jobs costs no more than one with a hundred. Refuses to know what a snapshot holds (see
`core.fronts`).
"""

from collections.abc import Mapping

from batchyard.core.explaining import why_head_waits
from batchyard.core.fronts import front_of, snapshot_of
from batchyard.core.state import State
from batchyard.core.viewing import view_of
from batchyard.model.ids import QueueArn
from batchyard.model.records import QueueSnapshot

#: AWS says that its snapshots may lag, and not how much.
PAUSE_MS = 1000


class Snapshots:
    """What is stored of each queue, and whether it is time to look again."""

    def __init__(self, stored: Mapping[QueueArn, QueueSnapshot]) -> None:
        self._stored = dict(stored)
        #: Something has happened since the last look.
        self._is_due = True
        #: When the last look was; None: there was none.
        self._looked_ms: int | None = None

    def note_change(self) -> None:
        """Something has happened."""
        self._is_due = True

    def next_ms(self, now_ms: int) -> int | None:
        """Tell when to look again; None: not before something happens."""
        if not self._is_due:
            return None
        # A clock that was set back must not make us wait for it.
        if self._looked_ms is None or self._looked_ms > now_ms:
            return now_ms
        return max(now_ms, self._looked_ms + PAUSE_MS)

    def take(self, state: State, now_ms: int) -> dict[QueueArn, QueueSnapshot]:
        """Look, if it is time; give what is to be stored with the facts of this turn."""
        if self.next_ms(now_ms) != now_ms:
            return {}
        self._is_due = False
        self._looked_ms = now_ms
        view = view_of(state, now_ms)
        fronts = {each.arn: front_of(each) for each in view.queues}
        taken = {
            arn: snapshot_of(
                queue,
                front := fronts.get(arn, []),
                self._stored.get(arn),
                head_waits_for=why_head_waits(state, front[0], view, now_ms) if front else None,
                now_ms=now_ms,
            )
            for arn, queue in state.queues.items()
        }
        changed = {arn: each for arn, each in taken.items() if each != self._stored.get(arn)}
        self._stored = taken
        return changed
