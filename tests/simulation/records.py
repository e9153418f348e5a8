"""What lies in the store's file, seen beside the server, over a connection of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from batchyard.core.events import Event
from batchyard.engine.facts import decode_event
from batchyard.model.ids import JobId
from batchyard.model.records import EventRecord
from batchyard.model.status import JobStatus
from batchyard.store import codec

_EVENTS = "SELECT seq, at_ms, job_id, kind, version, body FROM events WHERE seq > ? ORDER BY seq"
_IN_TRANSITION = (
    "SELECT 'environments', name, status FROM environments"
    " WHERE status IN ('CREATING', 'UPDATING', 'DELETING')",
    "SELECT 'queues', name, status FROM queues"
    " WHERE status IN ('CREATING', 'UPDATING', 'DELETING')",
    "SELECT 'quota_shares', name, status FROM quota_shares"
    " WHERE status IN ('CREATING', 'UPDATING', 'DELETING')",
    "SELECT 'consumable', name, version FROM consumables WHERE version > seen_version",
    "SELECT 'policy', name, revision FROM policies WHERE revision > settled_revision",
    "SELECT 'instance wish', seq, at_ms FROM instance_wishes WHERE settled_ms IS NULL",
    "SELECT 'service_environments', name, status FROM service_environments"
    " WHERE status IN ('CREATING', 'UPDATING', 'DELETING')",
)


class Records:
    """Reads what is durable."""

    def __init__(self, path: Path) -> None:
        self._conn = sqlite3.connect(path, isolation_level=None)
        self._last_seq = 0

    def close(self) -> None:
        self._conn.close()

    def new_events(self) -> Iterator[Event]:
        """Give what became true since the last look."""
        for seq, at_ms, job_id, kind, version, body in self._conn.execute(
            _EVENTS, (self._last_seq,)
        ).fetchall():
            self._last_seq = seq
            yield decode_event(
                EventRecord(
                    seq=seq,
                    at_ms=at_ms,
                    job_id=job_id,
                    kind=kind,
                    version=version,
                    body=codec.decode_object(body),
                )
            )

    def jobs(self) -> list[tuple[JobId, str, JobStatus]]:
        rows = self._conn.execute("SELECT id, name, status FROM jobs ORDER BY seq").fetchall()
        return [(JobId(job_id), name, JobStatus(status)) for job_id, name, status in rows]

    def holdings(self) -> dict[str, tuple[int, int]]:
        """Give how much is held and used up of each consumable resource."""
        rows = self._conn.execute("SELECT arn, held, used_up FROM consumables ORDER BY arn")
        return {str(arn): (held, used_up) for arn, held, used_up in rows.fetchall()}

    def name_of(self, job_id: JobId) -> str:
        (name,) = self._conn.execute("SELECT name FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return str(name)

    def live_instances(self) -> list[str]:
        rows = self._conn.execute(
            "SELECT id FROM instances WHERE terminated_ms IS NULL ORDER BY id"
        )
        return [str(row[0]) for row in rows.fetchall()]

    def names(self, table: str) -> list[str]:
        rows = self._conn.execute(f"SELECT name FROM {table} ORDER BY name")  # noqa: S608
        return [str(row[0]) for row in rows.fetchall()]

    def quota_shares(self) -> list[str]:
        return [
            str(row[0]) for row in self._conn.execute("SELECT arn FROM quota_shares ORDER BY arn")
        ]

    def in_transition(self) -> set[str]:
        """Name everything that a server which starts now takes as it was asked to become."""
        return {str(name) for _, name, _ in self._changing()}

    def unsettled(self) -> list[str]:
        """Name everything that the engine still owes an answer."""
        found = [f"{kind} {name} is {status}" for kind, name, status in self._changing()]
        found += [f"wish {row}" for row in self._conn.execute("SELECT * FROM wishes").fetchall()]
        return found

    def _changing(self) -> Iterator[tuple[str, object, object]]:
        for statement in _IN_TRANSITION:
            yield from self._conn.execute(statement).fetchall()
