"""One scheduling round: who starts now.

Decides, from a view alone, which waiting jobs get which capacity. Refuses to know time and states.

Rules (reference/compute-and-scheduling.md sections 2.2 and 3.1):

1. Queues are served by priority, higher first. Queues of equal priority take turns, one job each,
   the older queue first.
2. Within a queue the order is strict: a head that cannot be placed keeps the head, and nothing
   behind it is placed. It takes nothing away from other queues.
3. A job goes to the first environment, in the queue's order, that is VALID, ENABLED and has room
   under `maxvCpus`, on the first host with room for all that the job asks.
4. The nodes of a multi-node job start together or not at all: each on the first host that has room
   for it beside those before it.

5. A job that needs consumable resources starts only where all of them are there; else it keeps the
   head like one without room.

The cost of a round follows what it places: O(placements + queues), not the length of the queues.
"""

from collections.abc import Sequence
from itertools import groupby

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId
from batchyard.scheduler.consumables import Stock
from batchyard.scheduler.plan import BlockedHead, Obstacle, Placement, Plan
from batchyard.scheduler.view import EnvironmentView, HostView, QueueView, View, WaitingJob


class _Ledger:
    """What is still free while a round gives capacity away."""

    def __init__(self, hosts: Sequence[HostView]) -> None:
        self._free_by_host: dict[HostId, Amount] = {
            host.host_id: host.capacity - host.used for host in hosts
        }
        self._taken_by_environment: dict[EnvironmentArn, int] = {}

    def take(self, job: WaitingJob, environments: Sequence[EnvironmentView]) -> Placement | None:
        """Reserve room for the job in the first environment and host that have it, if any."""
        for environment in environments:
            if not (environment.is_valid and environment.is_enabled):
                continue
            taken = self._taken_by_environment.get(environment.arn, 0)
            used = environment.cpu_milli_used + taken
            if used + job.demand.cpu_milli > environment.cpu_milli_max:
                continue
            hosts = self.take_hosts(job.node_demands or (job.demand,))
            if not hosts:
                return None  # Hosts are the same for every environment.
            self._taken_by_environment[environment.arn] = taken + job.demand.cpu_milli
            return Placement(
                job_id=job.job_id,
                environment_arn=environment.arn,
                host_id=hosts[job.main_index if job.node_demands else 0],
                node_hosts=tuple(hosts) if job.node_demands else (),
            )
        return None

    def take_hosts(self, demands: Sequence[Amount]) -> list[HostId]:
        """Reserve room for all demands, or for none: empty then."""
        hosts: list[HostId] = []
        for demand in demands:
            host_id = self._take_host(demand)
            if host_id is None:
                for taken_id, given in zip(hosts, demands, strict=False):
                    self._free_by_host[taken_id] += given
                return []
            hosts.append(host_id)
        return hosts

    def _take_host(self, demand: Amount) -> HostId | None:
        for host_id, free in self._free_by_host.items():
            if demand.fits_in(free):
                self._free_by_host[host_id] = free - demand
                return host_id
        return None


def plan_round(view: View) -> Plan:
    """Plan who starts now, by the rules in the module's head."""
    ledger = _Ledger(view.hosts)
    stock = Stock(view.available_of)
    placements: list[Placement] = []
    blocked: list[BlockedHead] = []
    in_order = sorted(view.queues, key=lambda queue: (-queue.priority, queue.seq))
    for _, equals in groupby(in_order, key=lambda queue: queue.priority):
        turns = list(equals)
        while turns:
            still_moving: list[QueueView] = []
            for queue in turns:
                job = queue.waiting.peek()
                if job is None:
                    continue
                has_all = stock.has(job.needs)
                is_held_back = queue.waiting.is_held_back()
                may_start = has_all and not is_held_back
                placement = ledger.take(job, queue.environments) if may_start else None
                if placement is None:
                    obstacle = find_obstacle(job, queue.environments, view.hosts)
                    if obstacle is Obstacle.CAPACITY_IN_USE:
                        obstacle = _what_else(has_all=has_all, is_held_back=is_held_back)
                    blocked.append(
                        BlockedHead(queue_arn=queue.arn, job_id=job.job_id, obstacle=obstacle)
                    )
                    continue
                stock.take(job.needs)
                queue.waiting.take()
                placements.append(placement)
                still_moving.append(queue)
            turns = still_moving
    return Plan(placements=tuple(placements), blocked=tuple(blocked))


def _what_else(*, has_all: bool, is_held_back: bool) -> Obstacle:
    """Say what keeps a job whose room some environment has, or will have."""
    if is_held_back:
        return Obstacle.RESERVED_FOR_OTHERS
    return Obstacle.CAPACITY_IN_USE if has_all else Obstacle.CONSUMABLE_UNAVAILABLE


def find_obstacle(
    job: WaitingJob, environments: Sequence[EnvironmentView], hosts: Sequence[HostView]
) -> Obstacle:
    """Say what keeps a job that was not placed; the most lasting cause comes first."""
    if not any(environment.is_valid for environment in environments):
        return Obstacle.NO_VALID_ENVIRONMENT
    usable = [each for each in environments if each.is_valid and each.is_enabled]
    if not usable:
        return Obstacle.NO_ENABLED_ENVIRONMENT
    if all(job.demand.cpu_milli > environment.cpu_milli_max for environment in usable):
        return Obstacle.ABOVE_ENVIRONMENT_MAX
    if not _would_fit_when_empty(job, hosts):
        return Obstacle.ABOVE_HOST_CAPACITY
    return Obstacle.CAPACITY_IN_USE


def _would_fit_when_empty(job: WaitingJob, hosts: Sequence[HostView]) -> bool:
    empty = _Ledger(
        [HostView(host_id=each.host_id, capacity=each.capacity, used=Amount()) for each in hosts]
    )
    return bool(empty.take_hosts(job.node_demands or (job.demand,)))
