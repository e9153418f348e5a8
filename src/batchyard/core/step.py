"""The one door of the core: `step(state, input, now_ms) -> Outcome`.

Decides only who decides. Equal states and inputs give equal outcomes, on any machine and in any
process.
"""

from typing import assert_never

from batchyard.core import inputs as i
from batchyard.core.attempts import carry_out_plan, record_end, record_start, stop_overdue
from batchyard.core.jobs import accept_job, cancel_job, terminate_job
from batchyard.core.resources import (
    delete_environment,
    delete_queue,
    put_environment,
    put_host,
    put_queue,
)
from batchyard.core.state import State
from batchyard.core.turn import Outcome, Turn
from batchyard.scheduler.plan import Plan


def step(  # noqa: C901, PLR0912 -- one branch an input
    state: State, happening: i.Input, now_ms: int
) -> Outcome:
    """Let something happen: change the state, and say what became true and what is to be done."""
    turn = Turn(state, now_ms)
    match happening:
        case i.AcceptJob():
            accept_job(turn, happening)
        case Plan():
            carry_out_plan(turn, happening)
        case i.TaskStarted():
            record_start(turn, happening)
        case i.TaskEnded():
            record_end(turn, happening)
        case i.Tick():
            stop_overdue(turn)
        case i.CancelJob():
            cancel_job(turn, happening)
        case i.TerminateJob():
            terminate_job(turn, happening)
        case i.PutEnvironment():
            put_environment(turn, happening)
        case i.DeleteEnvironment():
            delete_environment(turn, happening)
        case i.PutQueue():
            put_queue(turn, happening)
        case i.DeleteQueue():
            delete_queue(turn, happening)
        case i.PutHost():
            put_host(turn, happening)
        case _:
            assert_never(happening)
    return turn.outcome
