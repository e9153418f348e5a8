"""What a quota share lacks for a job of it, in numbers.

Part of `explaining`. Decides what is told where the share, not a machine, is what keeps a job.
"""

from collections.abc import Iterator

from batchyard.core.quota_books import counted_use, quota_accounts_of, quota_share_of
from batchyard.core.state import Job, State
from batchyard.model.capacity_use import MILLI
from batchyard.model.explanation import Cause, Reason
from batchyard.model.ids import JobId


def quota_reason(state: State, job: Job) -> Reason | None:
    """Say what its quota share lacks for a RUNNABLE job; None: nothing, or it has none."""
    queue, share = state.queues.get(job.queue_arn), quota_share_of(state, job)
    if queue is None or share is None:
        return None
    accounts, use, terms = quota_accounts_of(queue), counted_use(queue, job.use), share.terms
    never = accounts.why_never(terms.name, use)
    if never is None and accounts.may_start(terms.name, use):
        return None
    unit = next(
        (
            each
            for each, quantity in use.items()
            if not accounts.may_start(terms.name, {each: quantity})
        ),
        next(iter(use)),
    )
    asked, used, limit = use[unit], share.used.get(unit, 0), terms.limit(unit)
    used_of = f"uses {_count(used)} of {_count(limit)}"
    text = f"Asked {_count(asked)} {unit}; quota share {terms.name} {used_of}"
    if used + asked <= limit:
        text += ", and what it does not use is lent: it is taken back."
    elif terms.borrow_percent is None:
        text += ", and does not borrow."
    else:
        text += ", and others lend no more, or it may not borrow more."
    return Reason(
        cause=Cause.QUOTA if never is None else Cause.NEVER_FITS,
        text=text,
        subject=terms.name,
        numbers={"asked_milli": asked, "used_milli": used, "limit_milli": limit},
    )


def in_share(state: State, job: Job) -> Iterator[JobId] | None:
    """Give the jobs of its quota share in their order; None: it has no quota share."""
    share = quota_share_of(state, job)
    return None if share is None else iter(share.line)


def _count(milli: int) -> str:
    return f"{milli / MILLI:g}"
