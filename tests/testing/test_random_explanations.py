"""What `explain` says would help does help, and one unit less does not, in states made at random.

Goal and method are those of `test_explanations`; here the world is drawn from a seed: environments
of all kinds, machines that are large or small, queues with and without shares, licenses, jobs. The
job asked about is one that waits. A failure names its seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest

from batchyard.model.amounts import Amount
from tests.testing.worlds import STARTED, Script, World, Worlds, check_all_that_is_told

SEEDS = 6
SEEDS_NIGHTLY = 300
_KINDS = ("EC2", "EC2", "EC2", "SPOT", "FARGATE", "UNMANAGED")
_FARGATE_SIZES = ((0.25, 512), (0.5, 1024), (1, 2048), (1, 4096), (2, 4096), (2, 8192))
#: A machine cannot grow in a yard: a larger one from the beginning has another story.
_NOT_MADE = "ADD_CAPACITY"
#: Lines that say nothing of the job: DescribeJobs may have them for a second, and no longer.
_GENERIC = ("has just become RUNNABLE", "is about to look at it", "has not seen it yet")


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(stack)


class Drawn:
    """A world drawn from a seed, built as often as wanted."""

    def __init__(self, seed: int) -> None:
        chance = Random(seed)
        self.kind = chance.choice(_KINDS)
        self.environments = [self._environment(chance) for _ in range(chance.randint(1, 2))]
        self.instances = [
            {"vcpus": chance.randint(1, 4), "memoryMib": chance.choice((1024, 4096))}
            for _ in range(chance.randint(0, 2))
        ]
        self.disabled = [chance.random() < 0.15 for _ in self.environments]
        self.reservation = chance.choice((None, None, 0, 30, 60))
        self.other_priority = chance.choice((None, None, 1, 5))
        self.licenses = chance.randint(0, 3)
        self.jobs = [self._job(chance) for _ in range(chance.randint(3, 7))]
        self._bid(Random(f"{seed} bids"))
        self.settings: dict[str, Any] = {}
        if chance.random() < 0.3:
            small = Amount(
                cpu_milli=chance.randint(1, 8) * 1000, memory_mib=chance.randint(3, 20) * 900
            )
            self.settings["machine"] = small

    def _environment(self, chance: Random) -> dict[str, Any]:
        if self.kind == "FARGATE":
            return {"kind": "FARGATE", "vcpus": chance.randint(0, 4)}
        types = chance.sample(("c6i.large", "c6i.xlarge", "r6i.large"), chance.randint(1, 2))
        strategy = "SPOT_CAPACITY_OPTIMIZED" if self.kind == "SPOT" else "BEST_FIT_PROGRESSIVE"
        if chance.random() < 0.3 and self.kind == "EC2":
            strategy = "BEST_FIT"
        return {
            "kind": self.kind,
            "vcpus": chance.randint(0, 8),
            "instanceTypes": types,
            "allocationStrategy": strategy,
        }

    def _bid(self, chance: Random) -> None:
        """Let environments of Spot capacity pay too little, some of them for good."""
        for each in self.environments if self.kind == "SPOT" else ():
            bid = chance.choice((None, 1, 20, 35, 36))
            if bid is not None:
                each["bidPercentage"] = bid
            if chance.random() < 0.2:
                each["allocationStrategy"] = "BEST_FIT"
                each["spotIamFleetRole"] = "arn:aws:iam::000000000000:role/fleet"

    def _job(self, chance: Random) -> dict[str, Any]:
        vcpus: float = chance.choice((1, 1, 2, 2, 3, 4, 6))
        memory = chance.choice((256, 512, 1500, 4000, 9000))
        if self.kind == "FARGATE":
            vcpus, memory = chance.choice(_FARGATE_SIZES)
        drawn: dict[str, Any] = {"vcpus": vcpus, "memory": memory}
        if self.kind == "FARGATE":
            drawn["is_fargate"] = True
        if chance.random() < 0.3:
            drawn["needs"] = {"license": chance.randint(1, 2)}
        if chance.random() < 0.15 and self.kind != "FARGATE":
            drawn["gpus"] = 1
        is_other = self.other_priority is not None and chance.random() < 0.5
        if is_other:
            drawn["queue"] = "other"
        elif self.reservation is not None:
            drawn |= {"shareIdentifier": chance.choice("ab"), "priority": chance.choice((0, 1, 7))}
        if chance.random() < 0.15:
            drawn["arrayProperties"] = {"size": 2}
        return drawn

    def script(self, job_count: int) -> Script:
        """Give what builds the world with so many jobs, and the last of them.

        It is asked about because nobody could have started differently had it asked for less.
        """

        def build(world: World) -> str:
            self._make_resources(world)
            for name, is_disabled in zip(("ce0", "ce1"), self.disabled, strict=False):
                if is_disabled:
                    world.disable(name)
            for each in self.jobs[: job_count - 1]:
                world.submit(**each)
            last = self.jobs[job_count - 1]
            job_id = world.submit(is_subject=True, **last)
            return f"{job_id}:1" if "arrayProperties" in last else job_id

        return build

    def _make_resources(self, world: World) -> None:
        names = []
        for number, each in enumerate(self.environments):
            names.append(f"ce{number}")
            if self.kind == "UNMANAGED":
                world.unmanaged(names[-1])
            else:
                world.environment(names[-1], **each)
        for each in self.instances if self.kind == "UNMANAGED" else ():
            world.register_instance("ce0", **each)  # It may be refused: the machine is full.
        world.consumable(total=self.licenses)
        policy = {}
        if self.reservation is not None:
            arn = world.fair_policy(computeReservation=self.reservation)
            policy = {"schedulingPolicyArn": arn}
        world.queue("jq", *names, priority=2, **policy)
        if self.other_priority is not None:
            world.queue("other", names[0], priority=self.other_priority)


def check_seed(worlds: Worlds, own: ExitStack, seed: int) -> None:
    drawn = Drawn(seed)
    for job_count in range(len(drawn.jobs), 0, -1):
        script = drawn.script(job_count)
        world, job_id = worlds.build(script, own, **drawn.settings)
        world.yard.advance(seconds=2)
        shown = world.job(job_id)
        if shown["status"] in STARTED:
            continue
        told = world.told(job_id)
        assert told["reasons"], told
        assert all(each["cause"] != "NOTHING" for each in told["reasons"]), told
        assert not any(each in shown["statusReason"] for each in _GENERIC), shown
        told["changes"] = [each for each in told["changes"] if each["kind"] != _NOT_MADE]
        together = told.get("together", {"changes": []})["changes"]
        if any(each["kind"] == _NOT_MADE for each in together):
            del told["together"]
        check_all_that_is_told(worlds, script, own, told, world.asked, **drawn.settings)
        return


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_change_that_is_told_helps_and_one_unit_less_does_not(
    worlds: Worlds, seed: int
) -> None:
    with ExitStack() as own:
        check_seed(worlds, own, seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS_NIGHTLY))
def test_so_it_is_with_many_seeds(worlds: Worlds, seed: int) -> None:
    with ExitStack() as own:
        check_seed(worlds, own, seed)
