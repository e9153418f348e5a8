"""What engines decided from, in the order in which they did.

Owns the table `recordings`; the engine in charge alone appends. Refuses to know what is in a
record. A *span* is everything from one BEGINNING to the next.
"""

from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, literal_column, select

from batchyard.store.schema import recordings
from batchyard.store.statements import insert_sql, run_many

#: Epoch, part, kind, when, the form's version, the digest of its events, and the body.
NewRecordRow = tuple[int, int, str, int, int, bytes, bytes]

# As in the index, to the letter: so both databases use it.
_IS_BEGINNING = recordings.c.kind == literal_column("'BEGINNING'")
_INSERT = insert_sql(recordings, ("epoch", "part", "kind", "at_ms", "version", "digest", "body"))
_SPANS = (
    select(recordings.c.seq, recordings.c.epoch, recordings.c.part, recordings.c.at_ms)
    .where(_IS_BEGINNING)
    .order_by(recordings.c.seq)
)
_RANGE = (
    select(recordings)
    .where(recordings.c.seq >= bindparam("first"), recordings.c.seq < bindparam("end"))
    .order_by(recordings.c.seq)
    .limit(bindparam("limit"))
)
_SIZE = select(func.sum(func.length(recordings.c.body))).where(
    recordings.c.seq >= bindparam("first"), recordings.c.seq < bindparam("end")
)
_BEYOND = 2**62
_PAGE_ROWS = 500


class Span(Struct, frozen=True, kw_only=True):
    """A time for which one engine was in charge, and recorded."""

    epoch: int
    #: Which of that engine's spans, counted from 1.
    part: int
    began_ms: int
    #: Its records: from the first, to before the end.
    first_seq: int
    end_seq: int


class RecordRow(Struct, frozen=True, kw_only=True):
    """A stored record."""

    seq: int
    kind: str
    at_ms: int
    version: int
    digest: bytes
    body: bytes


def append_record(conn: Connection, row: NewRecordRow) -> None:
    """Append one record."""
    run_many(conn, _INSERT, [row])


def read_spans(conn: Connection) -> list[Span]:
    """Read the spans, oldest first."""
    rows = conn.execute(_SPANS).all()
    ends = [row.seq for row in rows[1:]] + [_BEYOND] * bool(rows)
    return [
        Span(epoch=row.epoch, part=row.part, began_ms=row.at_ms, first_seq=row.seq, end_seq=end)
        for row, end in zip(rows, ends, strict=True)
    ]


def read_span(conn: Connection, span: Span) -> Iterator[RecordRow]:
    """Read the records of a span, in order, some at a time."""
    first = span.first_seq
    while True:
        given = {"first": first, "end": span.end_seq, "limit": _PAGE_ROWS}
        rows = conn.execute(_RANGE, given).all()
        for row in rows:
            yield RecordRow(
                seq=row.seq,
                kind=row.kind,
                at_ms=row.at_ms,
                version=row.version,
                digest=row.digest,
                body=row.body,
            )
        if len(rows) < _PAGE_ROWS:
            return
        first = rows[-1].seq + 1


def read_sizes(conn: Connection) -> list[int]:
    """Tell what each span takes, oldest first. Looks at every record: use it once."""
    return [
        conn.execute(_SIZE, {"first": span.first_seq, "end": span.end_seq}).scalar_one() or 0
        for span in read_spans(conn)
    ]


def drop_spans(conn: Connection, *, kept: int, before_ms: int) -> int:
    """Let all spans go but the newest, at most `kept`, and of these those that ended before.

    The newest one stays. Their beginnings go at once, so nobody finds them any more; their other
    records are for `delete_some`. Gives the first record that is kept.
    """
    spans = read_spans(conn)[-kept:]
    first = next(
        (span for span, following in pairwise(spans) if following.began_ms >= before_ms),
        spans[-1],
    )
    is_old = recordings.c.seq < first.first_seq
    conn.execute(delete(recordings).where(is_old, _IS_BEGINNING))
    return first.first_seq


def delete_some(conn: Connection, before_seq: int, limit: int) -> int:
    """Delete the oldest records before one, as many as `limit`; gives how many those were."""
    old = select(recordings.c.seq).where(recordings.c.seq < before_seq)
    some = old.order_by(recordings.c.seq).limit(limit)
    return conn.execute(delete(recordings).where(recordings.c.seq.in_(some))).rowcount
