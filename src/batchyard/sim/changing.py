"""A yard as it would be: what each change means for the state that is run forward.

Decides how changes are put into the inputs from which a state is loaded, so that a queue's policy
can change as it never could live, and which changes mean nothing. Refuses to know what comes of
them.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b

from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare, ShareWeight, fair_share_of
from batchyard.model.ids import JobId, PolicyArn, QueueArn, name_in_arn
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.what_if import Changes, Machine, Submission

#: Gives an input as it would have been.
Adjust = Callable[[i.Input], i.Input]

_NO_POLICY_YET = PolicyArn("supposed")
_PREFIX_MARK = "*"


def refusal_of(state: State, changes: Changes, place: str) -> str | None:
    """Say what of the changes means nothing in this yard; None: all of it means something.

    `place` is what the ARNs of the caller's account and region begin with.
    """
    for arn in changes.cpu_milli_max:
        if arn not in state.environments or not arn.startswith(place):
            return f"Compute environment {name_in_arn(arn)} does not exist."
    for host_id in changes.machines:
        if host_id not in state.hosts:
            there = ", ".join(state.hosts) or "none"
            return f"Machine {host_id} does not exist. There are: {there}."
    queues = [
        *changes.priorities,
        *changes.policies,
        *changes.weights,
        *(each.queue_arn for each in changes.submissions),
    ]
    for queue_arn in dict.fromkeys(queues):
        queue = state.queues.get(queue_arn)
        name = name_in_arn(queue_arn)
        if queue is None or not queue_arn.startswith(place):
            return f"Job queue {name} does not exist."
        is_reordered = queue_arn in changes.policies or queue_arn in changes.weights
        if is_reordered and queue.quota_shares is not None:
            return f"Job queue {name} has quota shares; another policy for it cannot be supposed."
        will_have = changes.policies.get(queue_arn, queue.policy)
        if queue_arn in changes.weights and will_have is None:
            return f"Job queue {name} has no fair-share policy whose weights could change."
    return None


def adjusting(changes: Changes) -> Adjust:
    """Give inputs as they would have been."""

    def adjust(given: i.Input) -> i.Input:
        match given:
            case i.PutEnvironment() if given.arn in changes.cpu_milli_max:
                return replace(given, cpu_milli_max=changes.cpu_milli_max[given.arn])
            case i.PutHost() if given.host_id in changes.machines:
                machine = changes.machines[given.host_id]
                return replace(given, capacity=_capacity_of(machine, given.capacity))
            case i.PutQueue():
                return _adjusted_queue(changes, given)
            case _:
                return given

    return adjust


def arrivals_of(
    submissions: Iterable[Submission], *, first_seq: int, now_ms: int
) -> list[tuple[int, i.AcceptJob]]:
    """Give the jobs that would come in, in the order in which they would."""
    in_order = sorted(submissions, key=lambda each: each.after_ms)
    return [
        (
            now_ms + each.after_ms,
            i.AcceptJob(job=_queued_of(each, place, first_seq + place, now_ms), finished={}),
        )
        for place, each in enumerate(in_order)
    ]


def _adjusted_queue(changes: Changes, given: i.PutQueue) -> i.PutQueue:
    arn = given.arn
    policy, policy_arn = given.policy, given.policy_arn
    if arn in changes.policies:
        detail = changes.policies[arn]
        policy = None if detail is None else fair_share_of({"fairsharePolicy": detail})
        policy_arn = None if policy is None else policy_arn or _NO_POLICY_YET
    if policy is not None and arn in changes.weights:
        policy = _weighed(policy, changes.weights[arn])
    priority = changes.priorities.get(arn, given.priority)
    return replace(given, priority=priority, policy=policy, policy_arn=policy_arn)


def _weighed(policy: FairShare, weight_by_share: Mapping[str, int]) -> FairShare:
    """Give a policy with other weights for some shares."""
    kept = [
        each
        for each in policy.weights
        if f"{each.text}{_PREFIX_MARK if each.is_prefix else ''}" not in weight_by_share
    ]
    new = [
        ShareWeight(
            text=name.removesuffix(_PREFIX_MARK),
            is_prefix=name.endswith(_PREFIX_MARK),
            weight_e4=weight,
        )
        for name, weight in weight_by_share.items()
    ]
    # The first that fits counts: the new ones are meant.
    return replace(policy, weights=(*new, *kept))


def _capacity_of(machine: Machine, there: Amount) -> Amount:
    return replace(
        there,
        cpu_milli=there.cpu_milli if machine.cpu_milli is None else machine.cpu_milli,
        memory_mib=there.memory_mib if machine.memory_mib is None else machine.memory_mib,
        gpu_count=there.gpu_count if machine.gpu_count is None else machine.gpu_count,
    )


def _queued_of(each: Submission, place: int, seq: int, now_ms: int) -> QueuedJob:
    return QueuedJob(
        seq=seq,
        id=_id_of(place),
        queue_arn=QueueArn(each.queue_arn),
        demand=each.demand,
        attempts_max=1,
        timeout_ms=each.timeout_ms,
        depends_on=(),
        array_size=each.array_size,
        share_identifier=each.share_identifier,
        scheduling_priority=each.scheduling_priority,
        created_ms=now_ms + each.after_ms,
        progress=JobProgress(),
    )


def _id_of(place: int) -> JobId:
    """Make up an id in the form of a job's."""
    digits = blake2b(f"supposed {place}".encode(), digest_size=16).hexdigest()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return JobId("-".join(parts))
