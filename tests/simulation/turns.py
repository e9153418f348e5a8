"""Whose turn it is, judged a second time: order in line, states of environments, shares, sizes.

Decides only where the rule leaves no doubt: two jobs of a queue in line that ask for the same must
start in the order in which they came, unless the earlier one has room on an instance that is
starting in an environment that comes before; one that is tried again starts before those that never
ran; and the first of a queue before whoever asks for the same in one of lower priority. Refuses to
know which of two different jobs fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchyard.core import events as e
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import NUM_INSTANCES
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
        #: Those of any queue that are to be tried again.
        self._back: dict[JobId, None] = {}
        #: Arrays that have not ended: children that have no story may stand where they do.
        self._arrays: dict[JobId, None] = {}
        self._draining: set[QueueArn] = set()
        #: What training jobs hold of their environments, by instance type.
        self._training: dict[EnvironmentArn, dict[JobId, Mapping[str, int]]] = {}
        self._launched: dict[InstanceId, e.InstanceLaunched] = {}
        self._starting: dict[InstanceId, e.InstanceLaunched] = {}
        self._shares: dict[tuple[QueueArn, str], _Share] = {}

    def see(self, event: e.Event) -> None:
        match event:
            case e.AttemptPlaced():
                self._see_environment(event)
                self._see_line(event)
                self._see_other_queues(event)
                self._see_quota(event)
                self._see_instances(event)
            case e.AttemptEnded():
                for share in self._shares.values():
                    share.held.pop(event.job_id, None)
                for held in self._training.values():
                    held.pop(event.job_id, None)
            case e.JobFact():
                self._see_runnable(event)
            case _:
                self._see_resource(event)

    def _see_resource(self, event: e.Event) -> None:
        match event:
            case e.QueueSettled():
                self._queues[event.arn] = event
            case e.QueueDraining():
                self._draining.add(event.arn)
            case e.QueueDeleted():
                self._draining.discard(event.arn)
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
            case _:
                pass

    def _see_runnable(self, event: e.Event) -> None:
        match event:
            case e.JobAccepted() if event.array_size is not None:
                self._arrays[event.job_id] = None
            case e.JobAccepted() if event.status == "RUNNABLE":
                self._waiting[event.job_id] = (event.seq, 0)
            case e.JobBecameRunnable():
                self._waiting[event.job_id] = self._place_of(event.job_id)
            case e.JobRetried():
                self._back[event.job_id] = None
            case e.JobFailed() | e.JobSucceeded():
                for each in (self._waiting, self._back, self._arrays):
                    each.pop(event.job_id, None)
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
        self._back.pop(event.job_id, None)
        queue = self._queues.get(mine.queue_arn)
        if place is None or queue is None or mine.nodes is not None:
            return
        is_in_line = queue.policy_arn is None and not queue.has_quota_shares
        if not is_in_line or event.environment_arn not in queue.environment_arns:
            return
        passed = [
            other_id
            for other_id, before in self._waiting.items()
            if before < place and _is_like_here(self._of(other_id), mine)
        ]
        passed += [each for each in self._back if _is_like_here(self._of(each), mine)]
        coming = self._coming_before(queue, event.environment_arn, mine.demand)
        demand(
            len(passed) <= coming,
            f"{event.job_id} begins before {passed}, which came earlier; {coming} of them have"
            " room on instances that are starting in an environment before",
        )

    def _see_other_queues(self, event: e.AttemptPlaced) -> None:
        """The first in line of a queue of higher priority could have had this place."""
        mine = self._of(event.job_id)
        queue = self._queues.get(mine.queue_arn)
        if queue is None or mine.nodes is not None or queue.has_quota_shares:
            return
        for other in self._queues.values():
            is_before = other.priority > queue.priority
            if not is_before or event.environment_arn not in other.environment_arns:
                continue
            first_id = self._first_of(other)
            if first_id is None or self._is_changing(queue, other):
                continue
            if _is_like(self._of(first_id), mine):
                coming = self._coming_before(other, event.environment_arn, mine.demand)
                text = f"{event.job_id} begins before {first_id} of a queue of higher priority"
                demand(coming > 0, text)

    def _first_of(self, queue: e.QueueSettled) -> JobId | None:
        """Name who stands first in a queue in line; None: nobody does for sure."""
        is_in_line = queue.policy_arn is None and not queue.has_quota_shares
        if not is_in_line or queue.arn in self._draining:
            return None
        if any(self._is_in(each, queue) for each in self._back):
            return None
        own = [(place, each) for each, place in self._waiting.items() if self._is_in(each, queue)]
        if not own:
            return None
        (seq, _), first_id = min(own)
        before = (each for each in self._arrays if self._of(each).seq <= seq)
        return None if any(self._is_in(each, queue) for each in before) else first_id

    def _is_in(self, job_id: JobId, queue: e.QueueSettled) -> bool:
        return self._of(job_id).queue_arn == queue.arn

    def _is_changing(self, *queues: e.QueueSettled) -> bool:
        return any(name_in_arn(each.arn) in self._observer.as_asked for each in queues)

    def _see_instances(self, event: e.AttemptPlaced) -> None:
        """The instances of training jobs stay within the limits of their environment."""
        arn, uses = event.environment_arn, self._of(event.job_id).capacity_use
        if not uses:
            return
        held = self._training.setdefault(arn, {})
        held[event.job_id] = {each.unit: each.quantity for each in uses}
        environment = self._environments.get(arn)
        if environment is None or name_in_arn(arn) in self._observer.as_asked:
            return
        for unit, most in (environment.limits or {}).items():
            used = sum(
                quantity
                for each in held.values()
                for kind, quantity in each.items()
                if unit in (kind, NUM_INSTANCES)
            )
            demand(used <= most, f"{event.job_id} begins, and {arn} uses {used} of {most} {unit}")

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
    """Tell whether a job asks for the same as another, and for nothing besides."""
    is_alone = other.nodes is None and not other.needs
    return is_alone and (other.demand, other.capacity_use) == (mine.demand, mine.capacity_use)


def _is_like_here(other: e.JobAccepted, mine: e.JobAccepted) -> bool:
    """Tell the same of two of one queue."""
    return other.queue_arn == mine.queue_arn and _is_like(other, mine)


def _count_in(room: Amount, each: Amount) -> int:
    """Count how often an amount fits."""
    pairs = (
        (room.cpu_milli, each.cpu_milli),
        (room.memory_mib, each.memory_mib),
        (room.gpu_count, each.gpu_count),
    )
    return min(there // asked for there, asked in pairs if asked)
