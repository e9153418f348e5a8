"""The configuration that a trace is run under: a TOML document, in AWS's own words.

Decides how `[[computeEnvironments]]`, `[[serviceEnvironments]]`, `[[schedulingPolicies]]`,
`[[jobQueues]]` and `[[quotaShares]]` become inputs of the core: each is a request of
CreateComputeEnvironment, CreateServiceEnvironment, CreateSchedulingPolicy, CreateJobQueue or
CreateQuotaShare, and is decoded and checked like one.
What a simulation has no use for (networks, roles) may be left out. Instances that somebody would
register are `[[instances]]`. Refuses to know the trace, but for a default (`default_config`).

Where it is specified: docs/simulate.md, decision 0018.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from batchyard.core import inputs as i
from batchyard.engine.catalogue import (
    SPOT_PERCENT_DEFAULT,
    LaunchTimes,
    SpotMarket,
    capacity_of_training,
)
from batchyard.engine.interruptions import InterruptionRate
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import NUM_INSTANCES
from batchyard.model.ids import HostId, QueueArn, is_service_environment_arn, name_in_arn
from batchyard.model.limits import ATTEMPTS_MAX, SPOT_NOTICE_SECONDS
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal
from batchyard.model.status import EnvironmentKind
from batchyard.sim.registered import BadInstances, Instances, check_room, registrations_of
from batchyard.sim.requests import Requests
from batchyard.sim.trace import Trace

#: More than any trace asks for: a machine that bounds nothing.
_UNBOUNDED = Amount(cpu_milli=10**12, memory_mib=10**12, gpu_count=10**9)
_MS_PER_S = 1000
_MICRO = 1_000_000
_HOSTS_MAX = 100_000

_NotNegative = Annotated[float, Meta(ge=0, le=10**9)]
_Count = Annotated[int, Meta(ge=0, le=10**9)]


class BadConfig(Exception):
    """A configuration that is not one. The text names the file, and what is wrong where."""


class _Machine(Struct, forbid_unknown_fields=True, kw_only=True):
    """What jobs can have of all machines together: `count` of them, each of this size."""

    vcpus: Annotated[int, Meta(ge=1, le=10**9)]
    memory_mib: _Count | None = None
    gpus: _Count = 0
    count: Annotated[int, Meta(ge=1, le=_HOSTS_MAX)] = 1


class _Delays(Struct, forbid_unknown_fields=True, kw_only=True):
    #: From a launch to the moment when jobs can be placed.
    instance_boot_s: _NotNegative = 0.0
    #: How long an idle instance is kept; `minScaleDownDelayMinutes` of an environment goes first.
    instance_idle_s: _NotNegative = 60.0
    #: From the placement of a job to the start of its process: on instances, and on Fargate.
    task_start_s: _NotNegative = 0.0
    fargate_start_s: _NotNegative = 0.0


class _Prices(Struct, forbid_unknown_fields=True, kw_only=True):
    #: What Spot costs of the price on demand, where no price is given.
    spot_percent: Annotated[int, Meta(ge=1, le=100)] = SPOT_PERCENT_DEFAULT
    #: USD an hour, by instance type.
    spot_usd: dict[str, _NotNegative] = {}
    #: USD an hour, for Fargate on demand. AWS's list price of Linux on x86 in us-east-1.
    fargate_vcpu_usd: _NotNegative = 0.04048
    fargate_gb_usd: _NotNegative = 0.004445


class _Interruptions(Struct, forbid_unknown_fields=True, kw_only=True):
    #: How often each Spot instance is reclaimed.
    per_hour: _NotNegative = 0.0
    notice_s: _NotNegative = float(SPOT_NOTICE_SECONDS)
    #: How often a job is tried again whose instance was taken away.
    retries: Annotated[int, Meta(ge=0, le=ATTEMPTS_MAX - 1)] = 0


class _Document(Struct, forbid_unknown_fields=True, kw_only=True):
    """A configuration as it is written."""

    name: str = ""
    #: Of the trace's queues, by name: the queue of this configuration that takes their jobs.
    queues: dict[str, str] = {}
    #: The queue for all other jobs; else the first.
    default_queue: str = ""
    machine: _Machine | None = None
    delays: _Delays = msgspec.field(default_factory=_Delays)
    prices: _Prices = msgspec.field(default_factory=_Prices)
    interruptions: _Interruptions = msgspec.field(default_factory=_Interruptions)
    compute_environments: list[Json] = msgspec.field(
        name="computeEnvironments", default_factory=list
    )
    service_environments: list[Json] = msgspec.field(
        name="serviceEnvironments", default_factory=list
    )
    scheduling_policies: list[Json] = msgspec.field(name="schedulingPolicies", default_factory=list)
    job_queues: list[Json] = msgspec.field(name="jobQueues")
    quota_shares: list[Json] = msgspec.field(name="quotaShares", default_factory=list)
    #: Of UNMANAGED environments, there from the beginning.
    instances: list[Instances] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class FargatePrices:
    """Millionths of a USD an hour, on demand; Spot costs `spot_percent` of it."""

    vcpu_micro: int
    gb_micro: int
    spot_percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration, checked."""

    name: str
    hosts: tuple[i.PutHost, ...]
    environments: tuple[i.PutEnvironment, ...]
    #: In the order of their making; the first takes what no other is named for.
    queues: tuple[i.PutQueue, ...]
    quota_shares: tuple[i.PutQuotaShare, ...] = ()
    #: Instances of UNMANAGED environments, after all of these.
    registrations: tuple[i.RegisterInstances, ...] = ()
    #: By the name that a trace has for it.
    queue_by_name: Mapping[str, QueueArn] = field(default_factory=dict)
    default_queue: QueueArn
    task_start_ms: int = 0
    fargate_start_ms: int = 0
    fargate_prices: FargatePrices
    interruptions_per_hour: float = 0.0
    interruption_retries: int = 0
    interruption_notice_ms: int = SPOT_NOTICE_SECONDS * _MS_PER_S
    #: What of where it comes from was left out or changed, each a sentence.
    notes: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[i.Input, ...]:
        """Give everything there is, in an order in which it can be made."""
        return (*self.hosts, *self.environments, *self.queues, *self.quota_shares)

    @property
    def cpu_milli_most(self) -> int:
        """Tell how many thousandths of vCPUs its queues can use at most; 0: nothing bounds them."""
        arns = {arn for queue in self.queues for arn in queue.environment_arns}
        most = sum(_cpu_milli_of(each) for each in self.environments if each.arn in arns)
        most += sum(
            each.capacity.cpu_milli * each.count
            for each in self.registrations
            if each.environment_arn in arns
        )
        most = min(most, sum(host.capacity.cpu_milli for host in self.hosts))
        return 0 if most >= _UNBOUNDED.cpu_milli else most

    @property
    def service_queues(self) -> Mapping[QueueArn, None]:
        """Name the queues of service jobs."""
        return {
            queue.arn: None
            for queue in self.queues
            if any(map(is_service_environment_arn, queue.environment_arns))
        }

    def queue_of(self, name: str) -> QueueArn:
        """Tell which queue takes the jobs that a trace has in a queue of this name."""
        return self.queue_by_name.get(name, self.default_queue)

    def interruption_rate(self, seed: int) -> InterruptionRate:
        """Say how Spot instances are reclaimed: the same way with the same seed."""
        return InterruptionRate(
            per_hour=self.interruptions_per_hour, seed=seed, notice_ms=self.interruption_notice_ms
        )


