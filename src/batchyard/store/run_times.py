"""How long attempts took of late, and of which kind live jobs are: what forecasts rest on.

Refuses to know what is made of it. Bounded: it reads the latest ends, not all there ever were.
"""

from collections.abc import Iterable, Iterator
from sys import intern

from msgspec import Struct
from sqlalchemy import Connection, select

from batchyard.model.ids import JobId, QueueArn
from batchyard.model.records import JobProgress
from batchyard.store import codec
from batchyard.store.schema import children, jobs

#: Ours: how many ended jobs are looked at, and how many children of each array.
_JOBS_MAX = 4000
_CHILDREN_MAX = 200
_ARRAYS_MAX = 50


class Kind(Struct, frozen=True):
    """What makes jobs alike: one definition, whatever its revision, in one queue."""

    #: Name of the definition, without a revision; empty for service jobs.
    definition: str
    queue_arn: QueueArn


class PastAttempt(Struct, frozen=True, kw_only=True):
    """An attempt that ran."""

    kind: Kind
    #: From its place to its start, and from its start to its end, in milliseconds.
    starting_ms: int
    running_ms: int
    exit_code: int | None
    reason: str | None
    stopped_ms: int


_ENDED = (
    select(jobs.c.id, jobs.c.definition_arn, jobs.c.queue_arn, jobs.c.progress, jobs.c.array_size)
    .where(jobs.c.stopped_ms.is_not(None))
    .order_by(jobs.c.stopped_ms.desc())
    .limit(_JOBS_MAX)
)
_LIVE = select(jobs.c.id, jobs.c.definition_arn, jobs.c.queue_arn, jobs.c.array_size).where(
    jobs.c.stopped_ms.is_(None)
)


def read_kinds_of_live(conn: Connection) -> dict[JobId, Kind]:
    """Tell of which kind each live job is; its parts are like it."""
    known: dict[tuple[str, str], Kind] = {}
    return {JobId(row.id): _kind_of(known, row.definition_arn, row.queue_arn) for row in
            conn.execute(_LIVE)}  # fmt: skip


def read_past_attempts(conn: Connection) -> list[PastAttempt]:
    """Read how attempts went that ended of late, the latest jobs first."""
    known: dict[tuple[str, str], Kind] = {}
    found: list[PastAttempt] = []
    arrays: list[tuple[str, Kind]] = []
    for row in conn.execute(_ENDED):
        kind = _kind_of(known, row.definition_arn, row.queue_arn)
        if row.array_size is not None:
            arrays.append((row.id, kind))
            continue
        found.extend(_attempts_of(kind, codec.decode_progress(row.progress)))
    live = _LIVE.where(jobs.c.array_size.is_not(None)).limit(_ARRAYS_MAX)
    arrays[:0] = [
        (each.id, _kind_of(known, each.definition_arn, each.queue_arn))
        for each in conn.execute(live)
    ]
    for parent_id, kind in arrays[:_ARRAYS_MAX]:
        found.extend(_of_children(conn, parent_id, kind))
    found.sort(key=lambda each: -each.stopped_ms)
    return found


def _of_children(conn: Connection, parent_id: str, kind: Kind) -> Iterator[PastAttempt]:
    query = (
        select(children.c.progress)
        .where(children.c.parent_id == parent_id, children.c.stopped_ms.is_not(None))
        .order_by(children.c.child_index.desc())
        .limit(_CHILDREN_MAX)
    )
    for stored in conn.scalars(query):
        yield from _attempts_of(kind, codec.decode_progress(stored))


def _attempts_of(kind: Kind, progress: JobProgress) -> Iterable[PastAttempt]:
    for each in progress.attempts:
        if each.started_ms is not None and each.stopped_ms is not None and each.stop_cause is None:
            yield PastAttempt(
                kind=kind,
                starting_ms=max(0, each.started_ms - each.placed_ms),
                running_ms=max(0, each.stopped_ms - each.started_ms),
                exit_code=each.exit_code,
                reason=each.reason,
                stopped_ms=each.stopped_ms,
            )


def _kind_of(known: dict[tuple[str, str], Kind], definition_arn: str, queue_arn: str) -> Kind:
    kind = known.get((definition_arn, queue_arn))
    if kind is None:
        name = definition_arn.rsplit("/", 1)[-1].rsplit(":", 1)[0]
        kind = Kind(name, QueueArn(intern(queue_arn)))
        known[definition_arn, queue_arn] = kind
    return kind
