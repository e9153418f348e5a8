"""Warnings that can be given at once: what the core foresees, kept for requests that are alike.

Owns what is remembered, and when it is not true any more: with every change of an environment, a
queue, a policy or a machine. Knows nothing where another engine is in charge: then nothing is
foreseen.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from batchyard.core import events as e
from batchyard.core.foreseeing import (
    foresee_definition,
    foresee_environment,
    foresee_job,
    foresee_queue,
)
from batchyard.core.quota_books import use_of
from batchyard.core.state import State
from batchyard.engine.catalogue import LaunchTimes, architectures_of
from batchyard.engine.wishes import put_environment_of
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import count_instances
from batchyard.model.ids import EnvironmentArn, JobId, QueueArn
from batchyard.model.records import EnvironmentRecord, NewJob
from batchyard.model.status import EnvironmentKind
from batchyard.scheduler.view import WaitingJob

#: When full, all are dropped. Bounds memory, not correctness.
_ENTRIES_MAX = 4096
_NO_JOB = JobId("")
_CHANGES = (
    e.EnvironmentSettled
    | e.EnvironmentDraining
    | e.EnvironmentDeleted
    | e.QueueSettled
    | e.QueueDeleted
    | e.PolicySettled
    | e.QuotaShareSettled
    | e.QuotaShareDeleted
    | e.HostChanged
)


class Foresight:
    """Looks at the state between two turns of the loop."""

    def __init__(
        self,
        state_of: Callable[[], State],
        times: LaunchTimes,
        machine_architecture: str | None = None,
    ) -> None:
        """`machine_architecture` as EC2 calls it; None: nobody knows."""
        self._state_of = state_of
        self._times = times
        self._architecture = machine_architecture
        self._known: dict[object, tuple[str, ...]] = {}

    def note(self, happened: Iterable[e.Event]) -> None:
        """Forget what may not hold any more."""
        if self._known and any(isinstance(each, _CHANGES) for each in happened):
            self._known.clear()

    def of_job(self, job: NewJob) -> tuple[str, ...]:
        """Say what is wrong with a job that is being submitted; costs a look-up if it is common."""
        nodes = () if job.nodes is None else tuple(job.nodes.demands())
        # Rare; what is used up is no change of a resource, nor are registered instances any.
        if job.needs or job.capacity_use or self._is_unmanaged(job.queue_arn):
            return self._look(job, nodes)
        key = (job.queue_arn, job.demand, nodes, _share_of(job))
        known = self._known.get(key)
        if known is not None:
            return known
        found = self._look(job, nodes)
        if len(self._known) >= _ENTRIES_MAX:
            self._known.clear()
        self._known[key] = found
        return found

    def of_queue(self, queue_arn: QueueArn, arns: Sequence[EnvironmentArn]) -> tuple[str, ...]:
        """Say what is wrong with a queue that is being made or changed."""
        return tuple(foresee_queue(self._state_of(), queue_arn, arns))

    def of_definition(
        self, demand: Amount, nodes: tuple[Amount, ...], kinds: Collection[EnvironmentKind]
    ) -> tuple[str, ...]:
        """Say what is wrong with a job definition for environments of some kinds."""
        job = WaitingJob(job_id=_NO_JOB, demand=demand, node_demands=nodes)
        return tuple(foresee_definition(self._state_of(), job, kinds))

    def of_architectures(self, what: str, architectures: Collection[str]) -> tuple[str, ...]:
        """Say that something asks for machines of another architecture."""
        ours = self._architecture
        if ours is None or not architectures or ours in architectures:
            return ()
        theirs = ", ".join(sorted(architectures))
        return (
            f"By {what} jobs are for {theirs}, and this machine is {ours}: they run on it all the"
            f" same, with images for {ours}.",
        )

    def of_environment(self, record: EnvironmentRecord) -> tuple[str, ...]:
        """Say what is wrong with an environment that is being made or changed."""
        wanted = put_environment_of(record, self._times)
        resources = record.detail.get("computeResources") or {}
        named = architectures_of(resources.get("instanceTypes") or ())
        return (
            *foresee_environment(self._state_of(), wanted),
            *self.of_architectures(f"instanceTypes of {record.name}", named),
        )

    def _is_unmanaged(self, queue_arn: QueueArn) -> bool:
        state = self._state_of()
        queue = state.queues.get(queue_arn)
        return queue is not None and any(
            arn in state.environments and state.environments[arn].is_unmanaged
            for arn in queue.environment_arns
        )

    def _look(self, job: NewJob, nodes: tuple[Amount, ...]) -> tuple[str, ...]:
        waiting = WaitingJob(
            job_id=_NO_JOB,
            demand=job.demand,
            node_demands=nodes,
            needs=job.needs,
            instances=count_instances(job.capacity_use),
            use=use_of(job.demand, job.capacity_use),
        )
        return tuple(foresee_job(self._state_of(), job.queue_arn, waiting, _share_of(job)))


def _share_of(job: NewJob) -> str | None:
    return job.quota_share or job.share_identifier
