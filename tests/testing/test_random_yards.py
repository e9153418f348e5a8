"""What is told helps, and what helps is told, in yards where everything is mixed.

Goal: whatever job of a yard is asked about, each change that is told starts it, one unit less does
not, and no change of another kind would have. Method: environments of several kinds, shared by
queues with policies that are shared, too, and one with quota shares, are drawn from a seed; changes
that are not told are made with plenty. Here any job may be asked about, also one that others came
after: so what would have to be otherwise from the beginning is left to `test_random_explanations`.
A failure names its seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from batchyard.model.amounts import Amount
from tests.testing.worlds import Script, World, Worlds, check_all_that_is_told, with_changes

SEEDS = 2
SEEDS_NIGHTLY = 100
SUBJECTS = 2

_TYPES = ("c6i.large", "c6i.xlarge", "r6i.large", "m6i.large")
_SHARING = (
    {"strategy": "RESERVE"},
    {"strategy": "LEND"},
    {"strategy": "LEND_AND_BORROW"},
    {"strategy": "LEND_AND_BORROW", "borrowLimit": 50},
)
#: What a caller cannot change of jobs and machines that are there.
_FROM_THE_BEGINNING = ("ASK_FOR_LESS", "RAISE_SCHEDULING_PRIORITY", "ADD_CAPACITY")
#: So much is plenty, whatever was drawn.
_PLENTY = 24


class Drawn:
    """A yard drawn from a seed, built as often as wanted."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        chance = self.chance
        self.environments = [self._environment() for _ in range(chance.randint(1, 3))]
        self.instances = [
            (chance.randrange(len(self.environments)), chance.randint(1, 4))
            for _ in range(chance.randint(0, 3))
        ]
        self.is_policy_shared = chance.random() < 0.5
        self.reservation = chance.choice((0, 0, 20, 50, 60))
        self.queues = [self._queue() for _ in range(chance.randint(1, 3))]
        self.quota_shares = [
            (chance.randint(1, 4), chance.choice(_SHARING))
            for _ in range(2 if chance.random() < 0.35 else 0)
        ]
        self.quota_vcpus = chance.randint(2, 8)
        self.licenses = chance.randint(0, 3)
        self.jobs = [self._job() for _ in range(chance.randint(2, 8))]
        self.disabled = [chance.random() < 0.15 for _ in self.environments]
        self.disabled_at = chance.randrange(len(self.jobs))
        self.has_short_job = chance.random() < 0.3
        self.settings: dict[str, Any] = {}
        if chance.random() < 0.3:
            vcpus, memory = chance.randint(1, 10), chance.randint(3, 20) * 900
            self.settings["machine"] = Amount(cpu_milli=vcpus * 1000, memory_mib=memory)

    def _environment(self) -> dict[str, Any]:
        chance = self.chance
        drawn = {
            "kind": chance.choice(("EC2", "EC2", "SPOT", "UNMANAGED")),
            "vcpus": chance.randint(0, 8),
            "instanceTypes": chance.sample(_TYPES, chance.randint(1, 2)),
            "allocationStrategy": chance.choice(("BEST_FIT_PROGRESSIVE", "BEST_FIT")),
        }
        if drawn["kind"] == "SPOT":
            drawn["allocationStrategy"] = "SPOT_CAPACITY_OPTIMIZED"
            drawn["bidPercentage"] = chance.choice((1, 35, 36, 60, 100))
        return drawn

    def _queue(self) -> dict[str, Any]:
        chance, names = self.chance, [f"ce{each}" for each in range(len(self.environments))]
        return {
            "environments": chance.sample(names, chance.randint(1, len(names))),
            "priority": chance.randint(1, 3),
            "is_fair": chance.random() < 0.35,
        }

    def _job(self) -> dict[str, Any]:
        chance = self.chance
        number = chance.randrange(len(self.queues))
        drawn: dict[str, Any] = {
            "queue": f"jq{number}",
            "vcpus": chance.choice((1, 1, 2, 2, 3, 4, 6)),
            "memory": chance.choice((256, 512, 1500, 4000, 9000)),
        }
        is_counted = bool(self.quota_shares) and chance.random() < 0.5
        if is_counted:
            drawn |= {"queue": "quota", "vcpus": chance.randint(1, 3), "memory": 512}
        if is_counted or self.queues[number]["is_fair"]:
            drawn |= {"shareIdentifier": chance.choice("ab"), "priority": chance.choice((0, 1, 7))}
        form = chance.random()
        if form < 0.3:
            drawn["needs"] = {"license": chance.randint(1, 2)}
        elif form < 0.45:
            drawn["arrayProperties"] = {"size": chance.randint(2, 3)}
        elif form < 0.55 and not is_counted:
            drawn["definition"] = World.nodes(chance.randint(2, 3), vcpus=chance.choice((1, 2, 3)))
        return drawn

    def script(self, subject: int) -> Script:
        """Give what builds the yard, and the job asked about; of an array its last child."""

        def build(world: World) -> str:
            self._make_resources(world)
            world.yard.jobs.behave(job_name=f"{world.name}-short", run=timedelta(seconds=1))
            asked_about = ""
            for number, each in enumerate(self.jobs):
                if number == self.disabled_at:
                    self._disable(world)
                is_short = self.has_short_job and not number
                name = f"{world.name}-short" if is_short else "job"
                job_id = world.submit(name, is_subject=number == subject, **each)
                if number == subject:
                    size = each.get("arrayProperties", {}).get("size")
                    asked_about = f"{job_id}:{size - 1}" if size else job_id
            world.yard.advance(seconds=5)
            return asked_about

        return build

    def _disable(self, world: World) -> None:
        for number, is_disabled in enumerate(self.disabled):
            if is_disabled:
                world.disable(f"ce{number}")

    def _make_resources(self, world: World) -> None:
        for number, each in enumerate(self.environments):
            if each["kind"] == "UNMANAGED":
                world.unmanaged(f"ce{number}")
            else:
                world.environment(f"ce{number}", **each)
        for number, vcpus in self.instances:
            if self.environments[number]["kind"] == "UNMANAGED":
                world.register_instance(f"ce{number}", vcpus=vcpus, memoryMib=4096)
        world.consumable(total=self.licenses)
        policy = None
        for number, each in enumerate(self.queues):
            more = {}
            if each["is_fair"]:
                if policy is None or not self.is_policy_shared:
                    policy = world.fair_policy(f"p{number}", computeReservation=self.reservation)
                more["schedulingPolicyArn"] = policy
            world.queue(f"jq{number}", *each["environments"], priority=each["priority"], **more)
        if self.quota_shares:
            shares = dict(zip("ab", self.quota_shares, strict=True))
            world.quota_queue("quota", vcpus=self.quota_vcpus, **shares)

    def others(self, world: World) -> Iterator[dict[str, Any]]:
        """Yield changes that may help, with plenty of each."""
        resources = world.batch.describe_compute_environments()["computeEnvironments"]
        for each in resources:
            if each["computeEnvironmentName"].startswith(world.named("")):
                arn = each["computeEnvironmentArn"]
                if each["state"] == "DISABLED":
                    yield {"kind": "ENABLE_ENVIRONMENT", "subject": arn, "by": 1}
                if each["type"] == "MANAGED":
                    yield {"kind": "RAISE_MAX_VCPUS", "subject": arn, "by": _PLENTY}
        licenses = world.batch.describe_consumable_resource(
            consumableResource=world.named("license")
        )
        arn = licenses["consumableResourceArn"]
        yield {"kind": "ADD_CONSUMABLE", "subject": arn, "by": _PLENTY}
        for number in range(len(self.queues)):
            queue = world.batch.describe_job_queues(jobQueues=[world.named(f"jq{number}")])
            arn = queue["jobQueues"][0]["jobQueueArn"]
            yield {"kind": "RAISE_QUEUE_PRIORITY", "subject": arn, "by": 9}


