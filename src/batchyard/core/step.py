"""The one door of the core: `step(state, input, now_ms) -> Outcome`.

Decides only who decides. Equal states and inputs give equal outcomes, on any machine and in any
process.
"""

from collections.abc import Iterable
from typing import assert_never

from batchyard.core import inputs as i
from batchyard.core.attempts import (
    carry_out_plan,
    record_end,
    record_fetching,
    record_start,
    record_taken,
    stop_overdue,
)
from batchyard.core.instances import advance_instances, interrupt, interrupt_task
from batchyard.core.jobs import accept_job, cancel_job, prioritize_job, terminate_job
from batchyard.core.quota_shares import delete_quota_share, put_quota_share
from batchyard.core.registering import deregister, register
from batchyard.core.resources import (
    delete_consumable,
    delete_environment,
    delete_queue,
    put_consumable,
    put_environment,
    put_host,
    put_policy,
    put_queue,
)
from batchyard.core.state import State
from batchyard.core.turn import Outcome, Turn
from batchyard.scheduler.plan import Plan


def step(state: State, happening: i.Input, now_ms: int) -> Outcome:
    """Let something happen: change the state, and say what became true and what is to be done."""
    return step_all(state, (happening,), now_ms)


def step_all(state: State, happenings: Iterable[i.Input], now_ms: int) -> Outcome:
    """Let several things happen, one after the other, and say what came of all of them."""
    turn = Turn(state, now_ms)
    for happening in happenings:
        _let_happen(turn, happening)
    return turn.outcome


def _let_happen(  # noqa: C901, PLR0912, PLR0915 -- one branch an input
    turn: Turn, happening: i.Input
) -> None:
    match happening:
        case i.AcceptJob():
            accept_job(turn, happening)
        case Plan():
            carry_out_plan(turn, happening)
        case i.TaskTaken():
            record_taken(turn, happening)
        case i.TaskFetching():
            record_fetching(turn, happening)
        case i.TaskStarted():
            record_start(turn, happening)
        case i.TaskEnded():
            record_end(turn, happening)
        case i.Tick():
            stop_overdue(turn)
            advance_instances(turn)
        case i.CancelJob():
            cancel_job(turn, happening)
        case i.TerminateJob():
            terminate_job(turn, happening)
        case i.PrioritizeJob():
            prioritize_job(turn, happening)
        case i.PutEnvironment():
            put_environment(turn, happening)
        case i.DeleteEnvironment():
            delete_environment(turn, happening)
        case i.PutQueue():
            put_queue(turn, happening)
        case i.PutPolicy():
            put_policy(turn, happening)
        case i.PutQuotaShare():
            put_quota_share(turn, happening)
        case i.DeleteQuotaShare():
            delete_quota_share(turn, happening)
        case i.DeleteQueue():
            delete_queue(turn, happening)
        case i.PutHost():
            put_host(turn, happening)
        case i.PutConsumable():
            put_consumable(turn, happening)
        case i.DeleteConsumable():
            delete_consumable(turn, happening)
        case i.InterruptInstance():
            interrupt(turn, happening)
        case i.InterruptTask():
            interrupt_task(turn, happening)
        case i.RegisterInstances():
            register(turn, happening)
        case i.DeregisterInstance():
            deregister(turn, happening)
        case _:
            assert_never(happening)
