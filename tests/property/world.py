"""A core with everything around it pretended: a store, a backend, and a memory of what was seen.

The store keeps what an engine would commit, in the form it would, so that a crash can be pretended
at any step: the state is made again from records alone. The memory checks each event as it comes,
against rules written down a second time and in another way than the core has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy

from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import StartTask, StopTask
from batchyard.core.evolve import evolve
from batchyard.core.quota_books import (
    counted_use,
    quota_accounts_of,
    quota_memory_of,
    quota_shares_of,
)
from batchyard.core.remembered import Remembered
from batchyard.core.restore import StoredParts, restore_instances, restore_jobs, resume
from batchyard.core.state import Job, Queue, State, child_status
from batchyard.core.step import step
from batchyard.core.turn import Outcome
from batchyard.core.viewing import do_heads_stand, view_of
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    QueueArn,
    TaskId,
    child_id,
    is_part_id,
    split_part_id,
    whole_id_of,
)
from batchyard.model.instances import InstanceId
from batchyard.model.records import (
    ConsumableNeed,
    InstanceRecord,
    JobProgress,
    QueuedJob,
    ShareRecord,
    TimeLimit,
)
from batchyard.model.status import JobStatus
from batchyard.scheduler.quota import Accounts
from batchyard.scheduler.round import plan_round
from batchyard.store import codec
from tests.builders import run_round
from tests.property.fairness import Fairness
from tests.property.inventories import Inventories

#: Told of a job, but no sign that something happened to it alone.
_SILENT = (e.DependencyEnded, e.ChildrenDoomed)


GIVEN_UP = " by JobStateTimeLimit action due to reason: "


class PretendedStore:
    """Records as they would lie in the tables `jobs` and `children`."""

    def __init__(self) -> None:
        self.job_by_id: dict[JobId, QueuedJob] = {}
        self.progress_by_id: dict[JobId, bytes] = {}
        #: Consumable resources that are there, as a caller wants them; `used_up` is the engine's.
        self.consumables: dict[ConsumableArn, i.PutConsumable] = {}
        self.shares: dict[tuple[QueueArn, str], ShareRecord] = {}
        self.instances: dict[InstanceId, InstanceRecord] = {}
        self.launch_counts: dict[EnvironmentArn, int] = {}

    def commit(self, outcome: Outcome) -> None:
        for job_id, progress in outcome.changed.items():
            self.progress_by_id[job_id] = codec.encode_progress(progress)
        for arn, each in outcome.consumables.items():
            if arn in self.consumables:
                self.consumables[arn] = replace(self.consumables[arn], used_up=each.used_up)
        for key, share in outcome.shares.items():
            if share is None:
                self.shares.pop(key, None)
            else:
                self.shares[key] = share
        for event in outcome.events:
            self._note_resource(event)

    def _note_resource(self, event: e.Event) -> None:
        match event:
            case e.QueueDeleted():
                for key in [key for key in self.shares if key[0] == event.arn]:
                    del self.shares[key]
            case e.InstanceLaunched():
                record = event.record
                assert record.id not in self.instances, "an instance was launched twice"
                self.instances[record.id] = record
                self.launch_counts[record.environment_arn] = event.launch_count
            case e.InstanceDraining():
                self.instances[event.instance_id] = replace(
                    self.instances[event.instance_id],
                    draining_for=event.cause,
                    stop_ms=event.stop_ms,
                )
            case e.InstanceTerminated():
                del self.instances[event.instance_id]

    def progress(self, job_id: JobId) -> JobProgress:
        return codec.decode_progress(self.progress_by_id.get(job_id))

    def children_of(self, parent_id: JobId) -> Iterator[tuple[int, JobProgress]]:
        for job_id in sorted(self.progress_by_id):
            if is_part_id(job_id) and split_part_id(job_id)[0] == parent_id:
                yield split_part_id(job_id)[1], self.progress(job_id)

    def ended_children(self, parent_id: JobId) -> dict[int, JobStatus]:
        array = self.progress(parent_id).array
        if array is None or array.rest is None:
            return {}
        statuses = dict.fromkeys(range(array.size), array.rest)
        statuses.update((index, each.status) for index, each in self.children_of(parent_id))
        return statuses

    def ended_arrays(self, job: QueuedJob) -> dict[JobId, dict[int, JobStatus]]:
        return {
            each: self.ended_children(each)
            for each in job.depends_on_each
            if self.progress(each).status.is_terminal
        }

    def finished(self, job: QueuedJob) -> dict[JobId, JobStatus]:
        """Tell the status of dependencies that have ended, as the engine reads it."""
        found = {}
        for each in job.depends_on:
            status = self.progress(each).status
            if is_part_id(each):
                parent_id, index = split_part_id(each)
                if not self.progress(parent_id).status.is_terminal:
                    continue
                status = self.ended_children(parent_id).get(index, JobStatus.SUBMITTED)
            if status.is_terminal:
                found[each] = status
        return found

    def load(self, state: State, now_ms: int) -> None:
        """Bring everything live into a state, as a restarted engine does."""
        restore_instances(state, list(self.instances.values()), now_ms)
        live = [
            _with_progress(job, progress)
            for job in self.job_by_id.values()
            if not (progress := self.progress(job.id)).status.is_terminal
            and progress.status is not JobStatus.SUBMITTED
        ]
        statuses, progresses = [], []
        ended: dict[JobId, dict[int, JobStatus]] = {}
        for job in live:
            ended |= self.ended_arrays(job)
            for index, progress in self.children_of(job.id):
                statuses.append((job.id, index, progress.status))
                if job.nodes is not None or not progress.status.is_terminal:
                    progresses.append((job.id, index, progress))
        shares = [(*key, share) for key, share in self.shares.items()]
        parts = StoredParts(
            statuses=statuses, progress=progresses, ended_arrays=ended, shares=shares
        )
        restore_jobs(state, live, parts)


class Memory:
    """What was seen so far, and the rules it must keep."""

    def __init__(self, store: PretendedStore) -> None:
        self.store = store
        self.events: list[e.Event] = []
        self.final: dict[JobId, JobStatus] = {}
        #: Children that something happened to alone.
        self.own: set[JobId] = set()
        self.spawned: set[JobId] = set()
        self.placed: set[tuple[JobId, int]] = set()
        self.consumables = ConsumableLedger()
        self.limits: dict[QueueArn, tuple[TimeLimit, ...]] = {}
        #: Why jobs are blocked at the head of their queue, and since when.
        self.blocked: dict[JobId, tuple[str, int]] = {}

    def see(self, event: e.Event) -> None:  # noqa: C901 -- one branch an event
        self.events.append(event)
        self.consumables.see(event)
        self._see_heads(event)
        if not isinstance(event, e.JobFact):
            return
        job_id = event.job_id
        is_node = "#" in job_id
        assert job_id not in self.final or is_node, f"{job_id} is terminal and changed"
        if is_part_id(job_id) and not isinstance(event, _SILENT):
            self.own.add(job_id)
        match event:
            case e.AttemptPlaced():
                self._see_placed(event)
            case e.AttemptStopping() if event.cause.is_preemption:
                queue_arn = self.store.job_by_id[whole_id_of(job_id)].queue_arn
                assert queue_arn.endswith("/quota"), f"{job_id} has no quota"
            case e.ChildrenSpawned():
                self.spawned.add(job_id)
            case e.RestFailed():
                for index in range(self.store.job_by_id[job_id].array_size or 0):
                    rest_id = child_id(job_id, index)
                    if rest_id not in self.own:
                        assert rest_id not in self.final
                        self.final[rest_id] = JobStatus.FAILED
            case e.JobSucceeded():
                self.final[job_id] = JobStatus.SUCCEEDED
                self._see_end_of_array(job_id)
            case e.JobFailed():
                self.final[job_id] = JobStatus.FAILED
                self._see_end_of_array(job_id)
            case e.NodePlaced():
                self.final.pop(job_id, None)
                parent_id, _ = split_part_id(job_id)
                assert (parent_id, event.number) in self.placed, "a node outside an attempt"

    def _see_placed(self, event: e.AttemptPlaced) -> None:
        assert (event.job_id, event.number) not in self.placed, "an attempt was placed twice"
        self.placed.add((event.job_id, event.number))
        for dependency_id in self.conditions_of(event.job_id):
            found = self.final.get(dependency_id)
            assert found is JobStatus.SUCCEEDED, f"{event.job_id} before {dependency_id}: {found}"

    def _see_heads(self, event: e.Event) -> None:
        """A head is given up for the reason that it showed, and not before its time."""
        match event:
            case e.QueueSettled():
                self.limits[event.arn] = event.time_limits
            case e.JobReasonChanged(status_reason=str(reason), since_ms=int(since_ms)):
                self.blocked[event.job_id] = (reason.split(" - ")[0], since_ms)
            case e.JobReasonChanged() | e.AttemptPlaced():
                self.blocked.pop(event.job_id, None)
            case e.JobFailed():
                code, since_ms = self.blocked.pop(event.job_id, ("", 0))
                if GIVEN_UP in event.status_reason:
                    queue_arn = self.store.job_by_id[whole_id_of(event.job_id)].queue_arn
                    limits = {each.reason: each.blocked_ms_max for each in self.limits[queue_arn]}
                    assert event.status_reason.endswith(GIVEN_UP + code)
                    assert event.at_ms >= since_ms + limits[code], f"{event.job_id} was early"

    def conditions_of(self, job_id: JobId) -> list[JobId]:
        """Name everything that must have succeeded before a job or child may start."""
        if not is_part_id(job_id):
            return list(self.store.job_by_id[job_id].depends_on)
        parent_id, index = split_part_id(job_id)
        parent = self.store.job_by_id[parent_id]
        partners = [child_id(each, index) for each in parent.depends_on_each]
        before = [child_id(parent_id, index - 1)] if parent.is_sequential and index else []
        return [*parent.depends_on, *partners, *before]

    def _see_end_of_array(self, job_id: JobId) -> None:
        size = self.store.job_by_id[job_id].array_size if not is_part_id(job_id) else None
        if size is None or job_id not in self.spawned:
            return
        ends = [self.final.get(child_id(job_id, index)) for index in range(size)]
        assert None not in ends, f"{job_id} ended before its children: {ends}"
        all_good = all(each is JobStatus.SUCCEEDED for each in ends)
        assert (self.final[job_id] is JobStatus.SUCCEEDED) == all_good


class ConsumableLedger:
    """What is held and used of consumable resources, counted from the stories of jobs alone."""

    def __init__(self) -> None:
        self.needs: dict[JobId, tuple[ConsumableNeed, ...]] = {}
        self.there: dict[ConsumableArn, e.ConsumableSettled] = {}
        self.held: Counter[ConsumableArn] = Counter()
        self.used_up: Counter[ConsumableArn] = Counter()

    def see(self, event: e.Event) -> None:
        match event:
            case e.JobAccepted():
                self.needs[event.job_id] = event.needs
            case e.ConsumableSettled():
                if event.arn not in self.there:
                    self.used_up[event.arn] = event.used_up
                self.there[event.arn] = event
            case e.ConsumableDeleted():
                self.there.pop(event.arn, None)
            case e.AttemptPlaced():
                for need in self.needs[whole_id_of(event.job_id)]:
                    self.take(need)
            case e.AttemptEnded() if "#" not in event.job_id:
                for need in self.needs[whole_id_of(event.job_id)]:
                    self.held[need.arn] -= need.quantity

    def take(self, need: ConsumableNeed) -> None:
        """An attempt began: what it took must have been there."""
        found = self.there.get(need.arn)
        assert found is not None, f"{need.arn} is not there and was taken"
        self.held[need.arn] += need.quantity
        if found.is_replenishable:
            in_all = self.used_up[need.arn] + self.held[need.arn]
        else:
            self.used_up[need.arn] += need.quantity
            in_all = self.used_up[need.arn]
        assert in_all <= found.given, f"{need.arn} was taken beyond what there is"


class World:
    """The core and its surroundings."""

    def __init__(self) -> None:
        self.state = State()
        self.now_ms = 1_000
        self.store = PretendedStore()
        self.memory = Memory(self.store)
        self.fairness = Fairness(self.store.job_by_id)
        self.started_tasks: list[TaskId] = []
        #: Tasks that run, and their hosts.
        self.live_tasks: dict[TaskId, HostId] = {}
        #: What makes queues, environments and hosts, to make them again after a crash.
        self.resources: dict[object, i.Input] = {}
        self.inventories = Inventories()

    def feed(self, happening: i.Input) -> Outcome:
        if isinstance(happening, (i.PutQueue, i.PutEnvironment)):
            self.resources[happening.arn] = happening
        elif isinstance(happening, i.PutConsumable):
            before = self.store.consumables.get(happening.arn)
            used_up = 0 if before is None else before.used_up
            happening = replace(happening, given=used_up + happening.given, used_up=used_up)
            self.store.consumables[happening.arn] = happening
        elif isinstance(happening, i.DeleteConsumable):
            self.store.consumables.pop(happening.arn, None)
        elif isinstance(happening, i.PutPolicy):
            self._change_policy(happening)
        elif isinstance(happening, i.PutQuotaShare):
            self.resources[happening.queue_arn, happening.terms.name] = happening
        elif isinstance(happening, i.PutHost):
            self.resources[happening.host_id] = happening
        return self.absorb(step(self.state, happening, self.now_ms))

    def _change_policy(self, change: i.PutPolicy) -> None:
        """Keep what its queues are made with after a crash."""
        for key, made in list(self.resources.items()):
            if isinstance(made, i.PutQueue) and made.policy_arn == change.arn:
                self.resources[key] = replace(made, policy=change.policy)

    def submit(self, job: QueuedJob) -> None:
        self.store.job_by_id[job.id] = job
        finished, ended = self.store.finished(job), self.store.ended_arrays(job)
        self.feed(i.AcceptJob(job=job, finished=finished, ended_arrays=ended))

    def prioritize(self, job_id: JobId, priority: int) -> None:
        """Write the priority down, as the API does, and tell the engine."""
        job = self.store.job_by_id[job_id]
        if job.capacity_use:
            self.store.job_by_id[job_id] = replace(job, scheduling_priority=priority)
        self.feed(i.PrioritizeJob(job_id=job_id, priority=priority))

    def plan(self) -> Outcome:
        self.fairness.look(self.state, self.now_ms)
        self.check_remembered()
        outcome = self.absorb(run_round(self.state, self.now_ms))
        self.fairness.check_round(outcome.events)
        return outcome

    def check_remembered(self) -> None:
        """A round decides the same whether or not it uses what earlier ones found out."""
        forgetful = copy(self.state)
        forgetful.remembered = Remembered()
        plain = plan_round(view_of(forgetful, self.now_ms))
        assert plan_round(view_of(self.state, self.now_ms)) == plain
        for queue in self.state.queues.values():
            if queue.quota_shares is not None:
                kept = quota_memory_of(self.state, queue).accounts
                assert says_of_use(kept, queue) == says_of_use(quota_accounts_of(queue), queue)
        is_settled = self.state.remembered.is_settled(self.now_ms)
        if is_settled and do_heads_stand(self.state, self.now_ms):
            assert not step(self.state, plain, self.now_ms).events

    def absorb(self, outcome: Outcome) -> Outcome:
        for event in outcome.events:
            self.memory.see(event)
            self.fairness.see(event)
            if isinstance(event, (e.QueueDeleted, e.EnvironmentDeleted)):
                self.resources.pop(event.arn, None)
            elif isinstance(event, e.QuotaShareDeleted):
                self.resources.pop((event.arn, event.name), None)
        self.store.commit(outcome)
        self.inventories.see(self.state, outcome.events)
        for effect in outcome.effects:
            if isinstance(effect, StartTask) and effect.task_id not in self.live_tasks:
                assert effect.task_id not in self.started_tasks, "an attempt was started twice"
                self.started_tasks.append(effect.task_id)
                self.live_tasks[effect.task_id] = effect.host_id
            elif isinstance(effect, StopTask):
                assert effect.task_id in self.live_tasks
        return outcome

    def crash(self) -> None:
        """Forget the state, and make it again from what was committed."""
        draining = [each for each in self.state.queues.values() if each.is_draining]
        again = State()
        for happening in (*self.resources.values(), *self.store.consumables.values()):
            if isinstance(happening, i.PutEnvironment):
                count = self.store.launch_counts.get(happening.arn, 0)
                happening = replace(happening, launch_count=count)
            step(again, happening, self.now_ms)
        for queue in draining:
            again.queues[queue.arn].is_draining = True
        for queue in self.state.queues.values():
            for name, share in (queue.quota_shares or {}).items():
                quota_shares_of(again, queue.arn)[name].is_draining = share.is_draining
        self.store.load(again, self.now_ms)
        check(again)
        assert sorted(again.jobs) == sorted(self.state.jobs)
        for job_id, job in again.jobs.items():
            assert essence_of(job) == essence_of(self.state.jobs[job_id])
        for arn, queue in again.queues.items():
            assert list(queue.line) == list(self.state.queues[arn].line)
            assert queue.blocked_id == self.state.queues[arn].blocked_id
            assert essence_of_shares(queue) == essence_of_shares(self.state.queues[arn])
            assert essence_of_quota(queue) == essence_of_quota(self.state.queues[arn])
        assert again.consumables == self.state.consumables
        before = self.state
        assert sorted(again.instances) == sorted(before.instances)
        for instance_id, instance in again.instances.items():
            assert instance.used == before.instances[instance_id].used
        self.state = again
        for host_id in sorted(again.hosts):
            known = {task for task, host in self.live_tasks.items() if host == host_id}
            self.absorb(resume(self.state, frozenset(known), HostId(host_id), self.now_ms))

    def replay(self) -> State:
        """Give the state that the events alone lead to."""
        again = State()
        for event in self.memory.events:
            if isinstance(event, e.QuotaShareDeleted):
                queue = again.queues.get(event.arn)
                is_there = queue is not None and event.name in (queue.quota_shares or {})
            elif isinstance(event, (e.QueueDeleted, e.EnvironmentDeleted)):
                is_there = event.arn in again.queues or event.arn in again.environments
            else:
                is_there = True
            if is_there:
                evolve(again, event)
        return again


def essence_of(job: Job) -> dict[str, object]:
    """Give what a live job holds, less what nobody will ask about any more."""
    array, nodes = job.array, job.nodes
    return {
        "progress": job.progress,
        "unmet": job.unmet,
        "parent": job.parent and job.parent.id,
        "codes": array and array.codes,
        "waits": array and [_wait_of(job, index) for index in range(array.size)],
        "nodes": nodes and (sorted(nodes.live), sorted(nodes.waiting), sorted(nodes.ended.items())),
    }


def essence_of_shares(queue: Queue) -> dict[str, object]:
    """Give what the shares of a queue hold."""
    return {
        identifier: (
            list(share.line),
            share.weight,
            share.live_count,
            share.cpu_milli,
            share.usage,
            share.counted_ms,
        )
        for identifier, share in sorted(queue.shares.items())
    }


def essence_of_quota(queue: Queue) -> dict[str, object]:
    """Give what the quota shares of a queue hold."""
    return {
        name: (
            list(share.line),
            share.terms,
            share.is_draining,
            sorted(share.jobs),
            sorted(share.running),
            share.used,
            share.blocked_id,
        )
        for name, share in (queue.quota_shares or {}).items()
    }


def says_of_use(accounts: Accounts, queue: Queue) -> object:
    """Give what books say of each share and unit."""
    shares = queue.quota_shares or {}
    units = dict.fromkeys(
        unit for each in shares.values() for unit in (*each.used, *each.terms.limits)
    )
    counted = counted_use(queue, dict.fromkeys(units, 0))
    return (
        [[accounts.used(name).get(unit, 0) for unit in counted] for name in shares],
        [(accounts.left_to_borrow(unit), accounts.idle_of_reserving(unit)) for unit in counted],
    )


def _wait_of(parent: Job, index: int) -> int | None:
    """Tell what a child waits for, if it may still have to wait."""
    assert parent.array is not None
    if child_status(parent, index) not in (None, JobStatus.PENDING):
        return None
    return parent.array.waits[index] if parent.array.waits is not None else 0


def _with_progress(job: QueuedJob, progress: JobProgress) -> QueuedJob:
    fields: Mapping[str, object] = {
        name: getattr(job, name) for name in job.__struct_fields__ if name != "progress"
    }
    return QueuedJob(**fields, progress=progress)  # type: ignore[arg-type]
