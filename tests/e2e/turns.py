"""Whose turn it was, worked out a second time from what callers asked and from what happened.

Written from AWS's rules and decisions 0007 and 0013, in floating point, by looking at every job and
every attempt anew: nothing of the scheduler is used. Capacity is Fargate's: an environment has room
as long as the vCPUs in use are within its maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import log

AHEAD_MS = 60_000
#: Integers and floating point may differ by so much.
CLOSE = 1e-6


@dataclass
class Environment:
    name: str
    cpu_milli_max: int
    cpu_milli_used: int = 0
    is_enabled: bool = False


@dataclass
class Policy:
    """A `fairsharePolicy` as it was given."""

    window_ms: int
    reservation_percent: int
    factor_by_text: dict[str, float]

    def factor_of(self, share: str, active: set[str]) -> float:
        """Give the weight of a share: what a prefix has is divided among those that it fits."""
        for text, factor in self.factor_by_text.items():
            if text.endswith("*") and share.startswith(text[:-1]):
                return factor * sum(each.startswith(text[:-1]) for each in active)
            if text == share:
                return factor
        return 1.0


@dataclass
class Job:
    """A job or a child, in the order of submission."""

    job_id: str
    seq: int
    cpu_milli: int
    share: str = ""
    priority: int = 0
    fails_first: bool = False
    #: From placement to end, in milliseconds; None: it has not ended.
    spans: list[tuple[int, int | None]] = field(default_factory=list)
    environment: str = ""

    @property
    def holds(self) -> bool:
        return bool(self.spans) and self.spans[-1][1] is None

    @property
    def waits(self) -> bool:
        return not self.spans or (self.fails_first and len(self.spans) == 1 and not self.holds)

    def rank(self) -> tuple[int, bool, int]:
        """Order the jobs of one line, the first one lowest."""
        return -self.priority, not self.spans, self.seq


@dataclass
class Queue:
    name: str
    priority: int
    #: Creation order.
    seq: int
    environments: Sequence[Environment]
    policy: Policy | None = None
    jobs: list[Job] = field(default_factory=list)
    #: Which of all placements its last one was.
    last_turn: int = 0

    def heads(self, now_ms: int) -> list[Job]:
        """Give who may be next: one job, or one of each share if they are equal."""
        waiting = [job for job in self.jobs if job.waits]
        if not waiting:
            return []
        if self.policy is None:
            return [min(waiting, key=lambda job: (not job.spans, job.seq))]
        firsts = [
            min((job for job in waiting if job.share == share), key=Job.rank)
            for share in sorted({job.share for job in waiting})
        ]
        score_by_share = {job.share: self._score(job.share, now_ms) for job in firsts}
        lowest = min(score_by_share.values())
        if lowest == 0:
            equal = [job for job in firsts if score_by_share[job.share] == 0]
            return [min(equal, key=lambda job: job.seq)]
        limit = lowest * (1 + CLOSE) + 1e-3
        return [job for job in firsts if score_by_share[job.share] <= limit]

    def place_for(self, job: Job) -> Environment | None:
        """Give the first environment with room, unless the policy holds the job back."""
        if self.policy is not None and self._is_held_back(job, self.policy):
            return None
        return next(
            (
                each
                for each in self.environments
                if each.is_enabled and each.cpu_milli_used + job.cpu_milli <= each.cpu_milli_max
            ),
            None,
        )

    def _is_held_back(self, job: Job, policy: Policy) -> bool:
        shares = {each.share for each in self.jobs}  # All of them stay active in so short a time.
        total = sum(each.cpu_milli_max for each in self.environments)
        limit = total * (1 - (policy.reservation_percent / 100) ** len(shares))
        held = sum(each.cpu_milli for each in self.jobs if each.holds)
        is_new = not any(each.spans for each in self.jobs if each.share == job.share)
        if is_new and len(shares) > 1:
            return False
        return held + job.cpu_milli > limit + CLOSE

    def _score(self, share: str, now_ms: int) -> float:
        assert self.policy is not None
        window_ms = self.policy.window_ms
        used, held = 0.0, 0
        for job in self.jobs:
            if job.share != share:
                continue
            held += job.cpu_milli if job.holds else 0
            for begun_ms, ended_ms in job.spans:
                until_ms = now_ms if ended_ms is None else ended_ms
                young, old = (2 ** ((each - now_ms) / window_ms) for each in (until_ms, begun_ms))
                used += job.cpu_milli * window_ms / log(2) * (young - old)
        factor = self.policy.factor_of(share, {job.share for job in self.jobs})
        return factor * (used + held * AHEAD_MS)


class Yard:
    """All queues, and who is next."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._by_id = {job.job_id: (queue, job) for queue in queues for job in queue.jobs}
        self._turn = 0

    def next(self, now_ms: int) -> Iterator[tuple[str, str]]:
        """Give who may be placed next, and where: several where shares are as good as equal.

        By priority; queues of equal priority take turns. A head without room keeps its queue's
        place, and takes none from others.
        """
        order = sorted(
            self._queues, key=lambda queue: (-queue.priority, queue.last_turn, queue.seq)
        )
        for queue in order:
            places = [(job, queue.place_for(job)) for job in queue.heads(now_ms)]
            found = [(job.job_id, place.name) for job, place in places if place is not None]
            yield from found
            if found and len(found) == len(places):
                return

    def place(self, job_id: str, environment: str, at_ms: int) -> None:
        queue, job = self._by_id[job_id]
        self._turn += 1
        queue.last_turn = self._turn
        [place] = [each for each in queue.environments if each.name == environment]
        place.cpu_milli_used += job.cpu_milli
        job.environment = environment
        job.spans.append((at_ms, None))

    def end(self, job_id: str, at_ms: int) -> None:
        queue, job = self._by_id[job_id]
        begun_ms, _ = job.spans[-1]
        job.spans[-1] = (begun_ms, max(at_ms, begun_ms))
        [place] = [each for each in queue.environments if each.name == job.environment]
        place.cpu_milli_used -= job.cpu_milli