def check_seed(worlds: Worlds, own: ExitStack, seed: int) -> None:
    drawn = Drawn(seed)
    picked = Random(f"{seed} subjects").sample(range(len(drawn.jobs)), len(drawn.jobs))
    asked_count = 0
    for subject in picked:
        script = drawn.script(subject)
        world, job_id = worlds.build(script, own, **drawn.settings)
        if world.job(job_id)["status"] != "RUNNABLE":
            continue
        check_subject(worlds, own, drawn, script, world=world, told=world.told(job_id))
        asked_count += 1
        if asked_count == SUBJECTS:
            return


def check_subject(
    worlds: Worlds,
    own: ExitStack,
    drawn: Drawn,
    script: Script,
    *,
    world: World,
    told: dict[str, Any],
) -> None:
    story = [told["summary"], *(each["text"] for each in told["changes"])]
    assert told["reasons"][0]["cause"] != "NOTHING", story
    kinds_told = {(each["kind"], each["subject"]) for each in told["changes"]}
    told["changes"] = [each for each in told["changes"] if not _is_from_the_beginning(each)]
    if any(map(_is_from_the_beginning, told.get("together", {"changes": []})["changes"])):
        del told["together"]
    check_all_that_is_told(worlds, script, own, told, world.asked, **drawn.settings)
    for each in drawn.others(world):
        if (each["kind"], each["subject"]) not in kinds_told:
            other, job_id = with_changes(worlds, script, own, [each], **drawn.settings)
            assert not other.has_started(job_id), (each, story)


def _is_from_the_beginning(change: Mapping[str, Any]) -> bool:
    return change["kind"] in _FROM_THE_BEGINNING


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(stack)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_told_helps_and_what_helps_is_told(worlds: Worlds, seed: int) -> None:
    with ExitStack() as own:
        check_seed(worlds, own, seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS_NIGHTLY))
def test_so_it_is_with_many_seeds(worlds: Worlds, seed: int) -> None:
    with ExitStack() as own:
        check_seed(worlds, own, seed)
