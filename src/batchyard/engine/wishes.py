"""How wishes become inputs of the core.

Owns the reading of what the API has written: submitted jobs, cancels and terminates, environments
and queues in transition, changed policies and quota shares, consumable resources that changed, what
operators ask of instances. Refuses to decide about any of it. A wish about a job that is itself
still SUBMITTED waits until the job has been taken in. The end of a queue waits until all its jobs
have been taken in: a queue of the same name must not get them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from batchyard.core import inputs as i
from batchyard.engine.catalogue import LaunchTimes, UnknownType
from batchyard.model.capacity_use import MILLI
from batchyard.model.environment_faults import environment_fault_of
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.fair_share import fair_share_of
from batchyard.model.ids import JobId, PolicyArn, whole_id_of
from batchyard.model.instance_wishes import InstanceWish
from batchyard.model.limits import WISHES_PER_TURN_MAX
from batchyard.model.records import (
    ConsumableRecord,
    EnvironmentRecord,
    QueuedJob,
    QueueRecord,
    QuotaShareRecord,
    TimeLimit,
    Wish,
    WishKind,
)
from batchyard.model.service_records import ServiceEnvironmentRecord
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceStatus
from batchyard.scheduler.quota import QuotaTerms
from batchyard.store import (
    Connection,
    consumables,
    environments,
    instance_wishes,
    live_jobs,
    policies,
    queues,
    quota_shares,
    service_environments,
)
from batchyard.store import wishes as wish_table


@dataclass(frozen=True, slots=True)
class Harvest:
    """What one look at the store brought."""

    inputs: list[i.Input]
    #: Wishes that are settled once what comes of the inputs is durable.
    settled: list[int]
    #: True if more was waiting than one turn takes.
    has_more: bool
    #: True if cancels and terminates were among it.
    has_more_wishes: bool = False


def read_wishes(
    connection: Connection, is_live: Callable[[JobId], bool], times: LaunchTimes
) -> Harvest:
    """Read everything waiting, up to a limit. `is_live` tells which whole jobs the core holds."""
    submitted = live_jobs.read_submitted(connection, WISHES_PER_TURN_MAX)
    last_seq = submitted[-1].seq if submitted else 0
    inputs: list[i.Input] = list(_resource_inputs(connection, last_seq, times))
    changed = consumables.read_unseen(connection, WISHES_PER_TURN_MAX)
    inputs += [_input_of_consumable(record) for record in changed]
    inputs += _accepts(connection, submitted, is_live)
    about_instances = instance_wishes.read_waiting(connection, WISHES_PER_TURN_MAX)
    inputs += [_input_of_instance_wish(wish) for wish in about_instances]
    taken = {job.id for job in submitted}
    waiting = wish_table.read_wishes(connection, WISHES_PER_TURN_MAX)

    def is_known(job_id: JobId) -> bool:
        whole_id = whole_id_of(job_id)
        return whole_id in taken or is_live(whole_id)

    settled = _settle(connection, waiting, is_known)
    inputs += [_input_of_wish(wish) for wish in settled]
    return Harvest(
        inputs=inputs,
        settled=[wish.seq for wish in settled],
        has_more=WISHES_PER_TURN_MAX
        in (len(submitted), len(waiting), len(changed), len(about_instances)),
        has_more_wishes=len(waiting) == WISHES_PER_TURN_MAX,
    )


def put_environment_of(record: EnvironmentRecord, times: LaunchTimes) -> i.PutEnvironment:
    """Say to the core how the API wants an environment to be."""
    detail, kind = record.detail, kind_of_environment(record.detail)
    fault, launching = _fault_of(record), None
    try:
        launching = times.settings_of(detail, is_change=record.status.is_in_transition)
    except UnknownType as unknown:
        fault = fault or f"CLIENT_ERROR - The instance type or family {unknown} is not known"
    is_unmanaged = kind is EnvironmentKind.UNMANAGED
    vcpus_max: int = (
        detail.get("unmanagedvCpus", 0) if is_unmanaged else detail["computeResources"]["maxvCpus"]
    )
    return i.PutEnvironment(
        arn=record.arn,
        kind=kind,
        state=record.state,
        cpu_milli_max=vcpus_max * 1000,
        fault=fault,
        launching=launching,
        has_instances=not kind.is_fargate,
        uuid=record.uuid,
        launch_count=record.launch_count,
    )


def put_service_environment_of(record: ServiceEnvironmentRecord) -> i.PutEnvironment:
    """Say to the core how many instances service jobs may use."""
    return i.PutEnvironment(
        arn=record.arn,
        kind=EnvironmentKind(record.detail["serviceEnvironmentType"]),
        state=record.state,
        cpu_milli_max=0,
        limits={
            each["capacityUnit"]: each["maxCapacity"] for each in record.detail["capacityLimits"]
        },
    )


def _fault_of(record: EnvironmentRecord) -> str | None:
    """Say why it cannot be used: for good, or as was found before."""
    found = record.status_reason if record.status is ResourceStatus.INVALID else None
    return environment_fault_of(record.detail) or found


def put_queue_of(connection: Connection, record: QueueRecord) -> i.PutQueue:
    """Say to the core how the API wants a queue to be, and what its policy says now."""
    policy_arn: PolicyArn | None = record.detail.get("schedulingPolicyArn")
    policy, has_quota_shares = None, False
    if policy_arn is not None:
        found = policies.read_policy(connection, policy_arn)
        assert found is not None, f"{record.arn} has a policy that is gone"
        has_quota_shares = "quotaSharePolicy" in found.detail
        policy = None if has_quota_shares else fair_share_of(found.detail)
    return i.PutQueue(
        arn=record.arn,
        seq=record.seq,
        state=record.state,
        priority=record.priority,
        environment_arns=record.environment_arns,
        time_limits=tuple(
            TimeLimit(reason=each["reason"], blocked_ms_max=each["maxTimeSeconds"] * 1000)
            for each in record.detail.get("jobStateTimeLimitActions", ())
        ),
        policy_arn=policy_arn if policy is not None else None,
        policy=policy,
        has_quota_shares=has_quota_shares,
    )


def put_quota_share_of(record: QuotaShareRecord) -> i.PutQuotaShare:
    """Say to the core what a quota share may use, lend and borrow."""
    detail = record.detail
    sharing = detail["resourceSharingConfiguration"]
    return i.PutQuotaShare(
        queue_arn=record.queue_arn,
        terms=QuotaTerms(
            name=record.name,
            limits={
                each["capacityUnit"]: each["maxCapacity"] * MILLI
                for each in detail["capacityLimits"]
            },
            lends=sharing["strategy"] != "RESERVE",
            borrow_percent=sharing.get("borrowLimit"),
            preempts_within=detail["preemptionConfiguration"]["inSharePreemption"] == "ENABLED",
        ),
    )


def put_consumable_of(record: ConsumableRecord) -> i.PutConsumable:
    """Say to the core how much of a consumable resource there is."""
    return i.PutConsumable(
        arn=record.arn,
        version=record.version,
        is_replenishable=record.is_replenishable,
        given=record.given,
        used_up=record.used_up,
    )


def _input_of_consumable(record: ConsumableRecord) -> i.PutConsumable | i.DeleteConsumable:
    if record.is_deleted:
        return i.DeleteConsumable(arn=record.arn, version=record.version)
    return put_consumable_of(record)


def _resource_inputs(
    connection: Connection, last_seq: int, times: LaunchTimes
) -> Iterable[i.Input]:
    """Read what was asked of environments, policies and queues, which refer to both.

    `last_seq` is of the last job that is taken in this time.
    """
    yield from _environment_inputs(connection, times)
    for policy in policies.read_unsettled_policies(connection):
        yield i.PutPolicy(
            arn=policy.arn, revision=policy.revision, policy=fair_share_of(policy.detail)
        )
    for queue in queues.read_queues_in_transition(connection):
        if queue.status is not ResourceStatus.DELETING:
            yield put_queue_of(connection, queue)
        elif not live_jobs.has_submitted_after(connection, queue.arn, last_seq):
            yield i.DeleteQueue(arn=queue.arn)
    for share in quota_shares.read_quota_shares_in_transition(connection):
        if share.status is not ResourceStatus.DELETING:
            yield put_quota_share_of(share)
        elif not live_jobs.has_submitted_after(connection, share.queue_arn, last_seq):
            yield i.DeleteQuotaShare(queue_arn=share.queue_arn, name=share.name)


def _environment_inputs(connection: Connection, times: LaunchTimes) -> Iterable[i.Input]:
    for environment in environments.read_environments_in_transition(connection):
        if environment.status is ResourceStatus.DELETING:
            yield i.DeleteEnvironment(arn=environment.arn)
        else:
            yield put_environment_of(environment, times)
    for place in service_environments.read_service_environments_in_transition(connection):
        if place.status is ResourceStatus.DELETING:
            yield i.DeleteEnvironment(arn=place.arn)
        else:
            yield put_service_environment_of(place)


def _accepts(
    connection: Connection, submitted: list[QueuedJob], is_live: Callable[[JobId], bool]
) -> Iterable[i.AcceptJob]:
    finished, ended = _read_ended(connection, submitted, is_live)
    for job in submitted:
        yield i.AcceptJob(
            job=job,
            finished={each: finished[each] for each in job.depends_on if each in finished},
            ended_arrays={each: ended[each] for each in job.depends_on_each if each in ended},
        )


def _read_ended(
    connection: Connection, submitted: list[QueuedJob], is_live: Callable[[JobId], bool]
) -> tuple[Mapping[JobId, JobStatus], Mapping[JobId, Mapping[int, JobStatus]]]:
    """Read what became of the dependencies that the core does not hold."""

    def gone(ids: Iterable[JobId]) -> list[JobId]:
        return sorted({each for each in ids if not is_live(whole_id_of(each))})

    whole = gone(each for job in submitted for each in job.depends_on)
    arrays = gone(each for job in submitted for each in job.depends_on_each)
    return (
        live_jobs.read_statuses(connection, whole) if whole else {},
        live_jobs.read_ended_arrays(connection, arrays) if arrays else {},
    )


def _settle(
    connection: Connection, waiting: list[Wish], is_known: Callable[[JobId], bool]
) -> list[Wish]:
    """Pick the wishes that can be settled now: all but those about jobs still SUBMITTED."""
    unknown = sorted({whole_id_of(wish.job_id) for wish in waiting if not is_known(wish.job_id)})
    statuses = live_jobs.read_statuses(connection, unknown) if unknown else {}
    return [
        wish
        for wish in waiting
        if statuses.get(whole_id_of(wish.job_id)) is not JobStatus.SUBMITTED
    ]


def _input_of_instance_wish(
    wish: InstanceWish,
) -> i.RegisterInstances | i.DeregisterInstance | i.InterruptInstance | i.InterruptTask:
    asked, back, reclaimed = wish.registration, wish.deregistration, wish.interruption
    if wish.task_interruption is not None:
        return i.InterruptTask(wish_seq=wish.seq, job_id=wish.task_interruption.job_id)
    if reclaimed is not None:
        return i.InterruptInstance(
            wish_seq=wish.seq,
            instance_id=reclaimed.instance_id,
            notice_ms=reclaimed.notice_ms,
            is_forced=reclaimed.is_forced,
        )
    if asked is not None:
        return i.RegisterInstances(
            wish_seq=wish.seq,
            environment_arn=asked.environment_arn,
            instance_type=asked.instance_type,
            capacity=asked.capacity,
            count=asked.count,
            host_id=asked.host_id,
        )
    assert back is not None, wish.seq
    return i.DeregisterInstance(
        wish_seq=wish.seq, instance_id=back.instance_id, is_forced=back.is_forced
    )


def _input_of_wish(wish: Wish) -> i.CancelJob | i.TerminateJob | i.PrioritizeJob:
    match wish.kind:
        case WishKind.CANCEL:
            return i.CancelJob(job_id=wish.job_id, reason=wish.reason)
        case WishKind.TERMINATE:
            return i.TerminateJob(job_id=wish.job_id, reason=wish.reason)
        case WishKind.PRIORITIZE:
            return i.PrioritizeJob(job_id=wish.job_id, priority=wish.priority or 0)
