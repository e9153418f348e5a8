"""One turn of the yard: what happened takes effect, and then a round is planned and carried out.

Owns the order of the two, for the live engine, for simulations and for tests alike. Refuses to know
where inputs come from, and what becomes of effects.
"""

from collections.abc import Iterable

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.core.step import step, step_all
from batchyard.core.turn import Outcome
from batchyard.core.viewing import view_of
from batchyard.scheduler.round import plan_round


def run_turn(state: State, inputs: Iterable[i.Input], now_ms: int) -> Outcome:
    """Let things happen, then let a round place who can start."""
    outcome = step_all(state, inputs, now_ms)
    outcome.add(run_round(state, now_ms))
    return outcome


def run_round(state: State, now_ms: int) -> Outcome:
    """Plan a round, and make of the plan what still holds; none where it would change nothing."""
    if state.remembered.is_settled(now_ms):
        return Outcome()
    view = view_of(state, now_ms)
    outcome = step(state, plan_round(view), now_ms)
    state.remembered.note_round(view, outcome.events, state.next_head_limit_ms())
    return outcome
