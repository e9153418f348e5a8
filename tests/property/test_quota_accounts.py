"""The books of quota shares that are kept say what books say that are added up anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, JobId
from batchyard.scheduler.preemption import find_outranked
from batchyard.scheduler.quota import UNLIMITED, Accounts, QuotaTerms, RunningJob, RunningShare
from batchyard.scheduler.view import WaitingJob

AMOUNT = Amount(cpu_milli=1)
NAMES = ("a", "b", "c")
UNITS = ("VCPU", "GPU", "MEMORY_MIB")

uses = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 6), min_size=1)
limits = st.dictionaries(st.sampled_from(UNITS[:2]), st.integers(0, 8))
terms_of_all = st.tuples(
    *(
        st.builds(
            QuotaTerms,
            name=st.just(name),
            limits=limits,
            lends=st.booleans(),
            borrow_percent=st.sampled_from((None, UNLIMITED, 50)),
            preempts_within=st.just(True),
        )
        for name in NAMES
    )
)
running_jobs = st.lists(
    st.builds(
        lambda share, use, priority: RunningJob(
            job_id=JobId(f"{share}{priority}{sorted(use.items())}"),
            share=share,
            use=use,
            priority=priority,
            placed_ms=0,
            seq=0,
            environment_arn=EnvironmentArn("ce"),
            slots=(),
        ),
        st.sampled_from(NAMES),
        uses,
        st.integers(0, 3),
    ),
    max_size=8,
)


def used_by(jobs: list[RunningJob]) -> dict[str, dict[str, int]]:
    used: dict[str, dict[str, int]] = {name: {} for name in NAMES}
    for job in jobs:
        for unit, quantity in job.use.items():
            used[job.share][unit] = used[job.share].get(unit, 0) + quantity
    return used


def said_by(accounts: Accounts) -> object:
    """Give all that books say, but for claims."""
    return (
        [[accounts.used(name).get(unit, 0) for unit in UNITS] for name in NAMES],
        [(accounts.left_to_borrow(unit), accounts.idle_of_reserving(unit)) for unit in UNITS],
        [
            (accounts.may_start(name, use), accounts.is_within_quota(name, use))
            for name in NAMES
            for unit in UNITS
            for use in ({unit: 1}, {unit: 3})
        ],
        accounts.is_anything_borrowed(),
    )


@given(terms_of_all, running_jobs, running_jobs, st.integers(0, 8))
def test_books_that_are_kept_say_what_new_ones_say(
    terms: tuple[QuotaTerms, ...],
    before: list[RunningJob],
    coming: list[RunningJob],
    ending: int,
) -> None:
    kept = Accounts(terms, used_by(before))
    copied = kept.copy_without_claims()
    for job in coming:
        kept.start(job.share, job.use)
    for job in before[:ending]:
        kept.end(job.share, job.use)
    assert said_by(kept) == said_by(Accounts(terms, used_by(before[ending:] + coming)))
    assert said_by(copied) == said_by(Accounts(terms, used_by(before))), "copies are their own"
    with kept.once_ended(coming):
        assert said_by(kept) == said_by(Accounts(terms, used_by(before[ending:])))
    assert said_by(kept) == said_by(Accounts(terms, used_by(before[ending:] + coming)))
    for name, use in used_by(before).items():
        kept.settle(name, use)
    assert said_by(kept) == said_by(copied)


@given(terms_of_all, running_jobs, uses, st.data())
def test_what_books_do_not_allow_once_all_have_ended_they_do_not_once_some_have(
    terms: tuple[QuotaTerms, ...],
    running: list[RunningJob],
    use: dict[str, int],
    data: st.DataObject,
) -> None:
    accounts = Accounts(terms, used_by(running))
    ended = [job for job in running if data.draw(st.booleans())]
    with accounts.once_ended(running):
        may_start, has_right = accounts.may_start("a", use), accounts.is_within_quota("a", use)
    with accounts.once_ended(ended):
        assert may_start or not accounts.may_start("a", use)
        assert has_right or not accounts.is_within_quota("a", use)


@given(terms_of_all, running_jobs, uses, st.integers(0, 3))
def test_those_of_a_lower_priority_are_found_with_what_the_books_say_without_them(
    terms: tuple[QuotaTerms, ...], running: list[RunningJob], use: dict[str, int], priority: int
) -> None:
    of_share = [job for job in running if job.share == "a"]
    job = WaitingJob(job_id=JobId("waits"), demand=AMOUNT, use=use, priority=priority)
    found = find_outranked(
        Accounts(terms, used_by(running)), terms[0], RunningShare(terms[0], of_share), job
    )
    lower = [each for each in of_share if each.priority < priority]
    assert list(found.jobs) == lower
    then = Accounts(terms, used_by([each for each in running if each not in lower]))
    if lower:
        assert found.gives_right == then.is_within_quota("a", use)
        assert found.lets_start == then.may_start("a", use)
    else:
        assert not found.may_help
