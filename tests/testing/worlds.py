"""Worlds in which a job waits, and the changes that are told for it, made through the API.

Owns how a world is built from one script again and again, alike but for one change, and what each
kind of change is for a caller of AWS Batch. Refuses to know what should be told: see the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from datetime import timedelta
from itertools import count
from typing import Any

from batchyard.model.amounts import Amount
from batchyard.model.fargate_sizes import MEMORY_MIB_BY_CPU_MILLI
from batchyard.testing import Yard, yard

NETWORK = {"subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
NOTHING = Amount()
#: A role of the caller's own: AWS changes it for none but another such one.
OWN_ROLE = "arn:aws:iam::000000000000:role/AWSBatchServiceRole"
_OF_ENVIRONMENTS = (
    "RAISE_MAX_VCPUS",
    "RAISE_BID",
    "BUY_ON_DEMAND",
    "ENABLE_ENVIRONMENT",
    "REPAIR_ENVIRONMENT",
)
#: A job with such a status has started.
STARTED = ("STARTING", "RUNNING", "SUCCEEDED")
#: What a caller cannot change of a job afterwards, nor of a machine.
_MADE_FROM_THE_BEGINNING = ("ASK_FOR_LESS", "RAISE_SCHEDULING_PRIORITY", "ADD_CAPACITY")
#: An account may have 50 queues and environments; no world makes more than four.
_WORLDS_PER_YARD = 12


class World:
    """What one script makes in a yard: names in it begin with the world's own."""

    def __init__(self, made: Yard, name: str, *, less: Amount, priority_more: int) -> None:
        """Make the subject ask for `less`, and give it so much more scheduling priority."""
        self.yard, self.name = made, name
        self.batch = made.client("batch")
        self.own = made.client("batchyard")
        self.less, self.priority_more = less, priority_more
        self.policy_by_queue: dict[str, str] = {}
        self.definition_count = 0
        #: What the subject asks for.
        self.asked = NOTHING

    def named(self, name: str) -> str:
        return f"{self.name}-{name}"

    # -- making ---------------------------------------------------------------------------------

    def environment(
        self,
        name: str = "ce",
        vcpus: int = 2,
        *,
        kind: str = "EC2",
        state: str = "ENABLED",
        role: str | None = None,
        **more: Any,
    ) -> None:
        """Make a managed one; `role` is its service role, if it is not AWS's own."""
        resources = {"type": kind, "maxvCpus": vcpus, **NETWORK}
        if kind in ("EC2", "SPOT"):
            resources |= {
                "minvCpus": 0,
                "instanceTypes": ["c6i.large"],
                "instanceRole": "ecsInstanceRole",
                "allocationStrategy": "BEST_FIT_PROGRESSIVE",
            }
        self.batch.create_compute_environment(
            computeEnvironmentName=self.named(name),
            type="MANAGED",
            state=state,
            computeResources=resources | more,
            **({} if role is None else {"serviceRole": role}),
        )

    def unmanaged(self, name: str = "ce") -> None:
        self.batch.create_compute_environment(
            computeEnvironmentName=self.named(name),
            type="UNMANAGED",
            serviceRole=OWN_ROLE,
        )

    def eks(self, name: str = "ce") -> None:
        """Make one of Kubernetes, which nothing here is connected to."""
        self.batch.create_compute_environment(
            computeEnvironmentName=self.named(name),
            type="MANAGED",
            eksConfiguration={
                "eksClusterArn": "arn:aws:eks:us-east-1:000000000000:cluster/c",
                "kubernetesNamespace": "batch",
            },
            computeResources={
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": 4,
                "instanceTypes": ["c6i.large"],
                "instanceRole": "eksInstanceRole",
                "allocationStrategy": "BEST_FIT_PROGRESSIVE",
                **NETWORK,
            },
        )

    def queue(self, name: str = "jq", *environments: str, priority: int = 1, **more: Any) -> None:
        order = [
            {"order": order, "computeEnvironment": self.named(each)}
            for order, each in enumerate(environments or ("ce",), start=1)
        ]
        if "schedulingPolicyArn" in more:
            self.policy_by_queue[self.named(name)] = more["schedulingPolicyArn"]
        self.batch.create_job_queue(
            jobQueueName=self.named(name),
            priority=priority,
            computeEnvironmentOrder=order,
            **more,
        )

    def queue_on(self, vcpus: int = 2, **environment: Any) -> None:
        """Make a queue, and one managed environment for it."""
        self.environment(vcpus=vcpus, **environment)
        self.queue()

    def fair_policy(self, name: str = "fair", **policy: Any) -> str:
        arn: str = self.batch.create_scheduling_policy(
            name=self.named(name), fairsharePolicy={"shareDecaySeconds": 0, **policy}
        )["arn"]
        return arn

    def quota_queue(
        self, name: str = "jq", *, vcpus: int = 8, **shares: tuple[int, dict[str, Any]]
    ) -> None:
        """Make a queue with quota shares, on an environment of its own: so many vCPUs each, and how
        they share.
        """
        environment = "ce" if name == "jq" else f"ce-{name}"
        self.environment(environment, vcpus)
        arn = self.batch.create_scheduling_policy(
            name=self.named("quota"), quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
        )["arn"]
        self.queue(name, environment, schedulingPolicyArn=arn)
        for share, (limit, sharing) in shares.items():
            self.batch.create_quota_share(
                quotaShareName=share,
                jobQueue=self.named(name),
                capacityLimits=[{"maxCapacity": limit, "capacityUnit": "VCPU"}],
                resourceSharingConfiguration=sharing,
                preemptionConfiguration={"inSharePreemption": "DISABLED"},
            )

    def service_queue(self, limit: int) -> None:
        self.batch.create_service_environment(
            serviceEnvironmentName=self.named("se"),
            serviceEnvironmentType="SAGEMAKER_TRAINING",
            capacityLimits=[{"capacityUnit": "NUM_INSTANCES", "maxCapacity": limit}],
        )
        self.batch.create_job_queue(
            jobQueueName=self.named("jq"),
            jobQueueType="SAGEMAKER_TRAINING",
            priority=1,
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": self.named("se")}],
        )

    def submit_service_job(self, instances: int) -> str:
        payload = {
            "AlgorithmSpecification": {"TrainingImage": "busybox", "TrainingInputMode": "File"},
            "RoleArn": "arn:aws:iam::000000000000:role/training",
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": instances,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        }
        job_id: str = self.batch.submit_service_job(
            jobName="train",
            jobQueue=self.named("jq"),
            serviceJobType="SAGEMAKER_TRAINING",
            serviceRequestPayload=json.dumps(payload),
        )["jobId"]
        return job_id

    def disable(self, environment: str) -> None:
        self.batch.update_compute_environment(
            computeEnvironment=self.named(environment), state="DISABLED"
        )
        self.yard.settle()

    def update(self, environment: str, **more: Any) -> None:
        self.batch.update_compute_environment(computeEnvironment=self.named(environment), **more)
        self.yard.settle()

    @staticmethod
    def nodes(count: int, *, vcpus: int) -> dict[str, Any]:
        """Give the definition of a multi-node job."""
        asked = [{"type": "VCPU", "value": str(vcpus)}, {"type": "MEMORY", "value": "512"}]
        container = {"image": "busybox", "command": ["work"], "resourceRequirements": asked}
        ranges = [{"targetNodes": "0:", "container": container}]
        return {
            "nodeProperties": {
                "numNodes": count,
                "mainNode": 0,
                "nodeRangeProperties": ranges,
            }
        }

    def consumable(
        self, name: str = "license", total: int = 1, kind: str = "REPLENISHABLE"
    ) -> None:
        self.batch.create_consumable_resource(
            consumableResourceName=self.named(name), totalQuantity=total, resourceType=kind
        )

    def register_instance(self, environment: str = "ce", **asked: Any) -> str | None:
        """Register an instance; give why it was refused, if it was."""
        wish_id = self.own.register_instances(computeEnvironment=self.named(environment), **asked)[
            "wishId"
        ]
        self.yard.settle()
        answer = self.own.get_instance_wish(wishId=wish_id)
        assert answer["isSettled"]
        refusal: str | None = answer.get("refusal")
        return refusal

    def submit(
        self,
        name: str = "job",
        *,
        vcpus: float = 1,
        memory: int = 512,
        gpus: int = 0,
        queue: str = "jq",
        needs: Mapping[str, int] | None = None,
        is_subject: bool = False,
        is_fargate: bool = False,
        priority: int | None = None,
        definition: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Submit a job, by a definition of its own. `is_subject`: the change is made to it."""
        if is_subject:
            vcpus -= self.less.cpu_milli / 1000
            memory -= self.less.memory_mib
            gpus -= self.less.gpu_count
            self.asked = Amount(cpu_milli=int(vcpus * 1000), memory_mib=memory, gpu_count=gpus)
        if is_subject and self.priority_more:
            priority = (priority or 0) + self.priority_more
        if priority is not None:
            more["schedulingPriorityOverride"] = priority
        self.definition_count += 1
        defined = self.named(f"jd{self.definition_count}")
        asked = {"VCPU": f"{vcpus:g}", "MEMORY": str(memory)} | ({"GPU": str(gpus)} if gpus else {})
        container: dict[str, Any] = {
            "image": "busybox",
            "command": ["work"],
            "resourceRequirements": [{"type": each, "value": asked[each]} for each in asked],
        }
        of_definition: dict[str, Any] = deepcopy(dict(definition or {}))
        if is_subject:
            self._ask_for_less(of_definition.get("nodeProperties", {}))
        if is_fargate:
            of_definition["platformCapabilities"] = ["FARGATE"]
            container["executionRoleArn"] = "arn:aws:iam::000000000000:role/ecsTaskExecutionRole"
        if needs:
            of_definition["consumableResourceProperties"] = {
                "consumableResourceList": [
                    {"consumableResource": self.named(each), "quantity": quantity}
                    for each, quantity in needs.items()
                ]
            }
        if "nodeProperties" in of_definition:
            of_definition["type"] = "multinode"
        elif "eksProperties" not in of_definition:
            of_definition |= {"type": "container", "containerProperties": container}
        self.batch.register_job_definition(jobDefinitionName=defined, **of_definition)
        job_id: str = self.batch.submit_job(
            jobName=name, jobQueue=self.named(queue), jobDefinition=defined, **more
        )["jobId"]
        return job_id

    def _ask_for_less(self, node_properties: dict[str, Any]) -> None:
        """Let each node of the subject ask for less."""
        for each in node_properties.get("nodeRangeProperties", ()):
            asked = {one["type"]: one for one in each["container"]["resourceRequirements"]}
            asked["VCPU"]["value"] = str(int(asked["VCPU"]["value"]) - self.less.cpu_milli // 1000)
            asked["MEMORY"]["value"] = str(int(asked["MEMORY"]["value"]) - self.less.memory_mib)

    # -- looking --------------------------------------------------------------------------------

    def job(self, job_id: str) -> dict[str, Any]:
        """Describe a job, or a service job."""
        described = self.batch.describe_jobs(jobs=[job_id])["jobs"]
        if not described:
            return dict(self.batch.describe_service_job(jobId=job_id))
        found: dict[str, Any] = described[0]
        return found

    def told(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.own.get_job_explanation(jobId=job_id)
        del answer["ResponseMetadata"]
        return answer

    def has_started(self, job_id: str) -> bool:
        """Tell whether a job has its place, or waits for no more than an instance that boots."""
        self.yard.settle()
        if self.job(job_id)["status"] in STARTED:
            return True
        return any(each["cause"] == "INSTANCE_STARTING" for each in self.told(job_id)["reasons"])

    # -- changing -------------------------------------------------------------------------------

    def change(self, change: Mapping[str, Any], by: int) -> None:
        """Make a change that a caller can make afterwards."""
        name = change["subject"].rsplit("/", 1)[-1]
        match change["kind"]:
            case "ENABLE_ENVIRONMENT" if ":service-environment/" in change["subject"]:
                self.batch.update_service_environment(serviceEnvironment=name, state="ENABLED")
            case kind if kind in _OF_ENVIRONMENTS:
                self.batch.update_compute_environment(
                    computeEnvironment=name, **self._other_environment(kind, name, by)
                )
            case "RAISE_QUEUE_PRIORITY":
                priority = self._queue(name)["priority"]
                self.batch.update_job_queue(jobQueue=name, priority=priority + by)
            case "ADD_CONSUMABLE":
                self.batch.update_consumable_resource(
                    consumableResource=name, operation="ADD", quantity=by
                )
            case "LOWER_RESERVATION":
                self._lower_reservation(name, by)
            case "REGISTER_INSTANCE":
                # With one unit less of something else it may be refused.
                self.register_instance(self._local(name), count=by, **change["size"])
            case "RAISE_QUOTA":
                self._raise_quota(change["subject"], change["capacityUnit"], by)
            case "RAISE_CAPACITY_LIMIT":
                self._raise_capacity_limit(name, change["capacityUnit"], by)
            case other:
                raise AssertionError(other)
        self.yard.settle()

    def _other_environment(self, kind: str, name: str, by: int) -> dict[str, Any]:
        """Say what is to be otherwise of an environment."""
        found = self._environment(name)
        resources = found.get("computeResources", {})
        match kind:
            case "RAISE_MAX_VCPUS":
                return {"computeResources": {"maxvCpus": resources["maxvCpus"] + by}}
            case "RAISE_BID":
                percent = resources.get("bidPercentage", 100)
                return {"computeResources": {"bidPercentage": percent + by}}
            case "BUY_ON_DEMAND":
                paid = {"type": "EC2", "allocationStrategy": "BEST_FIT_PROGRESSIVE"}
                return {"computeResources": paid}
            case "REPAIR_ENVIRONMENT" if "Instance profile" in found["statusReason"]:
                return {"computeResources": {"instanceRole": "ecsInstanceRole"}}
            case "REPAIR_ENVIRONMENT" if "sts:AssumeRole" in found["statusReason"]:
                return {"serviceRole": OWN_ROLE}
            case _:
                return {"state": "ENABLED"}

    def _local(self, name: str) -> str:
        return name.removeprefix(self.named(""))

    def _lower_reservation(self, queue: str, by: int) -> None:
        arn = self.policy_by_queue[queue]
        [policy] = self.batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]
        fair = policy["fairsharePolicy"]
        self.batch.update_scheduling_policy(
            arn=arn,
            fairsharePolicy={**fair, "computeReservation": fair["computeReservation"] - by},
        )

    def _raise_quota(self, arn: str, unit: str, by: int) -> None:
        share = self.batch.describe_quota_share(quotaShareArn=arn)
        limits = _raised(share["capacityLimits"], unit, by)
        self.batch.update_quota_share(quotaShareArn=arn, capacityLimits=limits)

    def _raise_capacity_limit(self, name: str, unit: str, by: int) -> None:
        found = self.batch.describe_service_environments(serviceEnvironments=[name])
        limits = _raised(found["serviceEnvironments"][0]["capacityLimits"], unit, by)
        self.batch.update_service_environment(serviceEnvironment=name, capacityLimits=limits)

    def _environment(self, name: str) -> dict[str, Any]:
        found = self.batch.describe_compute_environments(computeEnvironments=[name])
        environment: dict[str, Any] = found["computeEnvironments"][0]
        return environment

    def _queue(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.batch.describe_job_queues(jobQueues=[name])["jobQueues"][0]
        return found


def _raised(limits: list[dict[str, Any]], unit: str, by: int) -> list[dict[str, Any]]:
    """Give capacity limits with one of them higher; one that is not there counts as 0."""
    by_unit = {each["capacityUnit"]: each["maxCapacity"] for each in limits}
    by_unit[unit] = by_unit.get(unit, 0) + by
    return [{"capacityUnit": each, "maxCapacity": most} for each, most in by_unit.items() if most]


#: Builds a world and gives the job that waits in it.
Script = Callable[[World], str]


class Worlds:
    """Builds one world after the other; those that need no machine of their own share yards."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._shared: Yard | None = None
        self._numbers = count()
        self._shared_count = 0

    def build(
        self,
        script: Script,
        own: ExitStack,
        *,
        less: Amount = NOTHING,
        priority_more: int = 0,
        **settings: Any,
    ) -> tuple[World, str]:
        """Build a world; with settings in a yard of its own, which ends with `own`."""
        number = next(self._numbers)
        if settings:
            made = own.enter_context(open_yard(**settings))
        else:
            if self._shared is None or self._shared_count % _WORLDS_PER_YARD == 0:
                self._shared = self._stack.enter_context(open_yard())
            self._shared_count += 1
            made = self._shared
        world = World(made, f"w{number}", less=less, priority_more=priority_more)
        return world, script(world)


def open_yard(**settings: Any) -> Any:
    return yard(run=timedelta(days=365), are_container_quota_shares_allowed=True, **settings)


def with_changes(
    worlds: Worlds,
    script: Script,
    own: ExitStack,
    changes: Sequence[Mapping[str, Any]],
    **settings: Any,
) -> tuple[World, str]:
    """Build a world once more, and make changes in it, of each as many units as it says."""
    less, priority_more = NOTHING, 0
    for each in changes:
        amount = amount_of(each, each["by"])
        match each["kind"]:
            case "ASK_FOR_LESS":
                less += amount
            case "RAISE_SCHEDULING_PRIORITY":
                priority_more += each["by"]
            case "ADD_CAPACITY":
                settings = {**settings, "machine": settings["machine"] + amount}
            case _:
                pass
    world, job_id = worlds.build(script, own, less=less, priority_more=priority_more, **settings)
    for each in changes:
        if each["kind"] not in _MADE_FROM_THE_BEGINNING:
            world.change(_in_world(each, world), each["by"])
    return world, job_id


def with_one_less(
    changes: Sequence[Mapping[str, Any]], at: int, asked: Amount
) -> list[Mapping[str, Any]]:
    """Give the changes with one unit less of one of them."""
    less = {**changes[at], "by": one_less(changes[at], asked)}
    return [each for each in (*changes[:at], less, *changes[at + 1 :]) if each["by"]]


def amount_of(change: Mapping[str, Any], by: int) -> Amount:
    unit_milli = change.get("unitMilli", 1000)
    match change.get("dimension"):
        case "VCPUS":
            return Amount(cpu_milli=by * unit_milli)
        case "MEMORY_MIB":
            return Amount(memory_mib=by)
        case "GPUS":
            return Amount(gpu_count=by)
        case _:
            return Amount()


def _in_world(change: Mapping[str, Any], world: World) -> Mapping[str, Any]:
    """Name the same thing in another world; names there begin with the world's."""
    return {**change, "subject": re.sub(r"\bw[0-9]+-", world.named(""), change["subject"])}


def one_less(change: Mapping[str, Any], asked: Amount) -> int:
    """Give how many units are one less than those of a change; what Fargate has not got is left
    out.
    """
    less: int = change["by"] - 1
    if change["kind"] != "ASK_FOR_LESS" or not _is_fargate_size(asked):
        return less
    while less and not _is_fargate_size(asked - amount_of(change, less)):
        less -= 1
    return less


def _is_fargate_size(asked: Amount) -> bool:
    return asked.memory_mib in MEMORY_MIB_BY_CPU_MILLI.get(asked.cpu_milli, ())


def check_all_that_is_told(
    worlds: Worlds,
    script: Script,
    own: ExitStack,
    told: Mapping[str, Any],
    asked: Amount,
    **settings: Any,
) -> None:
    """Make each change that is told in a world of its own, and each with one unit less."""
    ways: list[list[Mapping[str, Any]]] = [[each] for each in told["changes"]]
    if "together" in told:
        ways.append(told["together"]["changes"])
    for way in ways:
        world, job_id = with_changes(worlds, script, own, way, **settings)
        assert world.has_started(job_id), way
        for at in range(len(way)):
            less = with_one_less(way, at, asked)
            if less:
                world, job_id = with_changes(worlds, script, own, less, **settings)
                assert not world.has_started(job_id), (way, less)
