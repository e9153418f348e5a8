"""What keeps a job that got no room, and where it could ever be.

Decides the cause that is told, the most lasting one first (reference/jobs.md section 1.5). Refuses
to change anything.
"""

from collections.abc import Iterable, Mapping, Sequence

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import are_within
from batchyard.scheduler.allocation import may_exceed_max
from batchyard.scheduler.ledger import Ledger
from batchyard.scheduler.plan import BlockedHead, Obstacle
from batchyard.scheduler.view import EnvironmentView, HostView, QueueView, View, WaitingJob


def find_obstacle(job: WaitingJob, queue: QueueView, view: View, ledger: Ledger) -> BlockedHead:
    """Say what keeps a job that was not placed."""
    obstacle, missing = find_lasting_obstacle(job, queue.environments, view.hosts), None
    if obstacle is None:
        obstacle, missing = find_passing_obstacle(job, queue, ledger)
    return BlockedHead(
        queue_arn=queue.arn, job_id=job.job_id, obstacle=obstacle, instance_type=missing
    )


def find_lasting_obstacle(
    job: WaitingJob, environments: Sequence[EnvironmentView], hosts: Sequence[HostView]
) -> Obstacle | None:
    """Say what keeps a job whatever else runs; None: nothing does."""
    usable = [each for each in environments if each.is_valid and each.is_enabled]
    if not any(each.is_valid for each in environments):
        return Obstacle.NO_VALID_ENVIRONMENT
    if not usable:
        return Obstacle.NO_ENABLED_ENVIRONMENT
    if all(is_above_limits(each, job.instances) for each in usable):
        return Obstacle.ABOVE_SERVICE_ENVIRONMENT_MAX
    if all(_is_above_max(each, job) for each in usable):
        return Obstacle.ABOVE_ENVIRONMENT_MAX
    if not any(can_ever_hold(each, job, hosts) for each in usable):
        return Obstacle.ABOVE_HOST_CAPACITY
    return None


def find_passing_obstacle(
    job: WaitingJob, queue: QueueView, ledger: Ledger
) -> tuple[Obstacle, str | None]:
    """Say what keeps a job for now, and the type of which an instance is missing, if one is."""
    usable = [each for each in queue.environments if each.is_valid and each.is_enabled]
    if any(ledger.lacks_only_room(each, job) for each in usable):
        return Obstacle.INSUFFICIENT_INSTANCE_CAPACITY, None
    missing = _missing_type(job, usable, ledger)
    if missing is None:
        return Obstacle.CAPACITY_IN_USE, None
    return Obstacle.INSUFFICIENT_INSTANCE_CAPACITY, missing


def _is_above_max(environment: EnvironmentView, job: WaitingJob) -> bool:
    """Tell whether `maxvCpus` keeps the job out, or every instance that it fits."""
    if environment.is_unbounded or environment.limits is not None:
        return False
    if job.demand.cpu_milli > environment.cpu_milli_max:
        return True
    terms = environment.launching
    if terms is None or may_exceed_max(terms.strategy, is_spot=terms.is_spot):
        return False
    fitting = [each for each in terms.types if job.demands[0].fits_in(each.capacity)]
    return bool(fitting) and all(
        each.capacity.cpu_milli > environment.cpu_milli_max for each in fitting
    )


def can_ever_hold(environment: EnvironmentView, job: WaitingJob, hosts: Sequence[HostView]) -> bool:
    """Tell whether a job fits an environment that nobody else uses.

    Whether a machine has room for the instances is not asked: another machine may come.
    """
    demands = job.demands
    if environment.is_unbounded:
        return True  # Somebody may register what it takes.
    if environment.limits is not None:
        is_within = not is_above_limits(environment, job.instances)
        return is_within and fit_machines(demands, [host.capacity for host in hosts])
    if sum(demand.cpu_milli for demand in demands) > environment.cpu_milli_max:
        return False
    if environment.launching is not None:
        return all(map(environment.launching.order.may_hold, demands))
    if environment.has_instances:
        return True  # Somebody else brings the instances.
    return fit_machines(demands, [host.capacity for host in hosts])


def is_above_limits(environment: EnvironmentView, instances: Mapping[str, int]) -> bool:
    """Tell whether a service environment keeps a job out that takes so many instances."""
    return environment.limits is not None and not are_within(instances, environment.limits)


def fit_machines(demands: Sequence[Amount], machines: Iterable[Amount]) -> bool:
    """Tell whether empty machines have room for all demands at once, each on the first that has."""
    free = list(machines)
    for demand in demands:
        at = next((index for index, each in enumerate(free) if demand.fits_in(each)), None)
        if at is None:
            return False
        free[at] -= demand
    return True


def _missing_type(job: WaitingJob, usable: Sequence[EnvironmentView], ledger: Ledger) -> str | None:
    """Name the type that would be launched for the job if there were room; None: none would."""
    for environment in usable:
        for demand in job.demands:
            kind = ledger.could_launch(environment, demand)
            if kind is not None:
                return kind.name
    return None
