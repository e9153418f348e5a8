"""What a seed asks for: which faults are possible, and what callers do when.

All of it is drawn before anything runs, as plain data, so that a failing run can be made smaller by
leaving parts out. `@NAME` in a request stands for the id of the job that the item NAME submitted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

#: Everything that can go wrong. A seed draws those that are possible in its run.
FAULTS = (
    "crash",
    "slow_commit",
    "commit_trouble",
    "read_trouble",
    "backend_trouble",
    "slow_backend",
    "slow_secret",
    "missing_secret",
    "late_report",
    "double_report",
    "lost_report",
    "lost_task",
    "lost_host",
    "smaller_host",
    "reclaimed_instance",
    "clock_jump",
    "spot_market",
    "slow_pull",
)
#: Drawn when all else is: a seed of before it keeps its world as far as it can.
_DRAWN_LAST = "slow_pull"
_RUSH_CHANCE = 0.25

_MINUTE_MS = 60_000
_SPAN_MS = 6 * _MINUTE_MS
_SUBNETS = {"subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
_ROLE = "arn:aws:iam::123456789012:role/execution"
_SECRET = {
    "name": "KEY",
    "valueFrom": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key-AbCdEf",
}
_QUEUES = "arn:aws:batch:eu-central-1:123456789012:job-queue"
_POLICIES = "arn:aws:batch:eu-central-1:123456789012:scheduling-policy"
_LIMITED = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
)
_IMAGES = ("ok", "ok", "bad", "flaky", "long", "stubborn", "nostart")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that a caller does. One that is `needed` is asked again until it is accepted."""

    at_ms: int
    operation: str
    request: Json
    job: str = ""
    is_needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a run is made of, beside the dice that are thrown while it runs."""

    seed: int
    faults: tuple[str, ...]
    items: tuple[Item, ...]


def draw_schedule(seed: int) -> Schedule:
    """Draw what happens in the run of a seed."""
    chance = Random(f"{seed}/schedule")
    eagerness = chance.choice((0.15, 0.4, 0.7))
    faults = [each for each in FAULTS if each != _DRAWN_LAST and chance.random() < eagerness]
    drawing = _Drawing(chance)
    items = drawing.draw()
    if chance.random() < eagerness:
        faults.append(_DRAWN_LAST)
    if chance.random() < _RUSH_CHANCE:
        items = drawing.rush()
    return Schedule(seed=seed, faults=tuple(faults), items=tuple(items))


class _Drawing:
    """The items of one seed, as they are drawn."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.items: list[Item] = []
        self.queues: list[str] = []
        self.environments: list[str] = []
        self.jobs: list[tuple[str, int, int]] = []  # name, array size, when
        self.training: list[tuple[str, int]] = []  # name, when
        #: Those that jobs are submitted by.
        self.definitions: list[str] = []

    def draw(self) -> list[Item]:
        chance = self.chance
        for kind in ("ec2", "fargate", "spot", "unmanaged"):
            if chance.random() < 0.45:
                self._environment(kind)
        if not self.environments:
            self._environment(chance.choice(("ec2", "fargate")))
        self._consumables()
        for environment in list(self.environments):
            self._queue(environment, chance.choice(("fifo", "fifo", "fair", "quota")))
        if chance.random() < 0.25:
            self._training()
        # In their order, so that one can depend on those before it.
        times = sorted(self._when() for _ in range(chance.choice((2, 5, 12))))
        for number, at_ms in enumerate(times):
            self._job(number, at_ms)
        self._definitions()
        for number in range(chance.choice((0, 3, 7))):
            self._change(number)
        self.items.sort(key=lambda item: item.at_ms)
        return self.items

    def rush(self) -> list[Item]:
        """Let two more queues of one environment have much to do at once, one before the other."""
        chance, at_ms = self.chance, self._when()
        environment = chance.choice(self.environments)
        definition = "fargate-ok" if environment == "fargate" else "ec2-ok"
        if definition not in self.definitions:
            self.definitions = [definition]
            self._definitions()
        order = [{"order": 0, "computeEnvironment": environment}]
        for name, priority in (("q-low", 3), ("q-high", 4)):
            self._add(
                "CreateJobQueue",
                jobQueueName=name,
                priority=priority,
                computeEnvironmentOrder=order,
            )
            for number in range(chance.randint(3, 8)):
                self._add(
                    "SubmitJob",
                    at_ms=at_ms + chance.randrange(3000),
                    job=f"{name}-{number}",
                    jobName=f"{name}-{number}",
                    jobQueue=name,
                    jobDefinition=definition,
                )
        self.items.sort(key=lambda item: item.at_ms)
        return self.items

    def _add(self, what: str, /, *, at_ms: int = 0, job: str = "", **request: Any) -> None:
        is_needed = at_ms == 0
        self.items.append(
            Item(at_ms=at_ms, operation=what, request=request, job=job, is_needed=is_needed)
        )

    def _when(self) -> int:
        """Draw a moment; often one that others share."""
        at_ms = self.chance.randrange(1000, _SPAN_MS)
        return at_ms if self.chance.random() < 0.5 else at_ms // 60_000 * 60_000 + 1000

    def _environment(self, kind: str, name: str = "", at_ms: int = 0) -> None:
        name = name or kind
        vcpus = self.chance.choice((2, 4, 8))
        request: Json = {"computeEnvironmentName": name, "type": "MANAGED"}
        if kind == "unmanaged":
            request |= {"type": "UNMANAGED", "unmanagedvCpus": vcpus, "serviceRole": _ROLE}
        elif kind == "fargate":
            spot = "_SPOT" if self.chance.random() < 0.3 else ""
            request["computeResources"] = {
                "type": f"FARGATE{spot}",
                "maxvCpus": vcpus,
                **_SUBNETS,
            }
        else:
            request["computeResources"] = {
                "type": kind.upper(),
                "minvCpus": self.chance.choice((0, 0, 2)),
                "maxvCpus": vcpus,
                "instanceTypes": ["c5.large", "c5.xlarge"],
                "instanceRole": "ecsInstanceRole",
                "allocationStrategy": "BEST_FIT_PROGRESSIVE",
                **_SUBNETS,
            }
        self._add("CreateComputeEnvironment", at_ms=at_ms, **request)
        if kind == "unmanaged":
            self._add(
                "RegisterInstances", computeEnvironment=name, vcpus=2, memoryMib=4096, count=2
            )
        if name not in self.environments:
            self.environments.append(name)

    def _queue(self, environment: str, kind: str) -> None:
        name, more = f"q-{environment}", Json()
        policy: Json
        if kind == "fair":
            policy = {"shareDecaySeconds": 60, "computeReservation": self.chance.choice((0, 30))}
            self._add("CreateSchedulingPolicy", name=f"p-{name}", fairsharePolicy=policy)
        elif kind == "quota":
            policy = {"idleResourceAssignmentStrategy": "FIFO"}
            self._add("CreateSchedulingPolicy", name=f"p-{name}", quotaSharePolicy=policy)
        if kind != "fifo":
            more["schedulingPolicyArn"] = f"{_POLICIES}/p-{name}"
        order = [environment]
        others = [each for each in self.environments if each != environment]
        if environment in ("ec2", "spot") and self.chance.random() < 0.3:
            order += [each for each in others if each in ("ec2", "spot")]
        if kind == "fifo" and self.chance.random() < 0.2:
            limits = {"state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL"}
            more["jobStateTimeLimitActions"] = [{"reason": each, **limits} for each in _LIMITED]
        self._add(
            "CreateJobQueue",
            jobQueueName=name,
            priority=self.chance.randrange(3),
            computeEnvironmentOrder=[
                {"order": number, "computeEnvironment": each} for number, each in enumerate(order)
            ],
            **more,
        )
        self.queues.append(f"{name}/{kind}")
        if kind == "quota":
            self._quota_share(name, "a")
            self._quota_share(name, "b")

    def _quota_share(self, queue: str, name: str) -> None:
        strategy = self.chance.choice(("LEND", "RESERVE", "LEND_AND_BORROW"))
        sharing: Json = {"strategy": strategy}
        if strategy == "LEND_AND_BORROW":
            sharing["borrowLimit"] = self.chance.choice((50, 100, -1))
        preemption = self.chance.choice(("ENABLED", "DISABLED"))
        self._add(
            "CreateQuotaShare",
            jobQueue=queue,
            quotaShareName=name,
            capacityLimits=[{"maxCapacity": self.chance.choice((1, 2, 4)), "capacityUnit": "VCPU"}],
            resourceSharingConfiguration=sharing,
            preemptionConfiguration={"inSharePreemption": preemption},
        )

    def _consumables(self) -> None:
        for name, kind in (("license", "REPLENISHABLE"), ("token", "NON_REPLENISHABLE")):
            self._add(
                "CreateConsumableResource",
                consumableResourceName=name,
                totalQuantity=self.chance.choice((1, 3)),
                resourceType=kind,
            )

    def _definitions(self) -> None:
        for name in dict.fromkeys(self.definitions):
            platform, _, what = name.partition("-")
            self._add("RegisterJobDefinition", jobDefinitionName=name, **_defined(platform, what))

    def _training(self) -> None:
        self._add(
            "CreateServiceEnvironment",
            serviceEnvironmentName="se",
            serviceEnvironmentType="SAGEMAKER_TRAINING",
            capacityLimits=[{"capacityUnit": "NUM_INSTANCES", "maxCapacity": 2}],
        )
        queue, job = Json(), Json()
        if self.chance.random() < 0.5:
            policy = {"shareDecaySeconds": 60, "computeReservation": 0}
            self._add("CreateSchedulingPolicy", name="p-training", fairsharePolicy=policy)
            queue["schedulingPolicyArn"] = f"{_POLICIES}/p-training"
            job = {"shareIdentifier": "x", "schedulingPriority": 1}
        self._add(
            "CreateJobQueue",
            jobQueueName="q-training",
            jobQueueType="SAGEMAKER_TRAINING",
            priority=1,
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": "se"}],
            **queue,
        )
        for number in range(self.chance.choice((1, 3))):
            at_ms = self._when()
            self.training.append((f"t{number}", at_ms))
            algorithm = {"TrainingImage": "flaky", "TrainingInputMode": "File"}
            payload = {
                "AlgorithmSpecification": algorithm,
                "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": number + 1},
            }
            self._add(
                "SubmitServiceJob",
                at_ms=at_ms,
                job=f"t{number}",
                jobName=f"t{number}",
                jobQueue="q-training",
                serviceJobType="SAGEMAKER_TRAINING",
                serviceRequestPayload=json.dumps(payload),
                retryStrategy={"attempts": self.chance.choice((1, 3))},
                **job,
            )

    def _job(self, number: int, at_ms: int) -> None:
        chance, name = self.chance, f"j{number}"
        queue, kind = chance.choice(self.queues).split("/")
        platform = "fargate" if queue == "q-fargate" else "ec2"
        choices = [*_IMAGES, "secret"]
        if platform == "ec2":
            choices += ["nodes", "license", "token"]
        what = chance.choice(choices)
        definition = f"{platform}-{what}"
        self.definitions.append(definition)
        request: Json = {
            "jobName": name,
            "jobQueue": queue,
            "jobDefinition": definition,
            "retryStrategy": self._retries(),
        }
        size = 0
        if what != "nodes" and chance.random() < 0.3:
            size = chance.choice((2, 3, 5))
            request["arrayProperties"] = {"size": size}
        if what in ("long", "stubborn") or chance.random() < 0.2:
            request["timeout"] = {"attemptDurationSeconds": chance.choice((60, 90))}
        if after := self._after(size):
            request["dependsOn"] = after
        if kind == "fair":
            request["shareIdentifier"] = chance.choice("xyz")
            request["schedulingPriorityOverride"] = chance.randrange(3)
        elif kind == "quota":
            request["shareIdentifier"] = chance.choice("ab")
            request["schedulingPriorityOverride"] = chance.randrange(3)
        self._add("SubmitJob", at_ms=at_ms, job=name, **request)
        self.jobs.append((name, size, at_ms))

    def _retries(self) -> Json:
        attempts = self.chance.choice((1, 1, 2, 4))
        if self.chance.random() < 0.6:
            return {"attempts": attempts}
        rules = [
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onExitCode": "1*", "action": self.chance.choice(("RETRY", "EXIT"))},
            {"onReason": "*", "action": "EXIT"},
        ]
        return {"attempts": attempts, "evaluateOnExit": rules}

    def _after(self, size: int) -> list[Json]:
        chance, found = self.chance, []
        for name, other, _ in self.jobs:
            if chance.random() > 0.2:
                continue
            if size and size == other and chance.random() < 0.7:
                found.append({"jobId": f"@{name}", "type": "N_TO_N"})
            else:
                found.append({"jobId": f"@{name}"})
        if size and chance.random() < 0.2:
            found.append({"type": "SEQUENTIAL"})
        return found[:3]

    def _change(self, number: int) -> None:
        chance, at_ms = self.chance, self._when()
        changes = [self._stop, self._stop, self._update_environment, self._update_queue]
        changes += [self._delete_queue, self._update_consumable]
        changes += [self._update_share, self._update_quota_share]
        if self.training:
            changes += [self._prioritize, self._prioritize, self._stop_training]
        chance.choice(changes)(at_ms, number)

    def _later(self, at_ms: int) -> int:
        """Draw a moment in the life of what was submitted then."""
        return at_ms + self.chance.choice((0, 50, self.chance.randrange(90_000)))

    def _stop(self, _at_ms: int, number: int) -> None:
        name, size, at_ms = self.chance.choice(self.jobs)
        target = f"@{name}"
        if size and self.chance.random() < 0.5:
            target += f":{self.chance.randrange(size)}"
        operation = self.chance.choice(("CancelJob", "TerminateJob"))
        self._add(operation, at_ms=self._later(at_ms), jobId=target, reason=f"change {number}")

    def _update_environment(self, at_ms: int, _number: int) -> None:
        name = self.chance.choice(self.environments)
        request: Json = {"computeEnvironment": name}
        if name != "unmanaged" and self.chance.random() < 0.6:
            request["computeResources"] = {"maxvCpus": self.chance.choice((2, 4, 8))}
        else:
            request["state"] = "DISABLED"
            again_ms = at_ms + self.chance.randrange(1000, 90_000)
            more = {"computeEnvironment": name, "state": "ENABLED"}
            self._add("UpdateComputeEnvironment", at_ms=again_ms, **more)
        self._add("UpdateComputeEnvironment", at_ms=at_ms, **request)

    def _update_queue(self, at_ms: int, _number: int) -> None:
        name = self.chance.choice(self.queues).split("/")[0]
        request: Json = {"jobQueue": name, "priority": self.chance.randrange(5)}
        if self.chance.random() < 0.5:
            request["state"] = "DISABLED"
            again_ms = at_ms + self.chance.randrange(1000, 90_000)
            self._add("UpdateJobQueue", at_ms=again_ms, jobQueue=name, state="ENABLED")
        self._add("UpdateJobQueue", at_ms=at_ms, **request)

    def _delete_queue(self, at_ms: int, _number: int) -> None:
        """Take a queue away with its environment, whatever is in them; late, or all would be."""
        at_ms = _SPAN_MS // 2 + at_ms // 2
        name = self.chance.choice(self.queues).split("/")[0]
        environment = name.removeprefix("q-")
        self._add("UpdateJobQueue", at_ms=at_ms, jobQueue=name, state="DISABLED")
        self._add("DeleteJobQueue", at_ms=at_ms + 2_000, jobQueue=name)
        off = {"computeEnvironment": environment, "state": "DISABLED"}
        self._add("UpdateComputeEnvironment", at_ms=at_ms + 20_000, **off)
        self._add("DeleteComputeEnvironment", at_ms=at_ms + 22_000, computeEnvironment=environment)
        if self.chance.random() < 0.5:
            self._environment(environment, at_ms=at_ms + 80_000)

    def _update_share(self, at_ms: int, _number: int) -> None:
        fair = [each.split("/")[0] for each in self.queues if each.endswith("/fair")]
        if fair:
            arn = f"{_POLICIES}/p-{fair[0]}"
            weights = [{"shareIdentifier": "x*", "weightFactor": 0.5}]
            policy = {"shareDecaySeconds": 0, "shareDistribution": weights}
            self._add("UpdateSchedulingPolicy", at_ms=at_ms, arn=arn, fairsharePolicy=policy)

    def _stop_training(self, _at_ms: int, number: int) -> None:
        name, at_ms = self.chance.choice(self.training)
        self._add(
            "TerminateServiceJob",
            at_ms=self._later(at_ms),
            jobId=f"@{name}",
            reason=f"change {number}",
        )

    def _prioritize(self, _at_ms: int, _number: int) -> None:
        name, at_ms = self.chance.choice(self.training)
        self._add(
            "UpdateServiceJob",
            at_ms=self._later(at_ms),
            jobId=f"@{name}",
            schedulingPriority=self.chance.randrange(3),
        )

    def _update_quota_share(self, at_ms: int, _number: int) -> None:
        quota = [each.split("/")[0] for each in self.queues if each.endswith("/quota")]
        if quota:
            self._add(
                "UpdateQuotaShare",
                at_ms=at_ms,
                quotaShareArn=f"{_QUEUES}/{quota[0]}/quota-share/{self.chance.choice('ab')}",
                capacityLimits=[{"maxCapacity": self.chance.randrange(5), "capacityUnit": "VCPU"}],
                preemptionConfiguration={"inSharePreemption": "ENABLED"},
            )

    def _update_consumable(self, at_ms: int, _number: int) -> None:
        self._add(
            "UpdateConsumableResource",
            at_ms=at_ms,
            consumableResource=self.chance.choice(("license", "token")),
            operation="ADD",
            quantity=self.chance.randrange(1, 4),
            clientToken=f"at-{at_ms}",
        )


