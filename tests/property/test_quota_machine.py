"""Rounds of a queue with quota shares, under random histories.

Goal: whatever is submitted, ends, or is told of limits, every start and every stop is one that the
rules allow, nobody waits who could start, nobody is stopped for nothing or needlessly; and stopping
comes to an end. Method: a hypothesis state machine over the pure round; the rules are those of
`quota_yard`, written a second time.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from batchyard.scheduler.quota import UNLIMITED, QuotaTerms
from tests.property.quota_yard import QuotaYard, judged_round

SHARES = ("a", "b", "c")
LIMITS = st.fixed_dictionaries(
    {"VCPU": st.integers(0, 6)}, optional={"GPU": st.integers(1, 2)}
).map(lambda limits: {unit: 1000 * quantity for unit, quantity in limits.items()})
SHARING = st.sampled_from(
    [(False, None), (True, None), (True, UNLIMITED), (True, UNLIMITED), (True, 50), (True, 200)]
)


class QuotaMachine(RuleBasedStateMachine):
    @initialize(
        limits=st.tuples(LIMITS, LIMITS, LIMITS),
        sharing=st.tuples(SHARING, SHARING, SHARING),
        within=st.tuples(st.booleans(), st.booleans(), st.booleans()),
        vcpus=st.sampled_from([4, 8, 1000]),
    )
    def begin(self, limits, sharing, within, vcpus) -> None:
        terms = {
            name: QuotaTerms(
                name=name,
                limits=limits[at],
                lends=sharing[at][0],
                borrow_percent=sharing[at][1],
                preempts_within=within[at],
            )
            for at, name in enumerate(SHARES)
        }
        self.yard = QuotaYard(terms, vcpus)
        self.stops = 0

    @rule(
        share=st.sampled_from(SHARES),
        priority=st.sampled_from([0, 0, 1, 2]),
        use=st.fixed_dictionaries({"VCPU": st.integers(1, 4)}, optional={"GPU": st.just(1)}),
        count=st.integers(1, 3),
    )
    def submit(self, share, priority, use, count) -> None:
        for _ in range(count):
            self.yard.submit(share, priority, **use)

    @rule()
    def round(self) -> None:
        judged_round(self.yard)

    @rule(data=st.data())
    @precondition(lambda self: any(job.runs for job in self.yard.jobs))
    def end(self, data) -> None:
        job = data.draw(st.sampled_from([job for job in self.yard.jobs if job.runs]))
        if job.is_stopping:
            self.yard.end_stopped(job)
        else:
            job.is_over = True
        judged_round(self.yard)

    @rule(share=st.sampled_from(SHARES), limits=LIMITS)
    def change_limits(self, share, limits) -> None:
        self.yard.terms[share] = replace(self.yard.terms[share], limits=limits)
        judged_round(self.yard)

    def teardown(self) -> None:
        """With nothing new, stopping comes to an end; and everybody gets to run who ever can."""
        if not hasattr(self, "yard"):
            return
        yard = self.yard
        for _ in range(4 * len(yard.jobs) + 2):
            plan = judged_round(yard)
            is_stopping = any(job.runs and job.is_stopping for job in yard.jobs)
            if not plan.placements and not plan.preemptions and not is_stopping:
                break
            yard.end_stopped()
        else:
            raise AssertionError("jobs are stopped and started without end")
        for _ in range(len(yard.jobs) + 1):
            for job in yard.jobs:
                job.is_over |= job.runs
            judged_round(yard)
            yard.end_stopped()
        left = [job for job in yard.jobs if job.waits and yard.is_ever_possible(job)]
        assert not left, f"{left} never ran"


TestQuotaMachine = QuotaMachine.TestCase
