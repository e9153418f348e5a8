"""What one turn of the engine decides: everything that happened and, if it is due, a round.

Owns when there is no round, for the live loop and for replays of it. Refuses to know where inputs
come from, and what is done with the outcome.
"""

from collections.abc import Sequence

from batchyard.core.cycle import run_turn
from batchyard.core.inputs import Input
from batchyard.core.state import State
from batchyard.core.step import step_all
from batchyard.core.turn import Outcome


def decide(state: State, inputs: Sequence[Input], now_ms: int, *, is_round_due: bool) -> Outcome:
    """Let the inputs happen and, if it is due, let a round place what waits."""
    if is_round_due:
        return run_turn(state, inputs, now_ms)
    return step_all(state, inputs, now_ms)
