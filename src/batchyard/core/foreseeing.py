"""What can be told of a wish at once that will not come to anything, or not to what was meant.

Decides what is worth a warning when a job is submitted or a resource made: never a refusal, for AWS
gives none. A job is measured against the yard as it would be if nothing else were in it, so what is
told here no end of another job can mend. Refuses to know what runs. Costs O(environments + hosts),
whatever waits.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace as changed

from msgspec.structs import replace

from batchyard.core.explaining import why_out_of
from batchyard.core.inputs import PutEnvironment
from batchyard.core.quota_books import counted_use, quota_accounts_of
from batchyard.core.state import Environment, Queue, State
from batchyard.core.viewing import view_environment
from batchyard.model.amounts import Amount
from batchyard.model.explanation import Cause, Reason
from batchyard.model.ids import EnvironmentArn, QueueArn, name_in_arn
from batchyard.model.instances import InstanceType, LaunchSettings
from batchyard.model.status import EnvironmentKind, ResourceState
from batchyard.scheduler.allocation import bid_percent_for, may_exceed_max, types_on
from batchyard.scheduler.view import EnvironmentView, HostView, WaitingJob

_MILLI = 1000
#: Ours: a header has not room for more.
_ENVIRONMENTS_TOLD_MAX = 3


def foresee_job(
    state: State, queue_arn: QueueArn, job: WaitingJob, share: str | None
) -> Iterator[str]:
    """Say what keeps a job for as long as nobody changes the queue, its environments or itself.

    `share` names the share, or quota share, in whose line it will stand.
    """
    queue = state.queues.get(queue_arn)
    if queue is None:
        return
    reasons = list(_environment_reasons(state, queue, job))
    causes = {each.cause for each in reasons}
    texts = " ".join(each.text for each in reasons)
    name = name_in_arn(queue_arn)
    if causes == {Cause.ENVIRONMENT}:
        yield f"No environment of job queue {name} can be used now: {texts}"
    elif reasons and causes <= {Cause.NEVER_FITS, Cause.ENVIRONMENT}:
        yield f"The job can never start in job queue {name}: {texts}"
    elif reasons and Cause.NOTHING not in causes:
        yield f"The job cannot start in job queue {name} as that is: {texts}"
    yield from _short_for_ever(state, job)
    if share is not None and queue.quota_shares is not None:
        yield from _above_quota(queue, job, share)
    elif share is not None and _has_no_weight(queue, share):
        yield (
            f"Scheduling policy {name_in_arn(queue.policy_arn or '')} gives share identifier"
            f" {share} no weight: it counts as 1."
        )


def foresee_queue(
    state: State, queue_arn: QueueArn, arns: Sequence[EnvironmentArn]
) -> Iterator[str]:
    """Say which of the environments of a queue cannot be used, as far as they are known.

    One that is DISABLED beside others is meant to be.
    """
    known = [state.environments[arn] for arn in arns if arn in state.environments]
    unusable = [each for each in known if not _is_usable(each)]
    is_all = len(unusable) == len(arns)
    faults = [
        f"{name_in_arn(each.arn)} is INVALID: {each.fault}"
        if each.fault is not None
        else f"{name_in_arn(each.arn)} is DISABLED"
        for each in unusable
        if is_all or each.fault is not None
    ]
    if faults:
        which = "No" if is_all else "Not every"
        name, text = name_in_arn(queue_arn), "; ".join(faults)
        yield f"{which} environment of job queue {name} can be used now: {text}."


def foresee_definition(
    state: State, job: WaitingJob, kinds: Collection[EnvironmentKind]
) -> Iterator[str]:
    """Say that no environment of some kinds could ever run a job, whatever its state.

    Nothing is said where there is none yet, or one that somebody registers instances with.
    """
    environments = [each for each in state.environments.values() if each.kind in kinds]
    if any(each.is_unmanaged for each in environments):
        return
    usable = [
        changed(each, state=ResourceState.ENABLED, fault=None, is_draining=False)
        for each in environments
    ]
    reasons = list(_reasons_in(state, usable, job))
    if reasons and all(each.cause is not Cause.NOTHING for each in reasons):
        texts = " ".join(each.text for each in reasons[:_ENVIRONMENTS_TOLD_MAX])
        more = len(reasons) - _ENVIRONMENTS_TOLD_MAX
        rest = f" And so with {more} more." if more > 0 else ""
        yield f"No compute environment that there is can run it: {texts}{rest}"


def foresee_environment(state: State, wanted: PutEnvironment) -> Iterator[str]:
    """Say what will keep an environment from starting anything, or makes it smaller than asked."""
    name = name_in_arn(wanted.arn)
    if wanted.fault is not None:
        yield f"Compute environment {name} will be INVALID: {wanted.fault}."
        return
    yield from _left_without(state, wanted)
    if not wanted.cpu_milli_max and wanted.kind.is_fargate:
        yield f"maxvCpus of {name} is 0: nothing ever starts in it."
    if wanted.launching is None:
        return
    yield from _too_low_bid(name, wanted.launching)
    machines = [host.capacity for host in state.hosts.values()]
    seen = types_on(wanted.launching.types, machines)
    yield from _above_max(name, wanted.launching, seen, wanted.cpu_milli_max)
    have, least = sum(each.cpu_milli for each in machines), wanted.launching.cpu_milli_min
    if least > have:
        yield (
            f"minvCpus {least // _MILLI} of {name} is more than the machines have:"
            f" {have // _MILLI}."
        )
    if machines and len(seen) == 1 and seen[0] not in wanted.launching.types:
        yield (
            f"No machine has room for any instance type of {name}, even when empty: {seen[0].name}"
            f" is launched with no more than {_amount(seen[0].capacity)}."
        )


def _left_without(state: State, wanted: PutEnvironment) -> Iterator[str]:
    """Say which queues have no other environment that can be used than one that is DISABLED."""
    if wanted.state is not ResourceState.DISABLED:
        return
    for queue in state.queues.values():
        others = [
            state.environments[arn]
            for arn in queue.environment_arns
            if arn != wanted.arn and arn in state.environments
        ]
        if wanted.arn in queue.environment_arns and not any(map(_is_usable, others)):
            yield f"Job queue {name_in_arn(queue.arn)} has no environment that can be used then."


def _is_usable(environment: Environment) -> bool:
    return environment.fault is None and environment.state is ResourceState.ENABLED


def _too_low_bid(name: str, launching: LaunchSettings) -> Iterator[str]:
    """Say that no Spot capacity costs as little as an environment pays."""
    bids = [
        (bid, each.name)
        for each in launching.types
        if (bid := bid_percent_for(each)) is not None and launching.bid_percent is not None
    ]
    if not launching.is_spot or any(each.is_launchable for each in launching.types):
        return
    text = f"No Spot capacity is there at what {name} pays"
    if bids:
        least, kind = min(bids)
        text += f" (bidPercentage {launching.bid_percent}): {kind}, the nearest, needs {least}"
    yield f"{text}."


def _environment_reasons(state: State, queue: Queue, job: WaitingJob) -> Iterator[Reason]:
    found = (state.environments.get(arn) for arn in queue.environment_arns)
    yield from _reasons_in(state, [each for each in found if each is not None], job)


def _reasons_in(
    state: State, environments: Sequence[Environment], job: WaitingJob
) -> Iterator[Reason]:
    machines = state.remembered.machines_like([host.capacity for host in state.hosts.values()])
    hosts = [
        HostView(host_id=host.id, capacity=host.capacity, used=Amount())
        for host in state.hosts.values()
    ]
    for environment in environments:
        empty = _emptied(view_environment(state, environment, machines))
        if environment.is_unmanaged:
            records = (state.instances[each].record for each in environment.instances)
            empty = replace(empty, ready={each.capacity: (each.id,) for each in records})
        yield why_out_of(environment, empty, job, hosts)


def _emptied(view: EnvironmentView) -> EnvironmentView:
    launching = view.launching
    if launching is not None:
        launching = replace(launching, cpu_milli_launched=0, is_above_max=False)
    return replace(
        view, launching=launching, cpu_milli_used=0, instances_used={}, ready={}, starting={}
    )


def _above_quota(queue: Queue, job: WaitingJob, name: str) -> Iterator[str]:
    """Say that a quota share has too little for the job, whatever is lent to it."""
    share = (queue.quota_shares or {}).get(name)
    use = counted_use(queue, job.use)
    if share is None or quota_accounts_of(queue).why_never(name, use) is None:
        return
    terms = share.terms
    above = "; ".join(
        f"asked {asked / _MILLI:g} {unit}, its limit is {terms.limit(unit) / _MILLI:g}"
        for unit, asked in use.items()
        if asked > terms.limit(unit)
    )
    rest = "it does not borrow" if terms.borrow_percent is None else "it cannot borrow the rest"
    yield f"The job can never start in quota share {name}: {above}, and {rest}."


def _has_no_weight(queue: Queue, share_identifier: str) -> bool:
    """Tell whether a policy that gives weights gives none to a share."""
    policy = queue.policy
    if policy is None or not policy.weights:
        return False
    return policy.weight_of(share_identifier) is None


def _short_for_ever(state: State, job: WaitingJob) -> Iterator[str]:
    """Name the consumable resources of which there is less in all than the job takes."""
    for need in job.needs:
        found = state.consumables.get(need.arn)
        there = 0 if found is None else found.given - found.used_up
        if there < need.quantity:
            name = name_in_arn(need.arn)
            yield f"Asked {need.quantity} of {name}; there are {max(0, there)} in all."


def _above_max(
    name: str, launching: LaunchSettings, types: Sequence[InstanceType], cpu_milli_max: int
) -> Iterator[str]:
    if may_exceed_max(launching.strategy, is_spot=launching.is_spot) and cpu_milli_max:
        return
    smallest = min(types, key=_vcpus_of, default=None)
    if smallest is not None and smallest.capacity.cpu_milli > cpu_milli_max:
        yield (
            f"No instance type of {name} is within maxvCpus {cpu_milli_max // _MILLI}: the"
            f" smallest, {smallest.name}, has {smallest.capacity.cpu_milli // _MILLI} vCPUs."
        )


def _vcpus_of(kind: InstanceType) -> tuple[int, str]:
    return kind.capacity.cpu_milli, kind.name


def _amount(amount: Amount) -> str:
    return amount.text() if amount.gpu_count else f"{amount.text()} and no GPU"
