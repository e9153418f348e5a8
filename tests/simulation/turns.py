"""Whose turn it is, judged a second time: order in line, states of environments, shares, sizes.

Decides only where the rule leaves no doubt: two jobs of a queue in line that ask for the same must
start in the order in which they came, unless the earlier one has room on an instance that is
starting in an environment that comes before. Refuses to know which of two different jobs fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batchyard.core import events as e
from batchyard.model.amounts import Amount
from batchyard.model.ids import (
    EnvironmentArn,
    JobId,
    QueueArn,
    is_part_id,
    name_in_arn,
    split_part_id,
    whole_id_of,
)
from batchyard.model.instances import InstanceId
from batchyard.model.status import EnvironmentKind, ResourceState
from batchyard.scheduler.quota import UNLIMITED
from tests.simulation.observer import Observer, demand

_VCPU = "VCPU"
#: AWS's: these may go beyond `maxvCpus` by one instance, and by no more.
_MAY_EXCEED = (EnvironmentKind.EC2, EnvironmentKind.SPOT)


@dataclass(slots=True)
class _Share:
    """A quota share: what it may hold, and what it holds, in thousandths of a vCPU."""

    limit: int
    #: None: whatever the others leave idle.
    most: int | None
    held: dict[JobId, int] = field(default_factory=dict)


class Turns:
    """Judges each placement and each launch."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._queues: dict[QueueArn, e.QueueSettled] = {}
        self._environments: dict[EnvironmentArn, e.EnvironmentSettled] = {}
        #: RUNNABLE jobs and children of queues in line, with their place; none that came back.
        self._waiting: dict[JobId, tuple[int, int]] = {}
        self._launched: dict[InstanceId, e.InstanceLaunched] = {}
        self._starting: dict[InstanceId, e.InstanceLaunched] = {}
        self._shares: dict[tuple[QueueArn, str], _Share] = {}

    def see(self, event: e.Event) -> None:
        match event:
            case e.QueueSettled():
                self._queues[event.arn] = event
            case e.EnvironmentSettled():
                self._environments[event.arn] = event
            case e.QuotaShareSettled():
                self._see_share(event)
            case e.InstanceLaunched():
                self._see_launched(event)
            case e.InstanceTerminated():
                self._launched.pop(event.instance_id, None)
                self._starting.pop(event.instance_id, None)
            case e.InstanceReady() | e.InstanceDraining():
                self._starting.pop(event.instance_id, None)
            case e.AttemptPlaced():
                self._see_environment(event)
                self._see_line(event)
                self._see_quota(event)
            case e.AttemptEnded():
                for share in self._shares.values():
                    share.held.pop(event.job_id, None)
            case _:
                self._see_runnable(event)

    def _see_runnable(self, event: e.Event) -> None:
        match event:
            case e.JobAccepted() if event.status == "RUNNABLE":
                self._waiting[event.job_id] = (event.seq, 0)
            case e.JobBecameRunnable():
                self._waiting[event.job_id] = self._place_of(event.job_id)
            case e.JobFailed() | e.JobRetried():
                self._waiting.pop(event.job_id, None)
            case _:
                pass

    def _place_of(self, job_id: JobId) -> tuple[int, int]:
        index = split_part_id(job_id)[1] if is_part_id(job_id) else 0
        return self._of(job_id).seq, index

    def _of(self, job_id: JobId) -> e.JobAccepted:
        return self._observer.accepted[whole_id_of(job_id)]

    def _see_environment(self, event: e.AttemptPlaced) -> None:
        """What is in transition when the server dies comes back as it was asked to become."""
        queue_arn, arn = self._of(event.job_id).queue_arn, event.environment_arn
        environment, queue = self._environments.get(arn), self._queues.get(queue_arn)
        if name_in_arn(arn) not in self._observer.as_asked:
            is_on = environment is not None and environment.state is ResourceState.ENABLED
            is_on &= environment is not None and environment.fault is None
            demand(is_on, f"{event.job_id} begins in {arn}, which is off")
        if name_in_arn(queue_arn) not in self._observer.as_asked:
            is_its_own = queue is not None and arn in queue.environment_arns
            demand(is_its_own, f"{event.job_id} begins in {arn}, not of its queue")

    def _see_line(self, event: e.AttemptPlaced) -> None:
        mine, place = self._of(event.job_id), self._waiting.pop(event.job_id, None)
        queue = self._queues.get(mine.queue_arn)
        if place is None or queue is None or mine.nodes is not None:
            return
        is_in_line = queue.policy_arn is None and not queue.has_quota_shares
        if not is_in_line or event.environment_arn not in queue.environment_arns:
            return
        passed = [
            other_id
            for other_id, before in self._waiting.items()
            if before < place and _is_like(self._of(other_id), mine)
        ]
        coming = self._coming_before(queue, event.environment_arn, mine.demand)
        demand(
            len(passed) <= coming,
            f"{event.job_id} begins before {passed}, which came earlier; {coming} of them have"
            " room on instances that are starting in an environment before",
        )

    def _coming_before(
        self, queue: e.QueueSettled, environment_arn: EnvironmentArn, each: Amount
    ) -> int:
        """Count the jobs that instances have room for that start in environments before one."""
        rank = queue.environment_arns.index(environment_arn)
        before = queue.environment_arns[:rank]
        rooms = (
            launched.record.capacity
            for launched in self._starting.values()
            if launched.record.environment_arn in before
        )
        return sum(_count_in(room, each) for room in rooms)

    def _see_launched(self, event: e.InstanceLaunched) -> None:
        environment = self._environments.get(event.record.environment_arn)
        if environment is not None and environment.kind in _MAY_EXCEED:
            there = sum(
                each.record.capacity.cpu_milli
                for each in self._launched.values()
                if each.record.environment_arn == environment.arn
            )
            is_within = there < environment.cpu_milli_max
            demand(is_within, f"{event.record.id} is launched, and maxvCpus is reached")
        self._launched[event.record.id] = event
        self._starting[event.record.id] = event

    def _see_share(self, event: e.QuotaShareSettled) -> None:
        limit, percent = event.terms.limits.get(_VCPU, 0), event.terms.borrow_percent
        most = None if percent == UNLIMITED else limit + limit * (percent or 0) // 100
        share = self._shares.setdefault((event.arn, event.terms.name), _Share(0, 0))
        share.limit, share.most = limit, most

    def _see_quota(self, event: e.AttemptPlaced) -> None:
        job = self._of(event.job_id)
        if job.quota_share is None or job.capacity_use:
            return
        share = self._shares.setdefault((job.queue_arn, job.quota_share), _Share(0, 0))
        share.held[event.job_id] = job.demand.cpu_milli
        if any(name in self._observer.as_asked for _, name in self._shares):
            return
        if share.most is not None:
            held = sum(share.held.values())
            demand(held <= share.most, f"{event.job_id} goes beyond {share}")
        own = [each for (arn, _), each in self._shares.items() if arn == job.queue_arn]
        total = sum(sum(each.held.values()) for each in own)
        is_within = total <= sum(each.limit for each in own)
        demand(is_within, f"{event.job_id} begins, and the queue's shares hold {total}: {own}")


def _is_like(other: e.JobAccepted, mine: e.JobAccepted) -> bool:
    """Tell whether a job asks for the same as another of its queue, and for nothing besides."""
    is_like = other.queue_arn == mine.queue_arn and other.demand == mine.demand
    return is_like and other.nodes is None and not other.needs


def _count_in(room: Amount, each: Amount) -> int:
    """Count how often an amount fits."""
    pairs = (
        (room.cpu_milli, each.cpu_milli),
        (room.memory_mib, each.memory_mib),
        (room.gpu_count, each.gpu_count),
    )
    return min(there // asked for there, asked in pairs if asked)
