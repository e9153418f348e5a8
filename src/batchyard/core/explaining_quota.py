"""What a quota share lacks for a job of it, in numbers.

Part of `explaining`. Decides what is told where the share, not a machine, is what keeps a job.
"""

from collections.abc import Iterator

from msgspec import Struct

from batchyard.core.quota_books import counted_use, quota_accounts_of, quota_share_of
from batchyard.core.state import Job, State
from batchyard.model.amounts import gpus_text, mib_text, vcpus_text
from batchyard.model.capacity_use import GPU, MEMORY_MIB, MILLI, VCPU
from batchyard.model.explanation import Cause, Reason
from batchyard.model.ids import JobId
from batchyard.scheduler.plan import Obstacle
from batchyard.scheduler.quota import Accounts, QuotaTerms


class _Ask(Struct, frozen=True, kw_only=True):
    """What a job asks of one unit, and what its share holds of it."""

    unit: str
    quantity: int
    held: int


def quota_reason(state: State, job: Job) -> Reason | None:
    """Say what its quota share lacks for a RUNNABLE job; None: nothing, or it has none."""
    queue, share = state.queues.get(job.queue_arn), quota_share_of(state, job)
    if queue is None or share is None:
        return None
    accounts, use, terms = quota_accounts_of(queue), counted_use(queue, job.use), share.terms
    never = accounts.why_never(terms.name, use)
    if never is None and accounts.may_start(terms.name, use):
        return None
    unit = next(each for each in use if _is_short(accounts, terms.name, each, use[each], never))
    asked, used, limit = use[unit], share.used.get(unit, 0), terms.limit(unit)
    # What could never start is told of as if nothing else ran.
    ask = _Ask(unit=unit, quantity=asked, held=0 if never else used)
    why, short = _why_short(accounts, terms, ask, never)
    has = f"has {_text(unit, limit)}" if never else f"uses {_text(unit, used)} of {_count(limit)}"
    return Reason(
        cause=Cause.QUOTA if never is None else Cause.NEVER_FITS,
        text=(
            f"Asked {_text(unit, asked)}; quota share {terms.name} {has}{why}: short by"
            f" {_text(unit, short)}."
        ),
        subject=terms.name,
        numbers={
            "asked_milli": asked,
            "used_milli": used,
            "limit_milli": limit,
            "short_milli": short,
        },
    )


def in_share(state: State, job: Job) -> Iterator[JobId] | None:
    """Give the jobs of its quota share in their order; None: it has no quota share."""
    share = quota_share_of(state, job)
    return None if share is None else iter(share.line)


def _is_short(
    accounts: Accounts, share: str, unit: str, quantity: int, never: Obstacle | None
) -> bool:
    if never is not None:
        return accounts.why_never(share, {unit: quantity}) is not None
    return not accounts.may_start(share, {unit: quantity})


def _why_short(
    accounts: Accounts, terms: QuotaTerms, ask: _Ask, never: Obstacle | None
) -> tuple[str, int]:
    """Say which rule of `scheduler.quota` keeps a job, and by how much."""
    unit, wanted = ask.unit, ask.held + ask.quantity
    limit, most = terms.limit(unit), terms.most(unit)
    if terms.borrow_percent is None and wanted > limit:
        return " and does not borrow", wanted - limit
    if most is not None and wanted > most:
        may = _text(unit, most - limit)
        return f" and may borrow {may} (borrowLimit {terms.borrow_percent})", wanted - most
    own = max(0, min(limit - ask.held, ask.quantity))
    if never is not None:
        lent = accounts.lent_at_most(terms.name, unit)
        return f", and the others lend {_text(unit, lent)} at most", ask.quantity - own - lent
    left = accounts.left_to_borrow(unit)
    if own < ask.quantity:
        left -= own if terms.lends else 0
        return f", and the others lend {_text(unit, max(0, left))} more", ask.quantity - own - left
    if not terms.lends:
        left += accounts.idle_of_reserving(unit)
    return ", and what it leaves idle is lent until it is taken back", own - left


def _text(unit: str, milli: int) -> str:
    match unit:
        case _ if unit == VCPU:
            return vcpus_text(milli)
        case _ if unit == MEMORY_MIB:
            return mib_text(milli // MILLI)
        case _ if unit == GPU:
            return gpus_text(milli // MILLI)
        case _:
            return f"{_count(milli)} {unit}"


def _count(milli: int) -> str:
    return f"{milli / MILLI:,.12g}"