def read_config(path: Path) -> Config:
    """Read a configuration. Raises `BadConfig`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: cannot be read: {error}") from error
    return parse_config(text, name=path.stem, where=str(path))


def parse_config(text: str, *, name: str, where: str) -> Config:
    """Make a configuration of its text; `name` is its name unless it has one of its own.

    Raises `BadConfig`, beginning with `where`.
    """
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
        return _config_of(document, name)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{where}: is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise BadConfig(f"{where}: {error}") from error
    except Refusal as refusal:
        raise BadConfig(f"{where}: {refusal.message}") from refusal
    except (BadConfig, BadInstances) as error:
        raise BadConfig(f"{where}: {error}") from None


def default_config(trace: Trace) -> Config:
    """Give one queue on one Fargate environment, as large as the machine of the trace.

    Of a trace that does not say it is as large as its largest job, or as its work at an even pace
    from the first submission to the last, whichever is more.
    """
    vcpus = trace.processors or _vcpus_of_work(trace)
    return parse_config(_DEFAULT.format(vcpus=vcpus), name="default", where="default")


_DEFAULT = """
[[computeEnvironments]]
computeEnvironmentName = "default"
computeResources = {{ type = "FARGATE", maxvCpus = {vcpus} }}
[[jobQueues]]
jobQueueName = "default"
priority = 1
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "default" }}]
"""


def _vcpus_of_work(trace: Trace) -> int:
    largest = max((job.demand.cpu_milli for job in trace.jobs), default=1000)
    work = sum(job.demand.cpu_milli * job.run_ms * (job.array_size or 1) for job in trace.jobs)
    span_ms = trace.jobs[-1].submitted_ms - trace.jobs[0].submitted_ms if trace.jobs else 0
    pace = work // span_ms if span_ms else 0
    return -(-max(largest, pace) // 1000)


def _config_of(document: _Document, name: str) -> Config:
    requests = Requests(_launch_times(document))
    environments = (
        *map(requests.environment, document.compute_environments),
        *map(requests.service_environment, document.service_environments),
    )
    for policy in document.scheduling_policies:
        requests.policy(policy)
    queues = tuple(map(requests.queue, document.job_queues))
    shares = tuple(map(requests.quota_share, document.quota_shares))
    if not queues:
        raise BadConfig("there is no job queue")
    arns = {name_in_arn(queue.arn): queue.arn for queue in queues}
    default = document.default_queue or name_in_arn(queues[0].arn)
    for asked in (default, *document.queues.values()):
        if asked not in arns:
            raise BadConfig(f"there is no job queue {asked}; there are: {', '.join(arns)}")
    registrations = registrations_of(document.instances, environments)
    hosts = _hosts_of(document.machine)
    check_room((*hosts, *environments), registrations)
    delays, prices = document.delays, document.prices
    return Config(
        name=document.name or name,
        hosts=hosts,
        environments=environments,
        queues=queues,
        quota_shares=shares,
        registrations=registrations,
        queue_by_name=arns | {theirs: arns[ours] for theirs, ours in document.queues.items()},
        default_queue=arns[default],
        task_start_ms=_ms(delays.task_start_s),
        fargate_start_ms=_ms(delays.fargate_start_s),
        fargate_prices=FargatePrices(
            vcpu_micro=round(prices.fargate_vcpu_usd * _MICRO),
            gb_micro=round(prices.fargate_gb_usd * _MICRO),
            spot_percent=prices.spot_percent,
        ),
        interruptions_per_hour=document.interruptions.per_hour,
        interruption_retries=document.interruptions.retries,
        interruption_notice_ms=_ms(document.interruptions.notice_s),
    )


def _cpu_milli_of(environment: i.PutEnvironment) -> int:
    """Tell how many vCPUs an environment may have; those of UNMANAGED ones are registered."""
    if environment.limits is None:
        is_unmanaged = environment.kind is EnvironmentKind.UNMANAGED
        return 0 if is_unmanaged else environment.cpu_milli_max
    if NUM_INSTANCES in environment.limits:
        return _UNBOUNDED.cpu_milli
    return sum(
        capacity.cpu_milli * count
        for unit, count in environment.limits.items()
        if (capacity := capacity_of_training(unit)) is not None
    )


def _launch_times(document: _Document) -> LaunchTimes:
    prices = document.prices
    return LaunchTimes(
        boot_ms=_ms(document.delays.instance_boot_s),
        idle_ms=_ms(document.delays.instance_idle_s),
        market=SpotMarket(
            percent=prices.spot_percent,
            price_micro_by_type={
                name: round(usd * _MICRO) for name, usd in prices.spot_usd.items()
            },
        ),
    )


def _hosts_of(machine: _Machine | None) -> tuple[i.PutHost, ...]:
    if machine is None:
        return (i.PutHost(host_id=HostId("machine"), capacity=_UNBOUNDED),)
    capacity = Amount(
        cpu_milli=machine.vcpus * 1000,
        memory_mib=_UNBOUNDED.memory_mib if machine.memory_mib is None else machine.memory_mib,
        gpu_count=machine.gpus,
    )
    return tuple(
        i.PutHost(host_id=HostId(f"machine-{number:05d}"), capacity=capacity)
        for number in range(machine.count)
    )


def _ms(seconds: float) -> int:
    return round(seconds * _MS_PER_S)
