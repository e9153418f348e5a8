"""A yard's future beside the one it would have.

Decides what is compared: who waits now, by queue and by share, and each of these jobs. Refuses to
know what differs. Both futures are drawn alike: a job takes as long in one as in the other, run by
run, so a difference is the change's doing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from statistics import median_low

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.model.forecast import GaveUp
from batchyard.model.ids import JobId, QueueArn, name_in_arn
from batchyard.model.what_if import Comparison, GroupComparison, JobComparison, Outlook
from batchyard.sim.looking import Seen, Yard, interval_of

#: Ours: how many jobs are named that gain, and that lose.
NAMED_MAX = 10
#: Ours: less is no difference to anybody.
_NOTICED_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What runs of one of the two showed of `wanted`."""

    wanted: Sequence[JobId]
    found: Sequence[Seen]


@dataclass(slots=True)
class _Group:
    waiting: list[JobId] = field(default_factory=list)
    submitted: list[JobId] = field(default_factory=list)


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
        waits: list[list[int | None]] = []
        for seen in self.found:
            starts = [self._known(seen.started_ms[place]) for place in places]
            waits.append(
                sorted(
                    (None if start is None else max(0, start - came)
                     for start, came in zip(starts, came_ms, strict=True)),
                    key=lambda each: float("inf") if each is None else each,
                )
            )  # fmt: skip
        count = len(there)
        return Outlook(
            wait_p50_ms=_middle([each[ceil(count * 0.5) - 1] for each in waits]),
            wait_p90_ms=_middle([each[ceil(count * 0.9) - 1] for each in waits]),
            all_started=interval_of(
                [_last([each.started_ms[place] for place in places]) for each in self.found],
                self.limit_ms,
            ),
            all_ended=interval_of(
                [_last([each.ended_ms[place] for place in places]) for each in self.found],
                self.limit_ms,
            ),
        )

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
    groups = _groups_of(state, before.wanted, [come for _, come in arrivals])
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


def _groups_of(
    state: State, waiting: Sequence[JobId], submitted: Sequence[i.AcceptJob]
) -> dict[tuple[QueueArn, str | None], _Group]:
    """Sort jobs by queue, then by queue and share; the queues in the order of their creation."""
    found: dict[tuple[QueueArn, str | None], _Group] = {}
    for job_id in waiting:
        job = state.jobs[job_id]
        for share in dict.fromkeys((None, job.quota_share or job.share_identifier)):
            found.setdefault((job.queue_arn, share), _Group()).waiting.append(job_id)
    for come in submitted:
        new = come.job
        for share in dict.fromkeys((None, new.share_identifier)):
            found.setdefault((new.queue_arn, share), _Group()).submitted.append(new.id)
    return dict(
        sorted(found.items(), key=lambda item: (state.queues[item[0][0]].seq, item[0][1] or ""))
    )


def _group(
    key: tuple[QueueArn, str | None],
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
    )


def _job(state: State, job_id: JobId, before_ms: int | None, after_ms: int | None) -> JobComparison:
    job = state.jobs[job_id]
    later_ms = None if before_ms is None or after_ms is None else after_ms - before_ms
    return JobComparison(
        job_id=job_id,
        queue=name_in_arn(job.queue_arn),
        share=job.quota_share or job.share_identifier,
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


def _middle(times: Sequence[int | None]) -> int | None:
    """Give the middle; None counts as later than all."""
    found = median_low([float("inf") if each is None else each for each in times])
    return None if found == float("inf") else int(found)


def _last(times: Sequence[int | None]) -> int | None:
    known = [each for each in times if each is not None]
    return max(known, default=None) if len(known) == len(times) else None
