"""Multi-node parallel jobs: many tasks that are one attempt.

Decides by reference/jobs.md section 9.4. Refuses to know networks: a node's address comes with the
report of its start.

Rules that hold here: all nodes hold their capacity from the moment the attempt is placed; the main
node starts first, and the others once it runs, but for an attempt that is to stop: there nodes that
have not begun never do, and keep nothing; the end of another node changes nothing for the job;
the end of the main node decides how the job ends, and the others are stopped; the attempt is over,
and may be tried again, only when the last of them is gone. The nodes of a service job are all
alike, as SageMaker has it: the first that fails by itself decides, else the last one.
"""

from collections.abc import Callable, Iterable

from batchyard.core import events as e
from batchyard.core.bookkeeping import attempt_of, held_slots
from batchyard.core.effects import StartTask
from batchyard.core.state import Job, Nodes
from batchyard.core.stopping import stop_attempt, stop_nodes
from batchyard.core.turn import Turn
from batchyard.core.verdict import Verdict
from batchyard.model.ids import TaskId, node_id, task_id_of
from batchyard.model.records import StopCause
from batchyard.scheduler.plan import Slot


def nodes_of(parent: Job) -> Nodes:
    assert parent.nodes is not None, parent.id
    return parent.nodes


def is_main(node: Job) -> bool:
    assert node.parent is not None, node.id
    return node.index == nodes_of(node.parent).main_index


def begin_main_node(turn: Turn, parent: Job) -> None:
    """Let the main node of a placed attempt begin."""
    _begin_node(turn, parent, nodes_of(parent).main_index)


def begin_other_nodes(turn: Turn, parent: Job) -> None:
    """Let the other nodes begin: the main one runs, and its address is known."""
    for index in list(nodes_of(parent).waiting):
        _begin_node(turn, parent, index)


def stop_if_kept(
    turn: Turn, task_ids: Iterable[TaskId], is_leaving: Callable[[Slot], bool]
) -> None:
    """Stop the attempts of these tasks that keep what is leaving for nodes that have not begun."""
    for task_id in list(task_ids):
        node = turn.state.job_of_task(task_id)
        parent = None if node is None else node.parent
        if parent is None or parent.nodes is None:
            continue
        if any(is_leaving(slot) for slot, _ in held_slots(parent, attempt_of(parent))):
            stop_attempt(turn, parent, StopCause.INSTANCE_TERMINATED)


def note_main_end(turn: Turn, parent: Job, verdict: Verdict, reason: str, at_ms: int) -> None:
    """Keep how the node ended that decides, and stop the others."""
    turn.emit(
        e.MainNodeEnded(
            job_id=parent.id,
            at_ms=at_ms,
            exit_code=verdict.exit_code,
            reason=verdict.reason,
            status_reason=reason,
            containers=verdict.containers,
        )
    )
    stop_nodes(turn, parent, StopCause.MAIN_NODE_ENDED)


def decides(node: Job, *, has_failed: bool) -> bool:
    """Tell whether the end of a node decides how its job ends.

    Of a service job that is the first node that fails by itself, or the last one.
    """
    parent = node.parent
    assert parent is not None, node.id
    if not parent.is_service:
        return is_main(node)
    whole, nodes = attempt_of(parent), nodes_of(parent)
    is_last = not nodes.live and not nodes.waiting
    return whole.stopped_ms is None and (has_failed or is_last)


def start_of_node(node: Job) -> StartTask:
    """Say what starts the live attempt of a node."""
    assert node.parent is not None, node.id
    attempt = attempt_of(node)
    return StartTask(
        task_id=attempt.task_id,
        job_id=node.id,
        attempt_number=attempt.number,
        environment_arn=attempt.environment_arn,
        host_id=attempt.host_id,
        main_address=None if is_main(node) else attempt_of(node.parent).address,
        share=node.demand if node.is_service else None,
    )


def _begin_node(turn: Turn, parent: Job, index: int) -> None:
    number = attempt_of(parent).number
    job_id = node_id(parent.id, index)
    turn.emit(
        e.NodePlaced(
            job_id=job_id, number=number, task_id=task_id_of(job_id, number), at_ms=turn.now_ms
        )
    )
    turn.ask(start_of_node(turn.state.jobs[job_id]))
