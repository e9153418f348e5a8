"""A yard's future beside the one it would have.

Decides what is compared: who waits now, by queue and by share, each of these jobs, and who is
stopped for others. Refuses to know what differs. Both futures are drawn alike: a job takes as long
in one as in the other, run by run, so a difference is the change's doing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from statistics import median_low

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.model.forecast import GaveUp
from batchyard.model.ids import JobId, QueueArn, is_node_id, name_in_arn, whole_id_of
from batchyard.model.records import QueuedJob
from batchyard.model.what_if import (
    Comparison,
    GroupComparison,
    JobComparison,
    Outlook,
    PreemptionComparison,
)
from batchyard.sim.looking import Seen, Yard, interval_of

#: Ours: how many jobs are named that gain, that lose, and that are stopped.
NAMED_MAX = 10
#: Ours: less is no difference to anybody.
_NOTICED_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What runs of one of the two showed of `wanted`."""

    wanted: Sequence[JobId]
    found: Sequence[Seen]


#: A queue, and one of its shares; None: all of it.
_Key = tuple[QueueArn, str | None]


@dataclass(slots=True)
class _Group:
    waiting: list[JobId] = field(default_factory=list)
    submitted: list[JobId] = field(default_factory=list)
    #: Whatever of it is stopped for others in any run.
    preempted: list[JobId] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two futures, to be asked by job."""

    found: Sequence[Seen]
    place_by_job: Mapping[JobId, int]
    #: When each job comes in; others wait now.
    arrival_ms: Mapping[JobId, int]
    limit_ms: int | None
    now_ms: int

    def start_ms(self, job_id: JobId) -> int | None:
        """Give the start in the middle run; None: beyond what was seen, or never."""
        place = self.place_by_job[job_id]
        return self._known(_middle([each.started_ms[place] for each in self.found]))

    def outlook(self, job_ids: Sequence[JobId]) -> Outlook:
        """Sum up what lies ahead of some jobs."""
        there = [each for each in job_ids if each in self.place_by_job]
        if not there:
            return Outlook()
        places = [self.place_by_job[each] for each in there]
        came_ms = [self.arrival_ms.get(each, self.now_ms) for each in there]
        waits = [
            [
                None if start is None else max(0, start - came)
                for place, came in zip(places, came_ms, strict=True)
                if not seen.ended_unstarted(place)
                for start in [self._known(seen.started_ms[place])]
            ]
            for seen in self.found
        ]
        return Outlook(
            wait_p50_ms=_middle([_ranked(each, 0.5) for each in waits]),
            wait_p90_ms=_middle([_ranked(each, 0.9) for each in waits]),
            all_started=interval_of(
                [
                    _last(
                        [
                            each.started_ms[place]
                            for place in places
                            if not each.ended_unstarted(place)
                        ]
                    )
                    for each in self.found
                ],
                self.limit_ms,
            ),
            all_ended=interval_of(
                [_last([each.ended_ms[place] for place in places]) for each in self.found],
                self.limit_ms,
            ),
        )

    def failing_count(self, job_ids: Sequence[JobId]) -> int:
        """Count who is FAILED in the middle run."""
        own = dict.fromkeys(job_ids)
        return median_low([sum(each in own for each in seen.failed) for seen in self.found])

    def preempted_count(self, job_ids: Sequence[JobId]) -> int:
        """Count who is stopped for others in the middle run."""
        return median_low(
            [sum(each in seen.preempted_ms for each in job_ids) for seen in self.found]
        )

    def preempted_ms(self, job_id: JobId) -> int | None:
        """Tell when a job is first stopped for another one, in the middle run."""
        return self._known(_middle([each.preempted_ms.get(job_id) for each in self.found]))

    def sees(self, at_ms: int) -> bool:
        """Tell whether this future was looked at until then."""
        return self.limit_ms is None or at_ms <= self.limit_ms

    def _known(self, at_ms: int | None) -> int | None:
        return None if at_ms is None or not self.sees(at_ms) else at_ms


def compare(
    state: State,
    yard: Yard,
    arrivals: Sequence[tuple[int, i.AcceptJob]],
    before: Looked,
    after: Looked,
) -> Comparison:
    """Put two futures of the same jobs side by side."""
    arrival_ms = {come.job.id: at_ms for at_ms, come in arrivals}
    sides = [_side(each, arrival_ms, yard.now_ms) for each in (before, after)]
    new_jobs = {come.job.id: come.job for _, come in arrivals}
    preempted = _preempted_in((*before.found, *after.found))
    groups = _groups_of(state, before.wanted, new_jobs, preempted)
    jobs = [
        _job(state, job_id, sides[0].start_ms(job_id), sides[1].start_ms(job_id))
        for job_id in before.wanted
    ]
    shifts_ms = {each.job_id: _shift_ms(each, *sides) for each in jobs}
    noticed = [each for each in jobs if abs(shifts_ms[each.job_id]) > _NOTICED_MS]
    ranked = sorted(noticed, key=lambda each: (shifts_ms[each.job_id], each.job_id))
    incomplete = [
        each for looked in (before, after) for each in looked.found if not each.end.is_complete
    ]
    return Comparison(
        at_ms=yard.now_ms,
        seed=yard.seed,
        run_count=min(len(before.found), len(after.found)),
        groups=tuple(_group(key, group, sides, shifts_ms) for key, group in groups.items()),
        gainers=tuple(each for each in ranked[:NAMED_MAX] if shifts_ms[each.job_id] < 0),
        losers=tuple(each for each in ranked[::-1][:NAMED_MAX] if shifts_ms[each.job_id] > 0),
        preemptions=tuple(_preemptions(state, sides, preempted))[:NAMED_MAX],
        gave_up=GaveUp(incomplete[0].end) if incomplete else None,
        reached_ms=min(each.reached_ms for each in (*before.found, *after.found)),
        bases=after.found[0].bases,
    )


def _side(looked: Looked, arrival_ms: Mapping[JobId, int], now_ms: int) -> _Side:
    incomplete = [each.reached_ms for each in looked.found if not each.end.is_complete]
    return _Side(
        found=looked.found,
        place_by_job={job_id: place for place, job_id in enumerate(looked.wanted)},
        arrival_ms=arrival_ms,
        limit_ms=min(incomplete, default=None),
        now_ms=now_ms,
    )


def _preempted_in(found: Iterable[Seen]) -> list[JobId]:
    """Name the jobs and children that are stopped for others in any run; a node is no job."""
    every = dict.fromkeys(each for seen in found for each in seen.preempted_ms)
    return [each for each in every if not is_node_id(each)]


def _groups_of(
    state: State,
    waiting: Sequence[JobId],
    submitted: Mapping[JobId, QueuedJob],
    preempted: Sequence[JobId],
) -> dict[_Key, _Group]:
    """Sort jobs by queue, then by queue and share; the queues in the order of their creation."""
    found: dict[_Key, _Group] = {}

    def of(job_id: JobId) -> Iterator[_Group]:
        new = submitted.get(whole_id_of(job_id))
        if new is None:
            arn, share = _place_of(state, job_id)
        else:
            arn, share = new.queue_arn, new.share_identifier
        for each in dict.fromkeys((None, share)):
            yield found.setdefault((arn, each), _Group())

    for job_id in waiting:
        for group in of(job_id):
            group.waiting.append(job_id)
    for job_id in submitted:
        for group in of(job_id):
            group.submitted.append(job_id)
    for job_id in preempted:
        for group in of(job_id):
            group.preempted.append(job_id)
    return dict(
        sorted(found.items(), key=lambda item: (state.queues[item[0][0]].seq, item[0][1] or ""))
    )


def _place_of(state: State, job_id: JobId) -> tuple[QueueArn, str | None]:
    """Tell the queue and the share of a live job, or of a child of one."""
    job = state.jobs[whole_id_of(job_id)]
    return job.queue_arn, job.quota_share or job.share_identifier


def _preemptions(
    state: State, sides: Sequence[_Side], preempted: Sequence[JobId]
) -> Iterator[PreemptionComparison]:
    """Tell which live jobs are stopped in one future alone, the first of them first."""
    known = [each for each in preempted if whole_id_of(each) in state.jobs]
    times = {each: [side.preempted_ms(each) for side in sides] for each in known}
    one_sided = [each for each in known if times[each].count(None) == 1]
    for job_id in sorted(one_sided, key=lambda each: max(at or 0 for at in times[each])):
        before_ms, after_ms = times[job_id]
        queue_arn, share = _place_of(state, job_id)
        yield PreemptionComparison(
            job_id=job_id,
            queue=name_in_arn(queue_arn),
            share=share,
            before_ms=before_ms,
            after_ms=after_ms,
        )


def _group(
    key: _Key,
    group: _Group,
    sides: Sequence[_Side],
    shifts_ms: Mapping[JobId, float],
) -> GroupComparison:
    queue_arn, share = key
    laters = [shifts_ms.get(each, 0) for each in group.waiting]
    before, after = sides
    return GroupComparison(
        queue=name_in_arn(queue_arn),
        share=share,
        waiting_count=len(group.waiting),
        submitted_count=len(group.submitted),
        before=before.outlook(group.waiting),
        after=after.outlook(group.waiting),
        submitted=after.outlook(group.submitted),
        gaining_count=sum(each < -_NOTICED_MS for each in laters),
        losing_count=sum(each > _NOTICED_MS for each in laters),
        failing_count=after.failing_count(group.submitted),
        preempted_before_count=before.preempted_count(group.preempted),
        preempted_after_count=after.preempted_count(group.preempted),
    )


def _job(state: State, job_id: JobId, before_ms: int | None, after_ms: int | None) -> JobComparison:
    queue_arn, share = _place_of(state, job_id)
    later_ms = None if before_ms is None or after_ms is None else after_ms - before_ms
    return JobComparison(
        job_id=job_id,
        queue=name_in_arn(queue_arn),
        share=share,
        before_ms=before_ms,
        after_ms=after_ms,
        later_ms=later_ms,
    )


def _shift_ms(job: JobComparison, before: _Side, after: _Side) -> float:
    """Tell how much later a job starts: without end where it starts in one future alone.

    0 where one of them was not looked at for long enough to tell.
    """
    if job.later_ms is not None:
        return job.later_ms
    if job.after_ms is not None and before.sees(job.after_ms):
        return -inf
    if job.before_ms is not None and after.sees(job.before_ms):
        return inf
    return 0


def _ranked(waits: Sequence[int | None], part: float) -> int | None:
    """Give the wait that this part of the jobs has at most; None counts as longer than all."""
    known = sorted(each for each in waits if each is not None)
    place = max(1, ceil(len(waits) * part)) - 1
    return known[place] if place < len(known) else None


def _middle(times: Sequence[int | None]) -> int | None:
    """Give the middle; None counts as later than all."""
    found = median_low([float("inf") if each is None else each for each in times])
    return None if found == float("inf") else int(found)


def _last(times: Sequence[int | None]) -> int | None:
    known = [each for each in times if each is not None]
    return max(known, default=None) if len(known) == len(times) else None
