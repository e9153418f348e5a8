"""What one turn of the engine decides: everything that happened, then a round.

Owns the order of the two, for the live loop and for replays of it. Refuses to know where inputs
come from, and what is done with the outcome.
"""

from collections.abc import Sequence

from batchyard.core.inputs import Input
from batchyard.core.state import State
from batchyard.core.step import step, step_all
from batchyard.core.turn import Outcome
from batchyard.core.viewing import view_of
from batchyard.scheduler.round import plan_round


def decide(state: State, inputs: Sequence[Input], now_ms: int, *, is_round_due: bool) -> Outcome:
    """Let the inputs happen and, if it is due, let a round place what waits."""
    outcome = step_all(state, inputs, now_ms)
    if is_round_due:
        outcome.add(step(state, plan_round(view_of(state, now_ms)), now_ms))
    return outcome
