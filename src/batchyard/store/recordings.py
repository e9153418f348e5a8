"""What engines decided from, in the order in which they did.

Owns the table `recordings`; the engine in charge alone appends. Refuses to know what is in a
record. A *span* is everything from one BEGINNING to the next.
"""

from collections.abc import Iterator

from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, select

from batchyard.store.schema import recordings
from batchyard.store.statements import insert_sql, run_many

#: Epoch, kind, when, the form's version, the digest of its events, and the body.
NewRecordRow = tuple[int, str, int, int, bytes, bytes]

_BEGINNING = "BEGINNING"
_INSERT = insert_sql(recordings, ("epoch", "kind", "at_ms", "version", "digest", "body"))
_SPANS = (
    select(recordings.c.seq, recordings.c.epoch, recordings.c.at_ms)
    .where(recordings.c.kind == _BEGINNING)
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
        Span(epoch=row.epoch, began_ms=row.at_ms, first_seq=row.seq, end_seq=end)
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


def delete_old_spans(conn: Connection, *, before_ms: int, bytes_max: int) -> None:
    """Delete spans that ended before, and the oldest while the others are larger together."""
    spans = read_spans(conn)
    keep_from, byte_count = _BEYOND, 0
    ended_ms = before_ms  # of the newest one: nobody knows better than that it ends now
    for span in reversed(spans):
        given = {"first": span.first_seq, "end": span.end_seq}
        byte_count += conn.execute(_SIZE, given).scalar_one() or 0
        if byte_count > bytes_max or ended_ms < before_ms:
            break
        keep_from, ended_ms = span.first_seq, span.began_ms
    conn.execute(delete(recordings).where(recordings.c.seq < keep_from))
