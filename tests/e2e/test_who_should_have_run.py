"""Random queues and shares against the rules: who started when, and who should have.

Jobs of random queues, that share environments, are submitted with boto3 while the environments are
DISABLED; then all run, as real containers. Afterwards every placement in the recorded order must be
one that the rules, written down a second time (`turns`), would have made at that moment; and when
the scheduler had finished a turn, nobody may have been waiting who could have started.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pytest

from batchyard.model.ids import name_in_arn
from tests.e2e.live_yard import LiveYard, live_yard, until
from tests.e2e.test_operators_day import change
from tests.e2e.turns import Environment, Job, Policy, Queue, Yard

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

#: vCPUs of the environments, in thousandths: four jobs of the smallest size, and eight.
MAX_BY_NAME = {"narrow": 1000, "wide": 2000}
SIZES = {250: ("0.25", "512"), 500: ("0.5", "1024"), 1000: ("1", "2048")}
SUBMISSION_COUNT = 26
CHILD_COUNT = 4
SHARES = ["a", "b", "team1", "team2", "team3"]
FAILS_FIRST = "[ $AWS_BATCH_JOB_ATTEMPT = 2 ]"


class Fact(NamedTuple):
    turn_ms: int
    kind: str
    job_id: str
    at_ms: int
    environment: str
    is_enabled: bool


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=16) as made:
        for name, milli in MAX_BY_NAME.items():
            made.make_other_queue(name, kind="FARGATE", max_vcpus=milli // 1000)
            change(made, name, state="DISABLED")
        for milli, (vcpu, memory) in SIZES.items():
            made.batch.register_job_definition(
                jobDefinitionName=f"of-{milli}",
                type="container",
                platformCapabilities=["FARGATE"],
                containerProperties={
                    "image": "busybox",
                    "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
                    "resourceRequirements": [
                        {"type": "VCPU", "value": vcpu},
                        {"type": "MEMORY", "value": memory},
                    ],
                },
            )
        yield made


def a_policy(yard: LiveYard, chance: random.Random, name: str) -> tuple[str, Policy]:
    """Create a random policy; give its ARN, and what it says."""
    decay_s = chance.choice([0, 600, 3600])
    percent = chance.choice([0, 0, 50, 80])
    factors = {
        text: chance.choice([0.25, 0.5, 2.0, 8.0])
        for text in ("a", "b", "team*")
        if chance.random() < 0.7
    }
    arn: str = yard.batch.create_scheduling_policy(
        name=name,
        fairsharePolicy={
            "shareDecaySeconds": decay_s,
            "computeReservation": percent,
            "shareDistribution": [
                {"shareIdentifier": text, "weightFactor": factor}
                for text, factor in factors.items()
            ],
        },
    )["arn"]
    return arn, Policy(max(600, decay_s) * 1000, percent, factors)


def make_queues(
    yard: LiveYard, chance: random.Random, environments: dict[str, Environment]
) -> list[Queue]:
    """Create queues of random priorities and policies on the environments."""
    made: list[Queue] = []
    for number in range(chance.randint(2, 4)):
        name, policy, more = f"queue-{number}", None, {}
        if chance.random() < 0.6:
            arn, policy = a_policy(yard, chance, name)
            more = {"schedulingPolicyArn": arn}
        order = chance.choice([["wide"], ["narrow", "wide"], ["wide", "narrow"]])
        priority = chance.randint(1, 2)
        yard.batch.create_job_queue(
            jobQueueName=name,
            priority=priority,
            computeEnvironmentOrder=[
                {"order": at, "computeEnvironment": each} for at, each in enumerate(order, 1)
            ],
            **more,
        )
        made.append(Queue(name, priority, number, [environments[each] for each in order], policy))
    names = [queue.name for queue in made]

    def are_valid() -> bool:
        found = yard.batch.describe_job_queues(jobQueues=names)["jobQueues"]
        return [each["status"] for each in found] == ["VALID"] * len(names)

    until(are_valid, "VALID queues")
    return made


def submit_some(yard: LiveYard, chance: random.Random, queue: Queue, number: int) -> None:
    """Submit a job, or a small array, and note what it is."""
    cpu_milli = chance.choice([*SIZES])
    fails_first = chance.random() < 0.2
    size = CHILD_COUNT if chance.random() < 0.1 else None
    share, priority, more = "", 0, {}
    if queue.policy is not None:
        share, priority = chance.choice(SHARES), chance.randint(0, 2)
        more = {"shareIdentifier": share, "schedulingPriorityOverride": priority}
    script = FAILS_FIRST if fails_first else f"usleep {chance.randint(0, 9) * 10_000}"
    job_id = yard.batch.submit_job(
        jobName=f"j{number}",
        jobQueue=queue.name,
        jobDefinition=f"of-{cpu_milli}",
        retryStrategy={"attempts": 2},
        containerOverrides={"command": ["sh", "-c", script]},
        **({"arrayProperties": {"size": size}} if size else {}),
        **more,
    )["jobId"]
    ids = [f"{job_id}:{index}" for index in range(size)] if size else [job_id]
    queue.jobs += [
        Job(each, number * 100 + index, cpu_milli, share, priority, fails_first)
        for index, each in enumerate(ids)
    ]


def recorded(yard: LiveYard) -> list[Fact]:
    """Read who was placed, who ended and what was enabled, in the order in which it happened.

    From when all is DISABLED.
    """
    with sqlite3.connect(yard.data_path / "batchyard.db") as conn:
        rows = conn.execute(
            "SELECT at_ms, kind, job_id, body FROM events"
            " WHERE kind IN ('AttemptPlaced', 'AttemptEnded', 'EnvironmentSettled') ORDER BY seq"
        ).fetchall()
    conn.close()
    found = []
    for turn_ms, kind, job_id, body in rows:
        told = json.loads(body)
        arn = told.get("environment_arn") or told.get("arn")
        place = name_in_arn(arn) if arn else ""
        is_enabled = told.get("state") == "ENABLED"
        found.append(Fact(turn_ms, kind, job_id, told.get("at_ms", turn_ms), place, is_enabled))
    last = max(
        at
        for at, fact in enumerate(found)
        if fact.kind == "EnvironmentSettled" and not fact.is_enabled
    )
    return found[last + 1 :]


def check(
    queues: Sequence[Queue], environments: dict[str, Environment], facts: Sequence[Fact]
) -> None:
    """Replay what happened, and demand that the rules would have done the same."""
    rules = Yard(queues)
    for turn_ms, of_turn in groupby(facts, key=lambda fact: fact.turn_ms):
        for fact in of_turn:
            if fact.kind == "EnvironmentSettled":
                environments[fact.environment].is_enabled = fact.is_enabled
            elif fact.kind == "AttemptEnded":
                rules.end(fact.job_id, fact.at_ms)
            else:
                expected = list(rules.next(fact.at_ms))
                assert (fact.job_id, fact.environment) in expected, (fact, expected)
                rules.place(fact.job_id, fact.environment, fact.at_ms)
        assert list(rules.next(turn_ms)) == [], turn_ms


@pytest.mark.parametrize("seed", [6, 12])
def test_each_start_is_the_one_that_the_rules_say(yard: LiveYard, seed: int) -> None:
    chance = random.Random(seed)
    environments = {name: Environment(name, milli) for name, milli in MAX_BY_NAME.items()}
    queues = make_queues(yard, chance, environments)
    for number in range(SUBMISSION_COUNT):
        submit_some(yard, chance, chance.choice(queues), number)
    jobs = [job for queue in queues for job in queue.jobs]
    ids = [job.job_id for job in jobs]

    def statuses() -> list[str]:
        found: list[dict[str, Any]] = yard.batch.describe_jobs(jobs=ids)["jobs"]
        return [each["status"] for each in found]

    until(lambda: statuses() == ["RUNNABLE"] * len(ids), "all jobs waiting")
    for name in MAX_BY_NAME:
        change(yard, name, state="ENABLED")
    ended = yard.ended(*ids, timeout_s=100)
    ran = {each["jobId"]: (each["status"], len(each["attempts"])) for each in ended}
    assert ran == {job.job_id: ("SUCCEEDED", 2 if job.fails_first else 1) for job in jobs}
    check(queues, environments, recorded(yard))
