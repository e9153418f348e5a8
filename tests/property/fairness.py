"""What a queue with shares must do, worked out by looking at every job and every attempt there was.

Written down a second time, in floating point and without any of the core's counters: each job that
a round places must be of the share that has used the least by its weight, have the highest priority
in it, and leave what is reserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import log

from batchyard.core import events as e
from batchyard.core.state import Job, State
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import JobId, child_id, is_part_id, split_part_id, whole_id_of
from batchyard.model.records import QueuedJob
from batchyard.model.status import JobStatus
from tests.builders import queue_arn

FAIR_QUEUE = queue_arn("fair")
AHEAD_MS = 60_000
#: Integers and floating point may differ by so much.
CLOSE = 1e-6


@dataclass
class Span:
    """An attempt: what it held, and from when to when."""

    cpu_milli: int
    begun_ms: int
    ended_ms: int | None = None


@dataclass
class Sight:
    """A queue as a round finds it."""

    policy: FairShare
    now_ms: int
    cpu_milli_total: int
    #: Of each share, the jobs that may start.
    runnable: dict[str, list[JobId]] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    used: dict[str, float] = field(default_factory=dict)
    #: In milli-vCPUs.
    held: dict[str, int] = field(default_factory=dict)


def _may_ever_start(state: State, job: Job) -> bool:
    """Tell whether an empty machine would do: others pass by who needs more than there is."""
    environments = [state.environments[arn] for arn in state.queues[job.queue_arn].environment_arns]
    if all(job.demand.cpu_milli > each.cpu_milli_max for each in environments):
        return False
    free = [host.capacity for host in state.hosts.values()]
    for demand in (job.demand,) if job.nodes is None else job.nodes.demands:
        at = next((at for at, each in enumerate(free) if demand.fits_in(each)), None)
        if at is None:
            return False
        free[at] -= demand
    return True


class Fairness:
    """Remembers every attempt in shares, and judges each round by that."""

    def __init__(self, job_by_id: Mapping[JobId, QueuedJob]) -> None:
        self._job_by_id = job_by_id
        self._spans: dict[str, dict[JobId, list[Span]]] = {}
        self._sight: Sight | None = None

    def see(self, event: e.Event) -> None:
        if isinstance(event, e.ShareForgotten) and event.arn == FAIR_QUEUE:
            self._spans.pop(event.share_identifier, None)
        if not isinstance(event, e.AttemptPlaced | e.AttemptEnded) or "#" in event.job_id:
            return
        job = self._job_by_id[whole_id_of(event.job_id)]
        if job.queue_arn != FAIR_QUEUE:
            return
        spans = self._spans_of(job).setdefault(event.job_id, [])
        if isinstance(event, e.AttemptPlaced):
            spans.append(Span(job.demand.cpu_milli, event.at_ms))
        else:
            spans[-1].ended_ms = max(event.at_ms, spans[-1].begun_ms)

    def look(self, state: State, now_ms: int) -> None:
        """Note how the queue is before a round."""
        self._sight = None
        queue = state.queues.get(FAIR_QUEUE)
        if queue is None or queue.policy is None:
            return
        environments = [state.environments[arn] for arn in queue.environment_arns]
        sight = Sight(queue.policy, now_ms, sum(each.cpu_milli_max for each in environments))
        for job in state.jobs.values():
            if job.queue_arn != FAIR_QUEUE:
                continue
            share = job.share_identifier or ""
            sight.active.add(share)
            if not _may_ever_start(state, job):
                continue
            waiting = [job.id] if job.progress.status is JobStatus.RUNNABLE else []
            rest = job.progress.array and job.progress.array.rest
            if job.array is not None and rest is JobStatus.RUNNABLE:
                waiting = [child_id(job.id, each) for each in job.array.rest_indexes()]
            sight.runnable.setdefault(share, []).extend(waiting)
        for share in {*self._spans, *sight.runnable}:
            self._count(sight, share)
        self._sight = sight

    def check_round(self, events: Iterable[e.Event]) -> None:
        """Demand of each placement, one after the other, that it was this one's turn."""
        sight = self._sight
        if sight is None:
            return
        for event in events:
            if not isinstance(event, e.AttemptPlaced):
                continue
            job = self._job_by_id[whole_id_of(event.job_id)]
            if job.queue_arn != FAIR_QUEUE:
                continue
            share = job.share_identifier or ""
            self._check_turn(sight, share, event.job_id)
            n = len(sight.active)
            limit = sight.cpu_milli_total * (1 - (sight.policy.reservation_percent / 100) ** n)
            is_new = not sight.used[share] and not sight.held[share] and n > 1
            total = sum(sight.held.values()) + job.demand.cpu_milli
            assert is_new or total <= limit + CLOSE, f"{event.job_id} took what is reserved"
            sight.held[share] += job.demand.cpu_milli
            sight.runnable[share].remove(event.job_id)

    def _check_turn(self, sight: Sight, share: str, job_id: JobId) -> None:
        scores = {
            each: self._weight(sight, each) * (sight.used[each] + sight.held[each] * AHEAD_MS)
            for each, waiting in sight.runnable.items()
            if waiting
        }
        lowest = min(scores.values())
        assert scores[share] <= lowest * (1 + CLOSE) + 1, f"{share} before its turn: {scores}"
        rank = max(map(self._rank, sight.runnable[share]))
        assert self._rank(job_id) == rank, f"{job_id} has no priority in {share}"

    def _rank(self, job_id: JobId) -> tuple[int, bool, int, int]:
        """Order jobs of a share: by priority, then those tried before, then the older."""
        job = self._job_by_id[whole_id_of(job_id)]
        index = split_part_id(job_id)[1] if is_part_id(job_id) else 0
        spans = self._spans_of(job).get(job_id, [])
        was_tried = any(span.ended_ms is not None for span in spans)
        return job.scheduling_priority or 0, was_tried, -job.seq, -index

    def _weight(self, sight: Sight, share: str) -> float:
        for each in sight.policy.weights:
            if each.is_prefix and share.startswith(each.text):
                same = [other for other in sight.active if other.startswith(each.text)]
                return each.weight_e4 * len(same)
            if share == each.text:
                return each.weight_e4
        return 10_000

    def _count(self, sight: Sight, share: str) -> None:
        """Add up what a share has used, and what it holds."""
        used, held, window_ms = 0.0, 0, sight.policy.window_ms
        is_recent = False
        for span in chain.from_iterable(self._spans.get(share, {}).values()):
            held += span.cpu_milli if span.ended_ms is None else 0
            until_ms = sight.now_ms if span.ended_ms is None else span.ended_ms
            young, old = (
                2 ** ((at_ms - sight.now_ms) / window_ms) for at_ms in (until_ms, span.begun_ms)
            )
            used += span.cpu_milli * window_ms / log(2) * (young - old)
            is_recent |= span.ended_ms is None or sight.now_ms - span.ended_ms < window_ms
        # What ran for no time at all is no use, but shows that older use is not forgotten yet.
        if is_recent and used > 0:
            sight.active.add(share)
        sight.used[share], sight.held[share] = used, held

    def _spans_of(self, job: QueuedJob) -> dict[JobId, list[Span]]:
        return self._spans.setdefault(job.share_identifier or "", {})
