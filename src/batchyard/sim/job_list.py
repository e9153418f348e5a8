"""The jobs of a run one by one, as CSV: when each came, could start, started and ended.

Owns the columns and their units. Those that a trace has too (`csv_trace`) mean the same, but for a
multi-node job, which is told of as a whole. Refuses to measure: it tells what `JobTable` has, from
which every figure about waits can be counted again.
"""

import csv
from collections.abc import Iterator
from typing import TextIO

from batchyard.sim.job_table import STATUS_BY_PHASE, JobTable, Phase
from batchyard.sim.simulation import share_of

#: A column that has nothing to tell of a job is empty. Times are seconds since the beginning of the
#: trace, with three decimals where they are no whole seconds.
COLUMNS = (
    "config",
    "id",
    "array_index",
    "queue",
    "share_identifier",
    "vcpus",
    "memory_mib",
    "gpus",
    "submit_s",
    "ready_s",
    "start_s",
    "end_s",
    "wait_s",
    "run_s",
    "attempt_count",
    "status",
)

_MILLI = 1000


class JobList:
    """The file: a head, then the jobs of one run after the other."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, config: str, table: JobTable) -> None:
        """Write the jobs of a run that is over, in the order of the trace."""
        self._writer.writerows((config, *row) for row in _rows_of(table))


def _rows_of(table: JobTable) -> Iterator[tuple[object, ...]]:
    for number, job in enumerate(table.jobs):
        for index, row in enumerate(table.rows_of(number)):
            start_ms, ready_ms = table.started_ms[row], table.ready_ms[row]
            yield (
                job.id,
                None if job.array_size is None else index,
                job.queue,
                share_of(job),
                _thousandths(job.demand.cpu_milli),
                job.demand.memory_mib,
                job.demand.gpu_count,
                _thousandths(job.submitted_ms),
                _time(ready_ms),
                _time(start_ms),
                _time(table.ended_ms[row]),
                None if start_ms < 0 else _thousandths(start_ms - ready_ms),
                _thousandths(table.ran_ms[row]),
                table.attempt_counts[row],
                STATUS_BY_PHASE[Phase(table.phases[row])].value,
            )


def _time(ms: int) -> str | None:
    return None if ms < 0 else _thousandths(ms)


def _thousandths(count: int) -> str:
    whole, part = divmod(count, _MILLI)
    return f"{whole}.{part:03d}" if part else str(whole)
