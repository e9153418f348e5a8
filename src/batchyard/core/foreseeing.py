"""What can be told of a wish at once that will not come to anything, or not to what was meant.

Decides what is worth a warning when a job is submitted or a resource made: never a refusal, for AWS
gives none. A job is measured against the yard as it would be if nothing else were in it, so what is
told here no end of another job can mend. Refuses to know what runs. Costs O(environments + hosts),
whatever waits.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from batchyard.core.explaining import why_out_of
from batchyard.core.inputs import PutEnvironment
from batchyard.core.quota_books import counted_use, quota_accounts_of
from batchyard.core.state import Queue, State
from batchyard.core.viewing import view_environment
from batchyard.model.amounts import Amount
from batchyard.model.explanation import Cause, Reason
from batchyard.model.ids import EnvironmentArn, QueueArn, name_in_arn
from batchyard.model.instances import InstanceType, LaunchSettings
from batchyard.model.status import ResourceState
from batchyard.scheduler.allocation import may_exceed_max, types_on
from batchyard.scheduler.view import EnvironmentView, HostView, WaitingJob

_MILLI = 1000


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
    if causes == {Cause.ENVIRONMENT}:
        yield f"No environment of job queue {name_in_arn(queue_arn)} can be used now: {texts}"
    elif reasons and causes <= {Cause.NEVER_FITS, Cause.ENVIRONMENT}:
        yield f"The job can never start in job queue {name_in_arn(queue_arn)}: {texts}"
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
    """Say that none of the environments of a queue can be used, if they are known to be so."""
    known = [state.environments.get(arn) for arn in arns]
    faults = [
        f"{name_in_arn(each.arn)} is INVALID: {each.fault}"
        if each.fault is not None
        else f"{name_in_arn(each.arn)} is DISABLED"
        for each in known
        if each is not None and (each.fault is not None or each.state is ResourceState.DISABLED)
    ]
    if faults and len(faults) == len(arns):
        name, text = name_in_arn(queue_arn), "; ".join(faults)
        yield f"No environment of job queue {name} can be used now: {text}."


def foresee_environment(state: State, wanted: PutEnvironment) -> Iterator[str]:
    """Say what will keep an environment from starting anything, or makes it smaller than asked."""
    name = name_in_arn(wanted.arn)
    if wanted.fault is not None:
        yield f"Compute environment {name} will be INVALID: {wanted.fault}."
        return
    if wanted.launching is None:
        return
    machines = [host.capacity for host in state.hosts.values()]
    seen = types_on(wanted.launching.types, machines)
    yield from _above_max(name, wanted.launching, seen, wanted.cpu_milli_max)
    if machines and len(seen) == 1 and seen[0] not in wanted.launching.types:
        yield (
            f"No machine has room for any instance type of {name}, even when empty: {seen[0].name}"
            f" is launched with no more than {_amount(seen[0].capacity)}."
        )


def _environment_reasons(state: State, queue: Queue, job: WaitingJob) -> Iterator[Reason]:
    machines = state.remembered.machines_like([host.capacity for host in state.hosts.values()])
    hosts = [
        HostView(host_id=host.id, capacity=host.capacity, used=Amount())
        for host in state.hosts.values()
    ]
    for arn in queue.environment_arns:
        environment = state.environments.get(arn)
        if environment is not None:
            empty = _emptied(view_environment(state, environment, machines))
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
