"""Service jobs: what they have here of the instances that they ask for, and what their ends mean.

Decides by reference/jobs.md section 13 and docs/decisions/0015-service-jobs.md. Refuses to know the
request that they were submitted with.

Rules that hold here: a service job is a job with `capacity_use`; it runs in environments with
limits and in no other, within them; where the machines together are too small for what it asks,
each of its instances has an equal part of the largest machine, as decision 0010 has it for
instances of compute environments.
"""

from msgspec.structs import replace

from batchyard.core.state import Environment, Job, State
from batchyard.core.verdict import Verdict
from batchyard.model import wording
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import added, are_within, count_instances
from batchyard.model.records import NodeGroup, QueuedJob
from batchyard.scheduler.obstacles import fit_machines


def fitted(state: State, job: QueuedJob) -> QueuedJob:
    """Let a service job ask for no more than the machines have when they are empty."""
    if not job.capacity_use:
        return job
    nodes = job.nodes
    demands = (job.demand,) if nodes is None else nodes.demands()
    machines = [host.capacity for host in state.hosts.values()]
    if fit_machines(demands, machines):
        return job
    largest = max(
        machines,
        key=lambda each: (each.gpu_count, each.cpu_milli, each.memory_mib),
        default=Amount(),
    )
    most = Amount(
        cpu_milli=largest.cpu_milli // len(demands),
        memory_mib=largest.memory_mib // len(demands),
        gpu_count=largest.gpu_count // len(demands),
    )
    if not (most.cpu_milli and most.memory_mib):
        return job
    if nodes is None:
        return replace(job, demand=_at_most(job.demand, most))
    groups = tuple(
        NodeGroup(count=each.count, demand=_at_most(each.demand, most)) for each in nodes.groups
    )
    smaller = replace(nodes, groups=groups)
    return replace(job, demand=sum(smaller.demands(), Amount()), nodes=smaller)


def may_use(environment: Environment, job: Job) -> bool:
    """Tell whether an environment is of the job's kind, and what it may use still allows it."""
    if environment.limits is None:
        return not job.is_service
    more = count_instances(job.capacity_use)
    return job.is_service and are_within(
        added(environment.instances_used, more), environment.limits
    )


def why_training_ended(verdict: Verdict, message: str | None) -> str:
    """Say how a training job ended that nobody stopped; `message` is what its program left."""
    if verdict.is_success:
        return wording.TRAINING_COMPLETED
    return wording.training_failed(message or verdict.reason or "", verdict.exit_code)


def _at_most(demand: Amount, most: Amount) -> Amount:
    return Amount(
        cpu_milli=min(demand.cpu_milli, most.cpu_milli),
        memory_mib=min(demand.memory_mib, most.memory_mib),
        gpu_count=min(demand.gpu_count, most.gpu_count),
    )
