"""How long attempts took of late, and of which kind live jobs are: what forecasts rest on.

Refuses to know what is made of it. Bounded: it reads the latest ends, not all there ever were.
"""

from collections.abc import Iterable, Iterator
from sys import intern
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, select

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, QueueArn
from batchyard.model.records import JobProgress, QueuedJob, StopCause
from batchyard.store import codec
from batchyard.store.job_rows import QUEUED_COLUMNS, queued_of
from batchyard.store.schema import children, jobs

#: Ours: how many ended jobs are looked at, and how many children of each array.
JOBS_MAX = 4000
CHILDREN_MAX = 200
_ARRAYS_MAX = 50
#: Ours: how many submissions are looked at.
_ARRIVALS_MAX = 2000
_BATCH_MS = 60_000


class Kind(Struct, frozen=True):
    """What makes jobs alike: one definition, whatever its revision, in one queue."""

    #: Name of the definition, without a revision; empty for service jobs.
    definition: str
    queue_arn: QueueArn


class Origin(Struct, frozen=True):
    """Where a job comes from: its kind, and what came with it."""

    kind: Kind
    #: Jobs of a kind that came in together: an array's children, or those of the same minute.
    batch: str
    #: What else its jobs have in common: whose they are (the share), and what each needs.
    trait: str = ""


class PastArrival(Struct, frozen=True, kw_only=True):
    """A job that was submitted of late, whatever became of it."""

    origin: Origin
    job: QueuedJob


class PastAttempt(Struct, frozen=True, kw_only=True):
    """An attempt that ran, or failed to start."""

    kind: Kind
    #: See `Origin`.
    batch: str = ""
    trait: str = ""
    #: From its place to its start, and from its start to its end, in milliseconds; without a start
    #: 0, and from its place to its end.
    starting_ms: int
    running_ms: int
    exit_code: int | None
    reason: str | None
    stopped_ms: int


#: What a kind, a batch and a trait are read from.
_ORIGIN = (
    jobs.c.id,
    jobs.c.definition_arn,
    jobs.c.queue_arn,
    jobs.c.created_ms,
    jobs.c.array_size,
    jobs.c.share_identifier,
    jobs.c.cpu_milli,
    jobs.c.memory_mib,
    jobs.c.gpu_count,
)
_ENDED = (
    select(*_ORIGIN, jobs.c.progress)
    .where(jobs.c.stopped_ms.is_not(None))
    .order_by(jobs.c.stopped_ms.desc())
    .limit(JOBS_MAX)
)
_LIVE = select(*_ORIGIN).where(jobs.c.stopped_ms.is_(None))
_ARRIVED = select(*QUEUED_COLUMNS).order_by(jobs.c.seq.desc()).limit(_ARRIVALS_MAX)
_ARRIVED_FROM = select(*_ORIGIN).order_by(jobs.c.seq.desc()).limit(_ARRIVALS_MAX)

#: Who stopped an attempt that nevertheless says how long its like run: its user, and its own limit.
#: All others cut short what would have gone on.
_STOPPED_ALIKE = (StopCause.TERMINATED, StopCause.TIMED_OUT)


def read_origins_of_live(conn: Connection) -> dict[JobId, Origin]:
    """Tell where each live job comes from; its parts are like it."""
    known = _Kinds()
    return {JobId(row.id): known.origin_of(row) for row in conn.execute(_LIVE)}


def read_past_arrivals(conn: Connection) -> list[PastArrival]:
    """Read what was submitted of late, the oldest first."""
    known = _Kinds()
    rows = zip(conn.execute(_ARRIVED), conn.execute(_ARRIVED_FROM).all(), strict=True)
    found = [PastArrival(origin=known.origin_of(row), job=queued_of(job)) for job, row in rows]
    return found[::-1]


def read_past_attempts(conn: Connection) -> list[PastAttempt]:
    """Read how attempts went that ended of late, the latest first."""
    known = _Kinds()
    found: list[PastAttempt] = []
    live = _LIVE.where(jobs.c.array_size.is_not(None)).limit(_ARRAYS_MAX)
    arrays = [(row.id, known.origin_of(row)) for row in conn.execute(live)]
    for row in conn.execute(_ENDED):
        origin = known.origin_of(row)
        if row.array_size is not None:
            arrays.append((row.id, origin))
        else:
            found.extend(_attempts_of(origin, codec.decode_progress(row.progress)))
    for parent_id, origin in arrays[:_ARRAYS_MAX]:
        found.extend(_of_children(conn, parent_id, origin))
    found.sort(key=lambda each: -each.stopped_ms)
    return found


def _of_children(conn: Connection, parent_id: str, origin: Origin) -> Iterator[PastAttempt]:
    query = (
        select(children.c.progress)
        .where(children.c.parent_id == parent_id, children.c.stopped_ms.is_not(None))
        .order_by(children.c.child_index.desc())
        .limit(CHILDREN_MAX)
    )
    for stored in conn.scalars(query):
        yield from _attempts_of(origin, codec.decode_progress(stored))


def _attempts_of(origin: Origin, progress: JobProgress) -> Iterable[PastAttempt]:
    for each in progress.attempts:
        # What was stopped is over, and is not tried again.
        was_stopped = each.stop_cause is not None
        if each.stopped_ms is None or not is_telling(each.stop_cause):
            continue
        if was_stopped and each.started_ms is None:
            continue
        # What failed to start has held its place until then.
        started_ms = each.placed_ms if each.started_ms is None else each.started_ms
        yield PastAttempt(
            kind=origin.kind,
            batch=origin.batch,
            trait=origin.trait,
            starting_ms=max(0, started_ms - each.placed_ms),
            running_ms=max(0, each.stopped_ms - started_ms),
            exit_code=0 if was_stopped else each.exit_code,
            reason=None if was_stopped else each.reason,
            stopped_ms=each.stopped_ms,
        )


def is_telling(cause: StopCause | None) -> bool:
    """Tell whether the time of an attempt that was stopped, or was not, says how others will go."""
    return cause is None or cause in _STOPPED_ALIKE


def trait_of(share_identifier: str | None, demand: Amount) -> str:
    """Name what jobs of a kind may have in common besides: the share, a space, what each needs."""
    return f"{share_identifier or ''} {demand.cpu_milli}/{demand.memory_mib}/{demand.gpu_count}"


class _Kinds:
    """Makes each kind once, for many jobs are of it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Kind] = {}

    def origin_of(self, row: Row[*tuple[Any, ...]]) -> Origin:
        key = (row.definition_arn, row.queue_arn)
        kind = self._known.get(key)
        if kind is None:
            name = row.definition_arn.rsplit("/", 1)[-1].rsplit(":", 1)[0]
            kind = self._known[key] = Kind(name, QueueArn(intern(row.queue_arn)))
        batch = row.id if row.array_size is not None else str(row.created_ms // _BATCH_MS)
        demand = Amount(cpu_milli=row.cpu_milli, memory_mib=row.memory_mib, gpu_count=row.gpu_count)
        trait = trait_of(row.share_identifier, demand)
        return Origin(kind, intern(batch), intern(trait))
