"""What is seen of a run from outside, and the rules that it must keep.

Reads the committed events alone, and what callers asked; the rules are written down here a second
time, in another way than the core has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchyard.core import events as e
from batchyard.model.amounts import Amount
from batchyard.model.ids import (
    EnvironmentArn,
    HostId,
    JobId,
    TaskId,
    child_id,
    is_part_id,
    name_in_arn,
    node_id,
    split_part_id,
    whole_id_of,
)
from batchyard.model.instances import InstanceId
from batchyard.model.status import JobStatus as S
from tests.property.world import ConsumableLedger


class Broken(Exception):
    """A rule does not hold."""


def demand(is_true: bool, what: str) -> None:
    if not is_true:
        raise Broken(what)


@dataclass(slots=True)
class Seen:
    """What is known of a job, child or node."""

    status: S
    attempt: int | None = None
    last_number: int = 0
    #: What it holds where; of a multi-node job by the index of the node.
    held: dict[int, tuple[HostId, InstanceId | None, Amount]] = field(default_factory=dict)
    environment: EnvironmentArn | None = None


class Observer:
    """The memory of a run."""

    def __init__(self) -> None:
        self.accepted: dict[JobId, e.JobAccepted] = {}
        self.jobs: dict[JobId, Seen] = {}
        self.consumables = ConsumableLedger()
        #: Children of arrays that have begun to move, whose others move as the array says.
        self.spawned: dict[JobId, S] = {}
        self.job_by_task: dict[TaskId, JobId] = {}
        self.ended_tasks: set[TaskId] = set()
        #: Jobs, children and nodes whose live attempt is to stop.
        self.stopping: set[JobId] = set()
        self.hosts: dict[HostId, Amount] = {}
        self.host_used: dict[HostId, Amount] = {}
        self.instances: dict[InstanceId, Amount] = {}
        self.instance_host: dict[InstanceId, HostId] = {}
        self.instance_used: dict[InstanceId, Amount] = {}
        self.fargate_max: dict[EnvironmentArn, int] = {}
        self.fargate_used: dict[EnvironmentArn, int] = {}
        #: Names of what was in transition when the server died last: the next one takes it as it
        #: was asked to become, and says later that it has.
        self.as_asked: set[str] = set()
        #: What callers asked, by the name of the job.
        self.requests: dict[str, Mapping[str, Any]] = {}
        self.name_by_id: dict[JobId, str] = {}
        self.id_by_name: dict[str, JobId] = {}

    # -- what the machine does --------------------------------------------------------------------

    def is_stopping(self, task_id: TaskId) -> bool:
        """Tell whether the machine is to be told to stop a task, if it was not yet."""
        return self.job_by_task.get(task_id) in self.stopping

    def see_accepted(self, task_id: TaskId, live: Iterable[TaskId]) -> None:
        """A machine takes a task: one that nobody gave up, and alone for its job."""
        demand(task_id not in self.ended_tasks, f"task {task_id} starts after its end")
        job_id = self.job_by_task.get(task_id)
        demand(job_id is not None, f"task {task_id} starts before its placing is durable")
        for other in live:
            same = self.job_by_task.get(other) == job_id
            demand(not same, f"two tasks of {job_id} live at once: {other} and {task_id}")

    # -- what became true -------------------------------------------------------------------------

    def see(self, event: e.Event) -> None:
        self.consumables.see(event)
        if isinstance(event, e.JobFact):
            self._see_job(event)
        else:
            self._see_resource(event)

    def has_attempt(self, job_id: JobId) -> bool:
        """Tell whether an attempt of the job, child or node is placed and has not ended."""
        found = self.jobs.get(job_id)
        return found is not None and found.attempt is not None

    def final(self, job_id: JobId) -> S | None:
        """Tell how a job or child ended; None: it has not."""
        found = self.jobs.get(job_id)
        if found is not None:
            return found.status if found.status.is_terminal else None
        if is_part_id(job_id):
            rest = self.spawned.get(whole_id_of(job_id))
            return rest if rest is not None and rest.is_terminal else None
        return None

    def _see_job(self, event: e.JobFact) -> None:
        job_id = event.job_id
        match event:
            case e.JobAccepted():
                demand(job_id not in self.accepted, f"{job_id} is taken in twice")
                self.accepted[job_id] = event
                self.jobs[job_id] = Seen(status=event.status)
            case e.ChildrenSpawned():
                self.spawned[job_id] = event.status
            case e.RestFailed():
                self.spawned[job_id] = S.FAILED
            case e.JobMarked() | e.JobReasonChanged():
                self._at(job_id)  # A child that this is about belongs to the rest no more.
            case e.JobBecameRunnable():
                self._move(job_id, S.RUNNABLE, S.PENDING)
            case e.JobRetried():
                self._move(job_id, S.RUNNABLE, S.STARTING, S.RUNNING, S.SCHEDULED)
            case e.JobSucceeded():
                before = (S.PENDING,) if self._is_array(job_id) else (S.RUNNING,)
                self._move(job_id, S.SUCCEEDED, *before)
                self._see_end(job_id)
            case e.JobFailed():
                alive = (S.SUBMITTED, S.PENDING, S.RUNNABLE, S.SCHEDULED, S.STARTING, S.RUNNING)
                self._move(job_id, S.FAILED, *alive)
                self._see_end(job_id)
            case _:
                self._see_attempt(event)

    def _see_attempt(self, event: e.JobFact) -> None:
        job_id = event.job_id
        match event:
            case e.AttemptPlaced():
                self._see_placed(event)
            case e.NodePlaced():
                parent, place = self.jobs[whole_id_of(job_id)], split_part_id(job_id)[1]
                demand(parent.attempt == event.number, f"{job_id} begins outside an attempt")
                before = self.jobs.get(job_id, Seen(status=S.RUNNABLE))
                demand(before.last_number < event.number, f"{job_id} repeats an attempt")
                is_kept = self.accepted[whole_id_of(job_id)].capacity_use or place in parent.held
                demand(bool(is_kept), f"{job_id} begins on what is not kept for it")
                self.jobs[job_id] = Seen(
                    status=S.STARTING, attempt=event.number, last_number=event.number
                )
                self.job_by_task[event.task_id] = job_id
            case e.AttemptTaken():
                self._move(job_id, S.STARTING, S.SCHEDULED)
            case e.AttemptFetching():
                self._move(job_id, S.STARTING, S.STARTING)
            case e.AttemptStarted():
                demand(self._at(job_id).attempt is not None, f"{job_id} starts without an attempt")
                self._move(job_id, S.RUNNING, S.STARTING, S.SCHEDULED)
            case e.AttemptStopping():
                self._see_stopping(job_id)
            case e.AttemptEnded():
                self._see_attempt_ended(job_id)
            case _:
                pass

    def _see_placed(self, event: e.AttemptPlaced) -> None:
        job_id, seen = event.job_id, self._at(event.job_id)
        demand(seen.attempt is None, f"{job_id} has two attempts at once")
        demand(event.number > seen.last_number, f"{job_id} has attempt {event.number} again")
        is_training = bool(self.accepted[whole_id_of(job_id)].capacity_use)
        self._move(job_id, S.SCHEDULED if is_training else S.STARTING, S.RUNNABLE)
        seen.attempt = seen.last_number = event.number
        self.job_by_task[event.task_id] = job_id
        for each in self.conditions_of(job_id):
            how = self.final(each)
            demand(how is S.SUCCEEDED, f"{job_id} starts, and {each} is {how}")
        accepted = self.accepted[whole_id_of(job_id)]
        if accepted.capacity_use:
            return  # What a training job has of its host is the core's to say.
        plan = accepted.nodes
        demands = [accepted.demand]
        if plan is not None:
            demands = [group.demand for group in plan.groups for _ in range(group.count)]
        hosts = event.node_hosts or (event.host_id,)
        instances = event.node_instances or (event.instance_id,)
        on = instances if instances != (None,) else (None,) * len(hosts)
        slots = zip(hosts, on, demands, strict=True)
        seen.held, seen.environment = dict(enumerate(slots)), event.environment_arn
        self._hold(job_id, seen)

    def _hold(self, job_id: JobId, seen: Seen) -> None:
        for host_id, instance_id, amount in seen.held.values():
            if instance_id is None:
                used = self._add_to_host(host_id, amount)
                demand(used.fits_in(self.hosts[host_id]), f"{job_id} over-fills {host_id}")
            else:
                used = self.instance_used[instance_id] + amount
                self.instance_used[instance_id] = used
                room = self.instances[instance_id]
                demand(used.fits_in(room), f"{job_id} over-fills {instance_id}")
        arn = seen.environment
        if arn in self.fargate_max:
            self.fargate_used[arn] += sum(amount.cpu_milli for _, _, amount in seen.held.values())
            is_within = self.fargate_used[arn] <= self.fargate_max[arn]
            is_within |= name_in_arn(arn) in self.as_asked
            demand(is_within, f"{job_id} goes beyond maxvCpus of {arn}")

    def _see_stopping(self, job_id: JobId) -> None:
        """What was kept for nodes that have not begun is free again: they never will."""
        seen = self._at(job_id)
        demand(seen.attempt is not None, f"{job_id} stops without an attempt")
        self.stopping.add(job_id)
        if self.accepted[whole_id_of(job_id)].nodes is None or is_part_id(job_id):
            return
        for place in list(seen.held):
            node = self.jobs.get(node_id(job_id, place))
            if node is None or node.last_number != seen.attempt:
                self._free(seen, place)

    def _see_attempt_ended(self, job_id: JobId) -> None:
        seen = self._at(job_id)
        demand(seen.attempt is not None, f"{job_id} ends an attempt that there is not")
        self.stopping.discard(job_id)
        seen.attempt = None
        for task_id in [each for each, of in self.job_by_task.items() if of == job_id]:
            self.ended_tasks.add(task_id)
        holder = self.jobs[whole_id_of(job_id)] if "#" in job_id else seen
        places = [split_part_id(job_id)[1]] if "#" in job_id else list(holder.held)
        for place in places:
            if place in holder.held:
                self._free(holder, place)

    def _free(self, holder: Seen, place: int) -> None:
        host_id, instance_id, amount = holder.held.pop(place)
        if instance_id is None:
            self.host_used[host_id] -= amount
        elif instance_id in self.instance_used:
            self.instance_used[instance_id] -= amount
        if holder.environment in self.fargate_used:
            self.fargate_used[holder.environment] -= amount.cpu_milli

    def _see_resource(self, event: e.Event) -> None:
        if isinstance(event, e.EnvironmentSettled | e.QueueSettled):
            self.as_asked.discard(name_in_arn(event.arn))
        elif isinstance(event, e.QuotaShareSettled):
            self.as_asked.discard(event.terms.name)
        match event:
            case e.HostChanged():
                self.hosts[event.host_id] = event.capacity
                self.host_used.setdefault(event.host_id, Amount())
            case e.InstanceLaunched():
                record = event.record
                demand(record.id not in self.instances, f"{record.id} is launched twice")
                self.instances[record.id] = record.capacity
                self.instance_host[record.id] = record.host_id
                self.instance_used[record.id] = Amount()
                used = self._add_to_host(record.host_id, record.capacity)
                demand(used.fits_in(self.hosts[record.host_id]), f"{record.id} over-fills its host")
            case e.InstanceTerminated():
                instance_id = event.instance_id
                used = self.instance_used.pop(instance_id)
                demand(used == Amount(), f"{instance_id} ends with {used} in use")
                self.host_used[self.instance_host[instance_id]] -= self.instances[instance_id]
            case e.EnvironmentSettled() if event.kind.is_fargate:
                self.fargate_max[event.arn] = event.cpu_milli_max
                self.fargate_used.setdefault(event.arn, 0)
            case _:
                pass

    def _add_to_host(self, host_id: HostId, amount: Amount) -> Amount:
        self.host_used[host_id] = self.host_used.get(host_id, Amount()) + amount
        return self.host_used[host_id]

    # -- jobs -------------------------------------------------------------------------------------

    def conditions_of(self, job_id: JobId) -> list[JobId]:
        """Name what must have succeeded before a job or child starts: as its caller asked."""
        whole = whole_id_of(job_id)
        request = self.requests.get(self.name_by_id.get(whole, ""), {})
        found: list[JobId] = []
        index = split_part_id(job_id)[1] if is_part_id(job_id) else None
        for each in request.get("dependsOn", ()):
            kind = each.get("type")
            if kind == "SEQUENTIAL":
                found += [child_id(whole, index - 1)] if index else []
            elif kind == "N_TO_N" and index is not None:
                found.append(child_id(JobId(each["jobId"]), index))
            else:
                found.append(JobId(each["jobId"]))
        return found

    def _at(self, job_id: JobId) -> Seen:
        found = self.jobs.get(job_id)
        if found is None:
            demand(is_part_id(job_id), f"{job_id} was never taken in")
            parent = self.jobs[whole_id_of(job_id)]
            demand(not parent.status.is_terminal, f"{job_id} moves and its array has ended")
            rest = self.spawned.get(whole_id_of(job_id), S.PENDING)
            found = self.jobs[job_id] = Seen(status=rest)
        return found

    def _move(self, job_id: JobId, after: S, *before: S) -> None:
        seen = self._at(job_id)
        demand(seen.status in before, f"{job_id} goes from {seen.status} to {after}")
        seen.status = after

    def _is_array(self, job_id: JobId) -> bool:
        return job_id in self.accepted and self.accepted[job_id].array_size is not None

    def _see_end(self, job_id: JobId) -> None:
        demand(self.jobs[job_id].attempt is None, f"{job_id} ended and an attempt lives")
        if not self._is_array(job_id) or job_id not in self.spawned:
            return
        size = self.accepted[job_id].array_size or 0
        ends = [self.final(child_id(job_id, index)) for index in range(size)]
        demand(None not in ends, f"{job_id} ended before its children: {ends}")
        all_good = all(each is S.SUCCEEDED for each in ends)
        demand((self.jobs[job_id].status is S.SUCCEEDED) == all_good, f"{job_id}: {ends}")
