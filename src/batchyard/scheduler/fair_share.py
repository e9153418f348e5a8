"""Whose turn it is among the shares of a queue, and how what they use is counted.

Decides by reference/compute-and-scheduling.md section 3.3; the choices are ours where AWS says
nothing: docs/decisions/0007-fair-share.md. Refuses to know jobs' life cycles, and where capacity
is. Integers only: the same numbers on every machine.

The usage of a share, at a time `now`, is the sum over all its attempts and all moments `t` in which
they held capacity (milli-vCPUs times milliseconds):

    usage = sum of cpu_milli * 2 ** (-(now - t) / window)

and never more than `cpu_milli * window / ln 2` for what runs for ever. It is carried from one
moment to the next without looking back: with `f = 2 ** (-elapsed / window)`

    usage = usage * f + cpu_milli * (1 - f) * window / ln 2

Whose turn it is: the share with the lowest

    score = weight * (usage + cpu_milli running now * AHEAD_MS)

and among equal ones the one whose next job was submitted first. What runs counts as though it had
run for AHEAD_MS more: so shares take turns within a round, and where none has a history. The weight
of a prefix is shared among the `k` active shares that begin with it: each has `k` times it.

Reservation: all shares together may hold `total * (1 - (percent / 100) ** n)` vCPUs, with `n`
active shares. A share that neither runs anything nor has any usage may go beyond it, if it is not
the only one: that is what is kept for it. Such shares have the score 0, so they always come first.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from math import isqrt

from msgspec import Struct

from batchyard.model.ids import JobId
from batchyard.scheduler.view import WaitingJob

#: What runs counts as though it had run for so long more than it has.
AHEAD_MS = 60_000

#: Factors are fractions of 2 ** 64.
_FACTOR_BITS = 64
_ONE = 1 << _FACTOR_BITS
#: 1 / ln 2, as a fraction of 2 ** 64.
_PER_LN_2 = 26_613_026_195_688_644_983
#: Ages are windows, in fractions of 2 ** 48: six bytes, with a table for each.
_BYTE_BITS = 8
_TABLE_COUNT = 6
_AGE_BITS = _BYTE_BITS * _TABLE_COUNT
_BYTE_MASK = (1 << _BYTE_BITS) - 1
#: While the tables are made, so that what is kept of them is exact to the last bit but one.
_WORK_BITS = 192


def usage_after(usage: int, cpu_milli: int, *, elapsed_ms: int, window_ms: int) -> int:
    """Carry a usage on by a time in which the share held `cpu_milli` throughout."""
    if elapsed_ms <= 0 or not (usage or cpu_milli):
        return usage
    factor = decay_factor(elapsed_ms, window_ms)
    aged = usage * factor >> _FACTOR_BITS
    return aged + (cpu_milli * window_ms * (_ONE - factor) * _PER_LN_2 >> 2 * _FACTOR_BITS)


def least_usage_after(usage: int, cpu_milli: int, *, elapsed_ms: int, window_ms: int) -> int:
    """Give what `usage_after` is at least, for a tenth of its cost; the closer, the shorter ago.

    For 2 ** -x is at least 1 - x * ln 2, and so more than 1 - 0.7 * x; and (1 - 2 ** -x) / ln 2,
    which is what was held meanwhile, is at least x - x * x * ln 2 / 2, more than x - 0.35 * x * x.
    What `usage_after` cuts off is taken off too: of the age, and less than 1 at a time of the rest.
    """
    if elapsed_ms <= 0:
        return usage
    least = usage - 7 * usage * elapsed_ms // (10 * window_ms) - 5
    if cpu_milli and 7 * elapsed_ms < 20 * window_ms:
        least += cpu_milli * elapsed_ms * (20 * window_ms - 7 * elapsed_ms) // (20 * window_ms)
        least -= cpu_milli * window_ms >> _AGE_BITS
    return least if least > 0 else 0


def decay_factor(elapsed_ms: int, window_ms: int) -> int:
    """Give 2 ** (-elapsed / window), in fractions of 2 ** 64."""
    age = (elapsed_ms << _AGE_BITS) // window_ms
    halvings = age >> _AGE_BITS
    if halvings > _FACTOR_BITS:
        return 0
    # Written out, for a round asks it of every share: from the first byte of the age to the last.
    first, second, third, fourth, fifth, sixth = _TABLES
    factor = first[age >> 40 & _BYTE_MASK]
    factor = factor * second[age >> 32 & _BYTE_MASK] >> _FACTOR_BITS
    factor = factor * third[age >> 24 & _BYTE_MASK] >> _FACTOR_BITS
    factor = factor * fourth[age >> 16 & _BYTE_MASK] >> _FACTOR_BITS
    factor = factor * fifth[age >> 8 & _BYTE_MASK] >> _FACTOR_BITS
    factor = factor * sixth[age & _BYTE_MASK] >> _FACTOR_BITS
    return factor >> halvings


def reserve_limit(total_cpu_milli: int, reservation_percent: int, active_count: int) -> int:
    """Give what all shares together may hold, in milli-vCPUs."""
    kept: int = reservation_percent**active_count
    whole: int = 100**active_count
    return total_cpu_milli * (whole - kept) // whole


def score_of(weight_e4: int, usage: int, cpu_milli: int) -> int:
    """Tell how far a share is from being next; `usage` is as of now."""
    return weight_e4 * (usage + cpu_milli * AHEAD_MS)


class ShareView(Struct, kw_only=True):
    """A share in which jobs wait."""

    identifier: str
    #: Its own: that of a prefix, times the active shares that have it.
    weight_e4: int
    #: As of now; no more than that, while `usage_now` is given.
    usage: int
    #: Counts it out.
    usage_now: Callable[[], int] | None = None
    #: What it holds now.
    cpu_milli: int
    #: Submission number of its first job.
    front_seq: int
    #: In the order in which they should start; never empty, and read as far as they are taken.
    jobs: Iterator[WaitingJob]

    def score(self) -> int:
        """Tell how far it is from being next."""
        return score_of(self.weight_e4, self.usage, self.cpu_milli)


_Entry = tuple[int, int, str, ShareView, WaitingJob | None]


class FairOrder:
    """The order of a queue with shares.

    Making it costs O(shares), each job taken O(log shares), however many jobs wait.
    """

    def __init__(
        self,
        shares: Iterable[ShareView],
        *,
        cpu_milli_used: int,
        cpu_milli_limit: int | None,
        is_alone: bool,
    ) -> None:
        """Begin a round.

        `cpu_milli_used` is what all shares hold, `cpu_milli_limit` what they may (see
        `reserve_limit`; None: all there is). `is_alone`: there is only one active share.
        """
        self._used = cpu_milli_used
        self._limit = cpu_milli_limit
        self._is_alone = is_alone
        #: (score, submission number of the next job, identifier, share, next job); no two entries
        #: have the same identifier. None: the next job has not been read yet. Scores are no more
        #: than they are, and the first is what it is once somebody has looked.
        self._heap: list[_Entry] = [
            (each.score(), each.front_seq, each.identifier, each, None) for each in shares
        ]
        heapify(self._heap)
        #: Who was taken, one after the other; and whether anybody was passed over.
        self.taken: list[JobId] = []
        self.has_passed = False

    @property
    def cpu_milli_used(self) -> int:
        """What all shares hold, with what the round has given them."""
        return self._used

    @property
    def cpu_milli_limit(self) -> int | None:
        """What they may hold; None: all there is."""
        return self._limit

    def peek(self) -> WaitingJob | None:
        """See `WaitingOrder`."""
        if not self._heap:
            return None
        score, seq, identifier, share, job = self._heap[0]
        while share.usage_now is not None:  # Whoever is first once that is known is the first.
            share.usage, share.usage_now = share.usage_now(), None
            heapreplace(self._heap, (share.score(), seq, identifier, share, job))
            score, seq, identifier, share, job = self._heap[0]
        if job is None:
            job = next(share.jobs)
            self._heap[0] = (score, seq, identifier, share, job)
        return job

    def is_held_back(self) -> bool:
        """See `WaitingOrder`."""
        job = self.peek()
        if job is None or self._limit is None:
            return False
        is_new = self._heap[0][0] == 0 and not self._is_alone
        return not is_new and self._used + job.demand.cpu_milli > self._limit

    def take(self) -> None:
        """See `WaitingOrder`."""
        _, _, identifier, share, job = self._heap[0]
        assert job is not None, "a job is looked at before it is taken"
        self.taken.append(job.job_id)
        self._used += job.demand.cpu_milli
        share.cpu_milli += job.demand.cpu_milli
        self._show_next(share, identifier)

    def pass_over(self) -> None:
        """See `WaitingOrder`."""
        _, _, identifier, share, job = self._heap[0]
        assert job is not None, "a job is looked at before it is passed over"
        self.has_passed = True
        self._show_next(share, identifier)

    def _show_next(self, share: ShareView, identifier: str) -> None:
        following = next(share.jobs, None)
        if following is None:
            heappop(self._heap)
        else:
            heapreplace(self._heap, (share.score(), following.seq, identifier, share, following))


def _make_tables() -> list[list[int]]:
    """Give 2 ** (-byte / 256 ** level), for each byte, level by level from 1."""
    root = 1 << (_WORK_BITS - 1)
    tables: list[list[int]] = []
    for _ in range(_TABLE_COUNT):
        for _ in range(_BYTE_BITS):
            root = isqrt(root << _WORK_BITS)
        powers = [1 << _WORK_BITS]
        while len(powers) <= _BYTE_MASK:
            powers.append(powers[-1] * root >> _WORK_BITS)
        tables.append([each >> (_WORK_BITS - _FACTOR_BITS) for each in powers])
    return tables


_TABLES = _make_tables()
