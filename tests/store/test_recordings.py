"""Records of what engines decided from: spans, and what is deleted; readers that only read."""

import pytest
from sqlalchemy.exc import SQLAlchemyError

from batchyard.store import Store, StoreTrouble
from batchyard.store.reading import open_for_reading
from batchyard.store.recordings import (
    RecordRow,
    append_record,
    delete_some,
    drop_spans,
    read_sizes,
    read_span,
    read_spans,
)

DAY_MS = 86_400_000


async def append(store: Store, epoch: int, kind: str, at_ms: int, size: int = 1) -> None:
    row = (epoch, 1, kind, at_ms, 1, b"d", b"x" * size)
    await store.write(lambda conn: append_record(conn, row))


async def drop(store: Store, before_ms: int, kept: int) -> int:
    found: list[int] = []
    await store.write(lambda conn: found.append(drop_spans(conn, before_ms=before_ms, kept=kept)))
    return found[-1]


async def epochs(store: Store) -> list[int]:
    return [span.epoch for span in await store.read(read_spans)]


async def test_a_span_is_everything_from_one_beginning_to_the_next(store: Store) -> None:
    await append(store, 1, "BEGINNING", 10)
    await append(store, 1, "TURN", 20)
    await append(store, 4, "BEGINNING", 30)

    first, second = await store.read(read_spans)
    records = await store.read(lambda conn: list(read_span(conn, first)))

    assert [(first.epoch, first.began_ms), (second.epoch, second.began_ms)] == [(1, 10), (4, 30)]
    assert [(each.kind, each.at_ms) for each in records] == [("BEGINNING", 10), ("TURN", 20)]
    assert records[1] == RecordRow(
        seq=records[1].seq, kind="TURN", at_ms=20, version=1, digest=b"d", body=b"x"
    )


async def test_long_spans_are_read_page_by_page(store: Store, monkeypatch) -> None:
    monkeypatch.setattr("batchyard.store.recordings._PAGE_ROWS", 2)
    await append(store, 1, "BEGINNING", 0)
    for at_ms in range(1, 4):
        await append(store, 1, "TURN", at_ms)

    (span,) = await store.read(read_spans)
    records = await store.read(lambda conn: list(read_span(conn, span)))

    assert [each.at_ms for each in records] == [0, 1, 2, 3]


async def test_spans_go_once_they_ended_long_ago(store: Store) -> None:
    for epoch, at_ms in ((1, 0), (2, DAY_MS), (3, 2 * DAY_MS)):
        await append(store, epoch, "BEGINNING", at_ms)

    for before_ms, left in ((DAY_MS, [1, 2, 3]), (DAY_MS + 1, [2, 3]), (9 * DAY_MS, [3])):
        await drop(store, before_ms, 9)
        assert await epochs(store) == left


async def test_all_but_the_newest_spans_go_and_their_records_bit_by_bit(store: Store) -> None:
    for epoch in (1, 2, 3):
        await append(store, epoch, "BEGINNING", epoch, size=10)
        await append(store, epoch, "TURN", epoch, size=epoch)

    assert await store.read(read_sizes) == [11, 12, 13]
    first_seq = await drop(store, 0, 1)

    assert await epochs(store) == [3]
    assert await store.read(read_sizes) == [13]
    counts: list[int] = []
    for _ in range(3):
        await store.write(lambda conn: counts.append(delete_some(conn, first_seq, 1)))
    assert counts == [1, 1, 0]
    (span,) = await store.read(read_spans)
    assert span.first_seq == first_seq
    records = await store.read(lambda conn: list(read_span(conn, span)))
    assert [each.kind for each in records] == ["BEGINNING", "TURN"]


async def test_whoever_only_reads_sees_what_is_there_and_changes_nothing(
    store: Store, url: str
) -> None:
    await append(store, 1, "BEGINNING", 10)

    with open_for_reading(url) as conn:
        assert [span.epoch for span in read_spans(conn)] == [1]
        with pytest.raises(SQLAlchemyError):
            append_record(conn, (2, 1, "BEGINNING", 20, 1, b"", b""))
        conn.rollback()


async def test_a_store_of_another_revision_is_not_read(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchyard.store.reading.REVISIONS", ("0001", "newer"))

    with (
        pytest.raises(StoreTrouble, match=r"this batchyard reads newer: start its server once"),
        open_for_reading(url),
    ):
        pass
