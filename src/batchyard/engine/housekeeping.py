"""What is thrown away, and when: finished jobs past their retention, old output, wherever it is.

Owns the pace: once an hour, in small steps with a rest after each, so that callers do not wait.
What the store cannot do now is left for the next hour: deleting needs room on the disk too. Refuses
to know how anything is stored.
"""

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Protocol

import structlog

from batchyard.engine.clock import Clock, wait_until
from batchyard.model.ids import TaskId
from batchyard.store import Store, StoreTrouble
from batchyard.store.forecasts import score_forecasts
from batchyard.store.instance_wishes import delete_settled_before
from batchyard.store.instances import delete_terminated_before
from batchyard.store.jobs import delete_finished_before
from batchyard.store.live_jobs import read_placed_tasks

_log = structlog.get_logger()

_PAUSE_MS = 3_600_000
_ROWS_PER_STEP = 100
#: After each step callers have the store for several times as long as the step takes.
_REST_S = 0.05
_DAY_MS = 86_400_000


class ExpiringLogs(Protocol):
    """Whatever holds log lines with a retention."""

    async def sweep(self) -> int: ...


class ExpiringFiles(Protocol):
    """Whatever keeps the output of tasks in files."""

    async def sweep(self, before_ms: int, live: Collection[TaskId]) -> int: ...


class ExpiringResults(Protocol):
    """Whatever keeps the results of training jobs that no folder of the operator's is for."""

    def sweep_results(self, before_ms: int) -> int: ...


async def keep_house(  # noqa: PLR0913 -- what holds what expires
    store: Store,
    logs: ExpiringLogs,
    files: ExpiringFiles,
    clock: Clock,
    *,
    days: int,
    results: ExpiringResults | None = None,
    rest_s: float = _REST_S,
) -> None:
    """Throw away what is past its time, for ever, once an hour.

    `rest_s` is how long callers have the store for themselves after each step.
    """
    while True:
        try:
            before_ms = clock.now_ms() - days * _DAY_MS
            await store.write(score_forecasts)
            job_count = await _delete_jobs(store, before_ms, rest_s)
            await store.write(partial(delete_terminated_before, at_ms=before_ms))
            await store.write(partial(delete_settled_before, at_ms=before_ms))
            line_count = await logs.sweep()
            file_count = await files.sweep(before_ms, await store.read_long(read_placed_tasks))
            if results is not None:
                file_count += await asyncio.to_thread(results.sweep_results, before_ms)
        except (StoreTrouble, OSError) as trouble:
            _log.error("expired_not_deleted", reason=str(trouble))
        else:
            if job_count or line_count or file_count:
                _log.info("expired_deleted", jobs=job_count, log_lines=line_count, files=file_count)
        await wait_until(clock, clock.now_ms() + _PAUSE_MS)


async def _delete_jobs(store: Store, before_ms: int, rest_s: float) -> int:
    count = 0
    while True:
        deleted = await store.write(
            lambda conn: delete_finished_before(conn, before_ms, _ROWS_PER_STEP)
        )
        count += deleted
        if deleted < _ROWS_PER_STEP:
            return count
        await asyncio.sleep(rest_s)