def _defined(platform: str, what: str) -> Json:
    """Give what a definition has, beside its name."""
    if what == "nodes":
        nodes = [{"targetNodes": "0:", "container": _container(platform, "flaky")}]
        properties = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": nodes}
        return {"type": "multinode", "nodeProperties": properties}
    container = _container(platform, what if what in _IMAGES else "ok")
    defined: Json = {"type": "container", "containerProperties": container}
    if what in ("license", "token"):
        taken = [{"consumableResource": what, "quantity": 1}]
        defined["consumableResourceProperties"] = {"consumableResourceList": taken}
    elif what == "secret":
        container |= {"executionRoleArn": _ROLE, "secrets": [_SECRET]}
    if platform == "fargate":
        container["executionRoleArn"] = _ROLE
        defined["platformCapabilities"] = ["FARGATE"]
    return defined


def _container(platform: str, image: str) -> Json:
    vcpus = "0.5" if platform == "fargate" else "1"
    return {
        "image": image,
        "resourceRequirements": [
            {"type": "VCPU", "value": vcpus},
            {"type": "MEMORY", "value": "1024"},
        ],
    }


def without(items: Sequence[Item], dropped: Sequence[int]) -> tuple[Item, ...]:
    """Give the items but for those at the given places."""
    gone = set(dropped)
    return tuple(item for place, item in enumerate(items) if place not in gone)
