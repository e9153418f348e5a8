"""One turn of the yard: what happened takes effect, and then a round is planned and carried out.

Owns the order of the two, for the live engine, for simulations and for tests alike. Refuses to know
where inputs come from, and what becomes of effects.
"""

from collections.abc import Iterable

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.core.step import step, step_all
from batchyard.core.turn import Outcome
from batchyard.core.viewing import do_heads_stand, is_anything_to_do, view_of
from batchyard.scheduler.round import plan_round


def run_turn(state: State, inputs: Iterable[i.Input], now_ms: int) -> Outcome:
    """Let things happen, then let a round place who can start."""
    outcome = step_all(state, inputs, now_ms)
    outcome.add(run_round(state, now_ms))
    return outcome


def run_round(state: State, now_ms: int) -> Outcome:
    """Plan a round, and make of the plan what still holds; none where it would change nothing."""
    if state.remembered.is_settled(now_ms) and do_heads_stand(state, now_ms):
        return Outcome()
    if not is_anything_to_do(state):
        return Outcome()
    view = view_of(state, now_ms)
    plan = plan_round(view)
    outcome = step(state, plan, now_ms)
    state.remembered.note_round(view, plan, outcome.events, state.next_head_limit_ms())
    return outcome
