"""Builders of the core's words, so that a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping

from batchyard.core import cycle
from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.core.turn import Outcome
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import NUM_INSTANCES, UnitQuantity
from batchyard.model.fair_share import FairShare, ShareWeight
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    PolicyArn,
    QueueArn,
    Scope,
)
from batchyard.model.instances import AllocationStrategy, InstanceType, LaunchSettings
from batchyard.model.records import (
    ConsumableNeed,
    ExitRule,
    JobProgress,
    NodeGroup,
    NodePlan,
    QueuedJob,
    TimeLimit,
)
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState
from batchyard.scheduler.quota import QuotaTerms

SCOPE = Scope(account="123456789012", region="eu-central-1")
HOST = HostId("local")


def environment_arn(name: str = "ce") -> EnvironmentArn:
    return SCOPE.environment_arn(name)


def queue_arn(name: str = "jq") -> QueueArn:
    return SCOPE.queue_arn(name)


def an_environment(name: str = "ce", *, vcpus: int = 4, is_enabled: bool = True, fault=None):
    return i.PutEnvironment(
        arn=environment_arn(name),
        kind=EnvironmentKind.FARGATE,
        state=ResourceState.ENABLED if is_enabled else ResourceState.DISABLED,
        cpu_milli_max=vcpus * 1000,
        fault=fault,
    )


def service_environment_arn(name: str = "se") -> EnvironmentArn:
    return SCOPE.service_environment_arn(name)


def a_service_environment(
    name: str = "se", *, is_enabled: bool = True, limits: Mapping[str, int] | None = None
):
    """An environment for training jobs: 4 instances of any type, unless something else is said."""
    return i.PutEnvironment(
        arn=service_environment_arn(name),
        kind=EnvironmentKind.SAGEMAKER_TRAINING,
        state=ResourceState.ENABLED if is_enabled else ResourceState.DISABLED,
        cpu_milli_max=0,
        limits=limits or {NUM_INSTANCES: 4},
    )


def policy_arn(name: str = "policy") -> PolicyArn:
    return SCOPE.policy_arn(name)


def a_policy(*, window_s: int = 600, reservation: int = 0, **weight_by_text: float) -> FairShare:
    """A fair-share policy; a name that ends in `_` stands for a prefix."""
    return FairShare(
        window_ms=window_s * 1000,
        reservation_percent=reservation,
        weights=tuple(
            ShareWeight(
                text=text.removesuffix("_"),
                is_prefix=text.endswith("_"),
                weight_e4=round(weight * 10_000),
            )
            for text, weight in weight_by_text.items()
        ),
    )


def an_instance_type(name: str, *, vcpus: int, memory_mib: int = 4096, price: int = 100):
    return InstanceType(
        name=name,
        capacity=Amount(cpu_milli=vcpus * 1000, memory_mib=memory_mib),
        price_micro=price * vcpus,
    )


def a_launching_environment(
    name: str = "ce",
    *,
    vcpus: int = 4,
    vcpus_min: int = 0,
    boot_ms: int = 0,
    idle_ms: int | None = 60_000,
    strategy: AllocationStrategy = AllocationStrategy.BEST_FIT_PROGRESSIVE,
    is_enabled: bool = True,
    launch_count: int = 0,
    infrastructure: str = "",
    replace_ms: int = 0,
) -> i.PutEnvironment:
    """An EC2 environment that launches instances of 1 and of 2 vCPUs."""
    return i.PutEnvironment(
        arn=environment_arn(name),
        kind=EnvironmentKind.EC2,
        state=ResourceState.ENABLED if is_enabled else ResourceState.DISABLED,
        cpu_milli_max=vcpus * 1000,
        has_instances=True,
        uuid=f"uuid of {name}",
        launch_count=launch_count,
        launching=LaunchSettings(
            strategy=strategy,
            is_spot=False,
            types=(an_instance_type("t.one", vcpus=1), an_instance_type("t.two", vcpus=2)),
            cpu_milli_min=vcpus_min * 1000,
            boot_ms=boot_ms,
            idle_ms=idle_ms,
            infrastructure=infrastructure,
            replace_ms=replace_ms,
        ),
    )


def an_unmanaged_environment(name: str = "ce", *, vcpus: int = 0) -> i.PutEnvironment:
    return i.PutEnvironment(
        arn=environment_arn(name),
        kind=EnvironmentKind.UNMANAGED,
        state=ResourceState.ENABLED,
        cpu_milli_max=vcpus * 1000,
        has_instances=True,
        uuid=f"uuid of {name}",
    )


def a_registration(
    name: str = "ce", *, count: int = 1, cpu_milli: int = 2000, memory_mib: int = 1024, **more
) -> i.RegisterInstances:
    members = {
        "wish_seq": 1,
        "environment_arn": environment_arn(name),
        "instance_type": "custom",
        "capacity": Amount(cpu_milli=cpu_milli, memory_mib=memory_mib),
        "count": count,
        **more,
    }
    return i.RegisterInstances(**members)


def a_queue(
    name: str = "jq",
    *,
    seq: int = 1,
    priority: int = 1,
    environments=("ce",),
    time_limits: dict[str, int] | None = None,
    policy: FairShare | None = None,
    has_quota_shares: bool = False,
    service_environments=(),
):
    return i.PutQueue(
        arn=queue_arn(name),
        seq=seq,
        state=ResourceState.ENABLED,
        priority=priority,
        environment_arns=tuple(service_environment_arn(each) for each in service_environments)
        or tuple(environment_arn(each) for each in environments),
        time_limits=tuple(
            TimeLimit(reason=reason, blocked_ms_max=limit_ms)
            for reason, limit_ms in (time_limits or {}).items()
        ),
        policy_arn=None if policy is None else policy_arn(),
        policy=policy,
        has_quota_shares=has_quota_shares,
    )


def a_quota_share(
    name: str,
    *,
    queue: str = "jq",
    borrows: int | None = None,
    lends: bool = True,
    preempts_within: bool = False,
    **limits: int,
) -> i.PutQuotaShare:
    """A share of a queue that has quota shares; limits in whole units, 4 vCPUs if none is given."""
    return i.PutQuotaShare(
        queue_arn=queue_arn(queue),
        terms=QuotaTerms(
            name=name,
            limits={unit: 1000 * each for unit, each in (limits or {"VCPU": 4}).items()},
            lends=lends,
            borrow_percent=borrows,
            preempts_within=preempts_within,
        ),
    )


def consumable_arn(name: str = "license") -> ConsumableArn:
    return SCOPE.consumable_arn(name)


def a_consumable(
    name: str = "license", given: int = 1, *, is_replenishable: bool = True, version: int = 1
) -> i.PutConsumable:
    return i.PutConsumable(
        arn=consumable_arn(name), version=version, is_replenishable=is_replenishable, given=given
    )


def needs(**quantity_by_name: int) -> tuple[ConsumableNeed, ...]:
    return tuple(
        ConsumableNeed(arn=consumable_arn(name), quantity=quantity)
        for name, quantity in quantity_by_name.items()
    )


def an_amount(*, cpu_milli: int = 1000, memory_mib: int = 512) -> Amount:
    return Amount(cpu_milli=cpu_milli, memory_mib=memory_mib)


def a_host(*, cpu_milli: int = 4000, memory_mib: int = 8192, host_id: HostId = HOST) -> i.PutHost:
    return i.PutHost(host_id=host_id, capacity=Amount(cpu_milli=cpu_milli, memory_mib=memory_mib))


def job_id(number: int) -> JobId:
    return JobId(f"00000000-0000-4000-8000-{number:012d}")


def a_job(
    number: int,
    *,
    queue: str = "jq",
    cpu_milli: int = 1000,
    memory_mib: int = 512,
    attempts: int = 1,
    exit_rules: tuple[ExitRule, ...] = (),
    timeout_ms: int | None = None,
    after: tuple[int | JobId, ...] = (),
    finished: dict[int, JobStatus] | None = None,
    **more,
) -> i.AcceptJob:
    """A submitted job; `number` is its id and its submission number, `after` its dependencies."""
    return i.AcceptJob(
        job=QueuedJob(
            seq=number,
            id=job_id(number),
            queue_arn=queue_arn(queue),
            demand=Amount(cpu_milli=cpu_milli, memory_mib=memory_mib),
            attempts_max=attempts,
            exit_rules=exit_rules,
            timeout_ms=timeout_ms,
            depends_on=tuple(job_id(each) if isinstance(each, int) else each for each in after),
            created_ms=0,
            progress=JobProgress(),
            **more,
        ),
        finished={job_id(each): status for each, status in (finished or {}).items()},
    )


def a_service_job(
    number: int, *, queue: str = "training", kind: str = "ml.one", count: int = 1, **more
) -> i.AcceptJob:
    """A training job on instances of 1 vCPU; with more than one they are its nodes."""
    plan = None
    if count > 1:
        plan = NodePlan(main_index=0, groups=(NodeGroup(count=count, demand=an_amount()),))
    return a_job(
        number,
        queue=queue,
        cpu_milli=1000 * count,
        memory_mib=512 * count,
        nodes=plan,
        capacity_use=(UnitQuantity(unit=kind, quantity=count),),
        **more,
    )


def run_round(state: State, now_ms: int = 0) -> Outcome:
    """Let the scheduler plan once, and the core carry it out."""
    return cycle.run_round(state, now_ms)
