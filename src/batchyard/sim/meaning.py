"""Which changes mean something in a yard, and what is said of those that do not.

Decides by what there is: environments, machines, queues and their shares, of the caller's account
and region. Refuses to know what a change comes to.
"""

from collections.abc import Iterator, Mapping

from batchyard.core.state import Queue, State
from batchyard.model.capacity_use import CONTAINER_UNITS
from batchyard.model.ids import QueueArn, name_in_arn
from batchyard.model.what_if import Changes, QuotaChange, Submission
from batchyard.sim.changing import takes_service_jobs


def refusal_of(state: State, changes: Changes, place: str) -> str | None:
    """Say what of the changes means nothing in this yard; None: all of it means something.

    `place` is what the ARNs of the caller's account and region begin with.
    """
    refusals = (
        *_about_capacity(state, changes, place),
        *(_about_queue(state, changes, arn, place) for arn in _queues_of(changes)),
    )
    found = next((each for each in refusals if each is not None), None)
    # Of a queue that is not there nothing more can be said.
    return found or next(_about_submissions(state, changes), None)


def _about_capacity(state: State, changes: Changes, place: str) -> Iterator[str]:
    for arn in changes.cpu_milli_max:
        if arn not in state.environments or not arn.startswith(place):
            yield f"Compute environment {name_in_arn(arn)} does not exist."
    for arn, limits in changes.instance_limits.items():
        environment = state.environments.get(arn)
        if environment is None or environment.limits is None or not arn.startswith(place):
            yield f"Service environment {name_in_arn(arn)} does not exist."
        elif strange := [unit for unit in limits if unit not in environment.limits]:
            known = ", ".join(environment.limits)
            yield f"{name_in_arn(arn)} has no capacityUnit {strange[0]}. It has: {known}."
    for host_id in changes.machines:
        if host_id not in state.hosts:
            there = ", ".join(state.hosts) or "none"
            yield f"Machine {host_id} does not exist. There are: {there}."


def _queues_of(changes: Changes) -> dict[QueueArn, None]:
    return dict.fromkeys(
        (
            *changes.priorities,
            *changes.policies,
            *changes.weights,
            *changes.quota_shares,
            *(each.queue_arn for each in changes.submissions),
        )
    )


def _about_queue(state: State, changes: Changes, arn: QueueArn, place: str) -> str | None:
    queue, name = state.queues.get(arn), name_in_arn(arn)
    if queue is None or not arn.startswith(place):
        return f"Job queue {name} does not exist."
    has_quota_shares = _will_have_quota_shares(queue, changes)
    if arn in changes.weights:
        if has_quota_shares:
            return f"Job queue {name} has quota shares, and those have no weights."
        if changes.policies.get(arn, queue.policy) is None:
            return f"Job queue {name} has no fair-share policy whose weights could change."
    if arn in changes.quota_shares:
        if not has_quota_shares:
            return f"Job queue {name} has no quota shares that could change."
        return _about_quotas(queue, changes.quota_shares[arn])
    return None


def _will_have_quota_shares(queue: Queue, changes: Changes) -> bool:
    return queue.quota_shares is not None and queue.arn not in changes.policies


def _about_quotas(queue: Queue, quotas: Mapping[str, QuotaChange]) -> str | None:
    is_service = takes_service_jobs(queue)
    for name, change in quotas.items():
        if name not in (queue.quota_shares or {}):
            return _no_share(queue, name)
        for unit in change.limits:
            if not is_service and unit not in CONTAINER_UNITS:
                return f"capacityUnit {unit} is not one of {', '.join(CONTAINER_UNITS)}."
            if is_service and not unit.startswith("ml."):
                return f"capacityUnit {unit} is not an instance type, such as ml.m5.large."
    return None


def _no_share(queue: Queue, name: str) -> str:
    there = ", ".join(queue.quota_shares or {}) or "none"
    return (
        f"Quota share {name} does not exist in job queue {name_in_arn(queue.arn)}."
        f" There are: {there}."
    )


def _about_submissions(state: State, changes: Changes) -> Iterator[str]:
    for each in changes.submissions:
        queue = state.queues[each.queue_arn]
        name = name_in_arn(queue.arn)
        kinds = [state.environments[arn].kind for arn in queue.environment_arns]
        if takes_service_jobs(queue):
            if not each.capacity_use:
                yield f"{each.name}: job queue {name} takes service jobs: give an instanceType."
            if each.array_size is not None or each.depends_on:
                yield f"{each.name}: service jobs are no arrays, and depend on nothing."
        elif each.nodes is not None and not all(kind.runs_nodes for kind in kinds):
            yield f"{each.name}: job queue {name} runs no multi-node jobs."
        if why := _about_share(queue, changes, each):
            yield f"{each.name}: {why}"


def _about_share(queue: Queue, changes: Changes, each: Submission) -> str | None:
    """Say what is wrong with the share that a job names, as SubmitJob would."""
    name = name_in_arn(queue.arn)
    if _will_have_quota_shares(queue, changes):
        if each.share_identifier is None:
            return f"shareIdentifier must name a quota share of job queue {name}."
        if each.share_identifier not in (queue.quota_shares or {}):
            return _no_share(queue, each.share_identifier)
    elif changes.policies.get(queue.arn, queue.policy) is not None and not each.share_identifier:
        return f"job queue {name} has shares, so a shareIdentifier must be given."
    return None
