"""A queue with quota shares, pretended around the pure round, and its rules written a second time.

The yard holds every job there ever was, and adds everything up anew from them: nothing is counted
on. `judge` says of each round what must hold, by looking at all jobs.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn
from batchyard.scheduler.plan import Plan, Preemption, PreemptionCause, Slot
from batchyard.scheduler.quota import (
    UNLIMITED,
    Accounts,
    QuotaTerms,
    RunningJob,
    RunningShare,
)
from batchyard.scheduler.round import plan_round
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    InOrder,
    QueueView,
    QuotaShareView,
    ShareLine,
    View,
    WaitingJob,
)

HOST, ENVIRONMENT, UNIT = HostId("host"), EnvironmentArn("environment"), "VCPU"


@dataclass
class Job:
    number: int
    share: str
    priority: int
    #: By unit, in thousandths.
    use: dict[str, int]
    #: When it was placed; None: it waits.
    placed: int | None = None
    is_stopping: bool = False
    is_over: bool = False
    stops: int = 0

    @property
    def id(self) -> JobId:
        return JobId(f"job-{self.number}")

    @property
    def demand(self) -> Amount:
        return Amount(cpu_milli=self.use.get(UNIT, 0), gpu_count=self.use.get("GPU", 0) // 1000)

    @property
    def runs(self) -> bool:
        return self.placed is not None and not self.is_over

    @property
    def waits(self) -> bool:
        return self.placed is None and not self.is_over

    @property
    def rank(self) -> tuple[int, bool, int]:
        return (-self.priority, not self.stops, self.number)

    @property
    def worth(self) -> tuple[int, int, int]:
        """Least is worth most."""
        assert self.placed is not None
        return (-self.priority, self.placed, self.number)


@dataclass
class QuotaYard:
    terms: dict[str, QuotaTerms]
    vcpus: int
    gpus: int = 1000
    jobs: list[Job] = field(default_factory=list)
    clock: int = 0

    def submit(self, share: str, priority: int = 0, **use: int) -> Job:
        job = Job(len(self.jobs), share, priority, {unit: 1000 * q for unit, q in use.items()})
        self.jobs.append(job)
        return job

    def round(self) -> Plan:
        """Plan, and carry the plan out."""
        self.clock += 1
        plan = plan_round(self.view())
        by_id = {job.id: job for job in self.jobs}
        for placement in plan.placements:
            by_id[placement.job_id].placed = self.clock
        for preemption in plan.preemptions:
            by_id[preemption.job_id].is_stopping = True
        return plan

    def end_stopped(self, *jobs: Job) -> None:
        for job in jobs or [each for each in self.jobs if each.runs and each.is_stopping]:
            job.placed, job.is_stopping = None, False
            job.stops += 1

    def running(self, share: str) -> list[Job]:
        return [job for job in self.jobs if job.share == share and job.runs]

    def waiting(self, share: str) -> list[Job]:
        return sorted((j for j in self.jobs if j.share == share and j.waits), key=lambda j: j.rank)

    def view(self) -> View:
        used = sum((job.demand for job in self.jobs if job.runs), Amount())
        environment = EnvironmentView(
            arn=ENVIRONMENT,
            is_valid=True,
            is_enabled=True,
            cpu_milli_max=10**9,
            cpu_milli_used=used.cpu_milli,
        )
        return View(
            queues=[
                QueueView(
                    arn=QueueArn("queue"),
                    priority=1,
                    seq=1,
                    environments=[environment],
                    waiting=InOrder(()),
                    quota_shares=[self._share_view(each) for each in self.terms.values()],
                    accounts=Accounts(
                        self.terms.values(), {name: self.used(name) for name in self.terms}
                    ),
                )
            ],
            hosts=[HostView(host_id=HOST, capacity=self.capacity, used=used)],
            environments=[environment],
        )

    @property
    def capacity(self) -> Amount:
        return Amount(cpu_milli=1000 * self.vcpus, gpu_count=self.gpus)

    def _share_view(self, terms: QuotaTerms) -> QuotaShareView:
        return QuotaShareView(
            terms=terms,
            jobs=ShareLine(
                [
                    WaitingJob(
                        job_id=job.id,
                        demand=job.demand,
                        seq=job.number,
                        priority=job.priority,
                        use=job.use,
                    )
                    for job in self.waiting(terms.name)
                ]
            ),
            running=lambda: RunningShare(
                terms,
                [
                    RunningJob(
                        job_id=job.id,
                        share=job.share,
                        use=job.use,
                        priority=job.priority,
                        placed_ms=job.placed or 0,
                        seq=job.number,
                        environment_arn=ENVIRONMENT,
                        slots=[(Slot(host_id=HOST), job.demand)],
                        is_stopping=job.is_stopping,
                    )
                    for job in self.running(terms.name)
                ],
            ),
        )

    # -- the rules, a second time -----------------------------------------------------------------

    def used(self, share: str) -> dict[str, int]:
        total: dict[str, int] = {}
        for job in self.running(share):
            for unit, quantity in job.use.items():
                total[unit] = total.get(unit, 0) + quantity
        return total

    def units(self) -> list[str]:
        return sorted({unit for job in self.jobs for unit in job.use})

    def borrowed(self, unit: str) -> int:
        return sum(
            max(0, self.used(name).get(unit, 0) - terms.limits.get(unit, 0))
            for name, terms in self.terms.items()
        )

    def idle(self, unit: str, *, lent: bool) -> int:
        return sum(
            max(0, terms.limits.get(unit, 0) - self.used(name).get(unit, 0))
            for name, terms in self.terms.items()
            if terms.lends is lent
        )

    def is_entitled(self, job: Job) -> bool:
        limits, used = self.terms[job.share].limits, self.used(job.share)
        return all(used.get(u, 0) + q <= limits.get(u, 0) for u, q in job.use.items())

    def is_ever_possible(self, job: Job) -> bool:
        empty = QuotaYard(self.terms, self.vcpus, self.gpus)
        return empty.could_start(job)

    def could_start(self, job: Job, claims: dict[str, int] | None = None) -> bool:
        """Try: let it run, and see whether anything is wrong then."""
        was, entitled = job.placed, self.is_entitled(job)
        job.placed = self.clock
        if job not in self.jobs:
            self.jobs.append(job)
            is_good = not self.wrongs(job, entitled, claims or {})
            self.jobs.remove(job)
        else:
            is_good = not self.wrongs(job, entitled, claims or {})
        job.placed = was
        return is_good

    def wrongs(self, job: Job, entitled: bool, claims: dict[str, int]) -> list[str]:
        """Say what is wrong with a job that was the last to start."""
        found = []
        terms, used = self.terms[job.share], self.used(job.share)
        for unit, quantity in job.use.items():
            limit, now = terms.limits.get(unit, 0), used[unit]
            if now > limit:
                if terms.borrow_percent is None:
                    found.append("borrows and may not")
                elif terms.borrow_percent != UNLIMITED:
                    percent = 100 + terms.borrow_percent
                    if now * 100 > limit * percent:
                        found.append("borrows beyond its limit")
                if self.borrowed(unit) > self.idle(unit, lent=True) - claims.get(unit, 0):
                    found.append("borrows what nobody lends")
            elif terms.lends and self.borrowed(unit) > self.idle(unit, lent=True):
                found.append("takes what it has lent")
            in_use = sum(self.used(each).get(unit, 0) for each in self.terms)
            if in_use > sum(each.limits.get(unit, 0) for each in self.terms.values()):
                found.append("is more than there is")
            assert quantity
        total = sum((each.demand for each in self.jobs if each.runs), Amount())
        if not total.fits_in(self.capacity):
            found.append("has no room")
        return found

    def within_quota(self, share: str) -> list[Job]:
        """Name those that the share keeps: greedily, by what they are worth."""
        kept: list[Job] = []
        limits = self.terms[share].limits
        live = [job for job in self.running(share) if not job.is_stopping]
        for job in sorted(live, key=lambda each: each.worth):
            total = {u: sum(k.use.get(u, 0) for k in [*kept, job]) for u in job.use}
            if all(total[u] <= limits.get(u, 0) for u in job.use):
                kept.append(job)
        return kept


def judged_round(yard: QuotaYard) -> Plan:
    """Let a round happen, and demand of it what the rules say."""
    before = deepcopy(yard)
    plan = yard.round()
    _judge_starts(before, plan)
    _judge_rest(yard)
    stopped = list(plan.preemptions)
    assert len({each.job_id for each in stopped}) == len(stopped)
    _judge_stops(yard, plan)
    _judge_use_of_stops(yard, plan)
    return plan


def _judge_starts(yard: QuotaYard, plan: Plan) -> None:
    """Each start is right as things stand then, and is of the first of its share that can."""
    by_id = {job.id: job for job in yard.jobs}
    yard.clock += 1
    for placement in plan.placements:
        job = by_id[placement.job_id]
        ahead = [each for each in yard.waiting(job.share) if each.rank < job.rank]
        assert not any(map(yard.is_ever_possible, ahead)), f"{job} passed {ahead}"
        entitled = yard.is_entitled(job)
        job.placed = yard.clock
        assert yard.wrongs(job, entitled, {}) == [], f"{job} started"


def _judge_rest(yard: QuotaYard) -> None:
    """Nobody waits who could start: not by right, nor by what is lent and claimed by nobody."""
    heads = [
        head
        for share in yard.terms
        if (head := next(filter(yard.is_ever_possible, yard.waiting(share)), None))
    ]
    claims: dict[str, int] = {}
    entitled = [head for head in heads if yard.is_entitled(head)]
    for head in entitled:
        assert not yard.could_start(head), f"{head} has a right, and could start"
        for unit, quantity in head.use.items() if yard.terms[head.share].lends else ():
            claims[unit] = claims.get(unit, 0) + quantity
    has_no_room = any(yard_without_quota(yard, head) for head in entitled)
    for head in heads:
        if head not in entitled and not has_no_room:
            assert not yard.could_start(head, claims), f"{head} could borrow, and waits"


def yard_without_quota(yard: QuotaYard, job: Job) -> bool:
    """Tell whether it is room that a job lacks."""
    total = sum((each.demand for each in yard.jobs if each.runs), Amount())
    return not (total + job.demand).fits_in(yard.capacity)


def _judge_stops(yard: QuotaYard, plan: Plan) -> None:
    """Only those are stopped whom it may befall."""
    by_id = {job.id: job for job in yard.jobs}
    before = deepcopy(yard)
    for each in plan.preemptions:
        next(job for job in before.jobs if job.id == each.job_id).is_stopping = False
    for each in plan.preemptions:
        victim, winner = by_id[each.job_id], by_id[each.for_job_id]
        assert winner.waits
        if each.cause is PreemptionCause.IN_SHARE:
            assert victim.share == winner.share
            assert victim.priority < winner.priority
            assert yard.terms[victim.share].preempts_within
        else:
            assert victim.share != winner.share
            kept = [job.id for job in before.within_quota(victim.share)]
            assert victim.id not in kept, f"{victim} is within its quota"


def _judge_use_of_stops(yard: QuotaYard, plan: Plan) -> None:
    """Everybody for whom somebody is stopped starts; with one fewer stopped, not all would."""
    if not plan.preemptions:
        return
    winners = {each.for_job_id for each in plan.preemptions}
    left = winners - _started_after(yard, spared=None)
    assert not left, f"{plan.preemptions} for nothing: {yard.jobs} {yard.terms}"
    waiting_shares = {job.share for job in yard.jobs if job.waits}
    if len(winners) == 1 and len(waiting_shares) == 1:
        for each in plan.preemptions:
            assert not winners <= _started_after(yard, spared=each), f"{each} was not needed"


def _started_after(yard: QuotaYard, spared: Preemption | None) -> set[JobId]:
    """Tell who starts once all who were told to have ended, but for one."""
    after = deepcopy(yard)
    for job in after.jobs:
        if spared is not None and job.id == spared.job_id:
            job.is_stopping = False
    ending = [job for job in after.jobs if job.runs and job.is_stopping]
    if ending:
        after.end_stopped(*ending)
    return {each.job_id for each in after.round().placements}
