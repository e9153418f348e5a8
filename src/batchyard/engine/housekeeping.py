"""What is thrown away, and when: finished jobs past their retention, expired log lines.

Owns the pace: once an hour, in small steps, so that no commit is held up. Refuses to know how
anything is stored.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from batchyard.store import Store
from batchyard.store.jobs import delete_finished_before

_log = structlog.get_logger()

_PAUSE_S = 3600.0
_ROWS_PER_STEP = 500
_DAY_MS = 86_400_000


class ExpiringLogs(Protocol):
    """Whatever holds log lines with a retention."""

    async def sweep(self) -> int: ...


async def keep_house(
    store: Store, logs: ExpiringLogs, clock_ms: Callable[[], int], *, days: int
) -> None:
    """Throw away what is past its time, for ever, once an hour."""
    while True:
        before_ms = clock_ms() - days * _DAY_MS
        job_count = 0
        while True:
            deleted = await store.write(
                lambda conn, limit_ms=before_ms: delete_finished_before(  # type: ignore[misc]
                    conn, limit_ms, _ROWS_PER_STEP
                )
            )
            job_count += deleted
            if deleted < _ROWS_PER_STEP:
                break
        line_count = await logs.sweep()
        if job_count or line_count:
            _log.info("expired_deleted", jobs=job_count, log_lines=line_count)
        await asyncio.sleep(_PAUSE_S)
