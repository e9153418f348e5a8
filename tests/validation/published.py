"""Schedules that others published: first come, first served, and nobody goes ahead.

Each job is (submit, processors, run, end): when it came, how wide it is, how long it ran, and when
its authors say that it ended, in their unit of time. Figures only; the words are ours. Where an
author ran a job list under a policy that lets jobs go ahead (backfilling) it is not here: a queue
of AWS Batch without a scheduling policy does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Job = tuple[int, int, int, int]


@dataclass(frozen=True)
class Published:
    """A job list, the machine, and where it was published."""

    name: str
    source: str
    processors: int
    jobs: tuple[Job, ...]


#: Output of CQSim for its own sample, which is written nowhere else: id, processors, run, wait,
#: submit, start, end. Its second output of the same jobs (sean-test.rst) lets job 4 go ahead of 3.
CQSIM = Published(
    name="CQSim",
    source="github.com/SPEAR-UIC/CQSim beef040007e3 data/Results/test.rst",
    processors=100,
    jobs=(
        (0, 40, 4000, 4000),
        (1000, 80, 2000, 6000),
        (2000, 90, 1000, 7000),
        (3000, 20, 5000, 12000),
        (4000, 60, 3000, 10000),
        (5000, 50, 3000, 13000),
        (6000, 50, 2000, 14000),
        (8000, 50, 1000, 14000),
        (8000, 10, 5000, 19000),
    ),
)


#: One processor, and what its authors' report says of it: 876 waited in all, 83 the longest. With
#: more processors theirs have a queue each, where AWS Batch has one.
ONE_PROCESSOR = Published(
    name="job_list on one processor",
    source="github.com/EzraMoussa/Simuation 0dbadffdc284 README.md, b68b1ff78c3b job_list.rpt",
    processors=1,
    jobs=tuple(
        (submit, 1, run, end)
        for submit, (run, end) in enumerate(
            (
                *((5, 6), (6, 12), (4, 16), (10, 26), (3, 29), (5, 34), (9, 43), (2, 45), (6, 51)),
                *((11, 62), (2, 64), (3, 67), (7, 74), (6, 80), (5, 85), (4, 89), (9, 98)),
                *((3, 101), (2, 103), (1, 104)),
            ),
            start=1,
        )
    ),
)
ONE_PROCESSOR_WAITED = 876
ONE_PROCESSOR_LONGEST = 83

TEXTBOOKS = (
    Published(
        name="a long job first",
        source="Silberschatz, Galvin, Gagne: Operating System Concepts, FCFS (mean wait 17)",
        processors=1,
        jobs=((0, 1, 24, 24), (0, 1, 3, 27), (0, 1, 3, 30)),
    ),
    Published(
        name="a long job last",
        source="Silberschatz, Galvin, Gagne: Operating System Concepts, FCFS (mean wait 3)",
        processors=1,
        jobs=((0, 1, 3, 3), (0, 1, 3, 6), (0, 1, 24, 30)),
    ),
    Published(
        name="three jobs",
        source="condor.depaul.edu/glancast/443class/docs/slides/Sep08/slide52.html (waits 0, 3, 8)",
        processors=1,
        jobs=((0, 1, 4, 4), (1, 1, 6, 10), (2, 1, 4, 14)),
    ),
    Published(
        name="a list on two machines",
        source="Wikipedia, List scheduling ({4, 6, 8} and {5, 7}: 18)",
        processors=2,
        jobs=((0, 1, 4, 4), (0, 1, 5, 5), (0, 1, 6, 10), (0, 1, 7, 12), (0, 1, 8, 18)),
    ),
    Published(
        name="a list on three machines",
        source="Wikipedia, List scheduling ({4, 7}, {5, 8} and {6}: 13)",
        processors=3,
        jobs=((0, 1, 4, 4), (0, 1, 5, 5), (0, 1, 6, 6), (0, 1, 7, 11), (0, 1, 8, 13)),
    ),
)


@dataclass(frozen=True)
class Anomaly:
    """A list of tasks, some after others, of which all come at once."""

    name: str
    machines: int
    makespan: int
    #: By task.
    run: Mapping[int, int]
    after: Mapping[int, tuple[int, ...]]
    order: tuple[int, ...] = tuple(range(1, 10))


_RUN = {1: 3, 2: 2, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 4, 9: 9}
_AFTER = {5: (4,), 6: (4,), 7: (4,), 8: (4,), 9: (1,)}

#: R. L. Graham: Bounds on multiprocessing timing anomalies. SIAM J. Appl. Math. 17 (1969), 416-429;
#: also in Wikipedia, List scheduling. Whatever is made easier takes longer.
GRAHAM = (
    Anomaly("as it is", 3, 12, _RUN, _AFTER),
    Anomaly("another list", 3, 14, _RUN, _AFTER, (1, 2, 4, 5, 6, 3, 9, 7, 8)),
    Anomaly("one machine more", 4, 15, _RUN, _AFTER),
    Anomaly("shorter tasks", 3, 13, {task: run - 1 for task, run in _RUN.items()}, _AFTER),
    Anomaly("fewer constraints", 3, 16, _RUN, {7: (4,), 8: (4,), 9: (1,)}),
)

_PYSS = (
    "github.com/dinesh121991/pyss scheduler/Input_test_files and src/schedulers/Input_test_files"
)


def _fcfs() -> Iterator[tuple[str, tuple[Job, ...]]]:
    """The inputs of pyss's test_fcfs; 1, 5 and 7 have the jobs of 0, 4 and 6 again."""
    yield (
        "fcfs_input.0",
        (
            *((0, 15, 100, 100),) * 6,
            (5, 50, 100, 200),
            (6, 10, 100, 200),
            (7, 99, 100, 300),
            (8, 10, 2, 302),
        ),
    )
    yield "fcfs_input.2", ((0, 100, 5, 5), (1, 100, 5, 10), (2, 100, 5, 15), (3, 100, 5, 20))
    yield "fcfs_input.3", ((0, 60, 5, 5), (1, 70, 5, 10), (2, 60, 5, 15), (3, 100, 5, 20))
    yield (
        "fcfs_input.4",
        (
            *((0, 10, run, run) for run in range(1, 11)),
            (1, 100, 10, 20),
            *((2, 10, run, 20 + run) for run in range(1, 11)),
        ),
    )
    yield (
        "fcfs_input.6",
        (
            (0, 50, 20, 20),
            (1, 60, 20, 40),
            (2, 20, 300, 320),
            (3, 10, 400, 420),
            (4, 10, 500, 520),
            (5, 10, 20, 60),
        ),
    )


def _where_some_wait() -> Iterator[tuple[str, tuple[Job, ...]]]:
    """Those inputs of pyss's test_basic_fcfs in which jobs have to wait."""
    yield (
        "basic_input.17",
        (
            (0, 50, 10, 10),
            (1, 60, 10, 20),
            (1000, 50, 10, 1010),
            (1001, 60, 10, 1020),
            (1002, 60, 10, 1030),
            (1003, 60, 10, 1040),
        ),
    )
    yield (
        "basic_input.18",
        (
            (0, 100, 100, 100),
            (1, 50, 100, 200),
            (2, 50, 210, 310),
            (3, 50, 100, 300),
            (4, 50, 100, 400),
            (5, 50, 100, 410),
            (6, 50, 100, 500),
        ),
    )
    yield (
        "basic_input.19",
        ((0, 100, 100, 100), *((1, 30, 100, 200),) * 3, *((2, 30, 100, 300),) * 3),
    )
    yield (
        "basic_input.20",
        (
            *((0, 10, 1000, 1000),) * 2,
            *((10, 10, 990, 1000),) * 2,
            *((20, 10, 980, 1000),) * 2,
            (30, 100, 1, 1001),
        ),
    )
    yield (
        "basic_input.21",
        (
            (0, 100, 100, 100),
            *((10, 10, 900, 1000),) * 2,
            *((20, 10, 900, 1000),) * 2,
            (30, 100, 1, 1001),
            (31, 100, 2, 1003),
        ),
    )
    yield (
        "basic_input.24",
        (
            (0, 100, 100, 100),
            (1, 50, 100, 200),
            (2, 50, 100, 200),
            (3, 50, 200, 400),
            (4, 50, 100, 300),
            (5, 50, 100, 400),
        ),
    )


def _where_nobody_waits() -> Iterator[tuple[str, tuple[Job, ...]]]:
    """The others that are kept of test_basic_fcfs."""
    yield "basic_input.0", ((0, 1, 600, 600),)
    yield "basic_input.1", ((0, 50, 600, 600),)
    yield "basic_input.2", ((100, 50, 600, 700),)
    yield "basic_input.3", ((0, 50, 500, 500),)
    yield "basic_input.4", ((100, 50, 400, 500),)
    yield "basic_input.5", ((0, 50, 500, 500),) * 2
    yield "basic_input.6", ((0, 50, 500, 500), (0, 50, 600, 600))
    yield "basic_input.7", ((0, 50, 500, 500), (100, 50, 400, 500))
    yield "basic_input.8", ((0, 50, 500, 500), (100, 50, 500, 600))
    yield "basic_input.9", ((0, 50, 500, 500), (100, 50, 200, 300))
    yield "basic_input.10", ((0, 50, 500, 500), (1100, 50, 200, 1300))
    yield "basic_input.11", ((0, 50, 500, 500), (500, 50, 100, 600))
    yield from _of_more_jobs()


def _of_more_jobs() -> Iterator[tuple[str, tuple[Job, ...]]]:
    yield (
        "basic_input.12",
        tuple((at, 1, run, at + run) for at in (0, 1, 2, 5) for run in range(1, 6) for _ in "ab"),
    )
    yield (
        "basic_input.13",
        (
            (1000, 50, 100, 1100),
            (1000, 10, 500, 1500),
            (1000, 10, 400, 1400),
            (1000, 10, 200, 1200),
        ),
    )
    yield (
        "basic_input.14",
        (
            (0, 50, 600, 600),
            (0, 10, 200, 200),
            (0, 10, 400, 400),
            (0, 10, 100, 100),
            (1000, 10, 100, 1100),
        ),
    )
    yield (
        "basic_input.15",
        (
            (0, 50, 10, 10),
            (20, 1, 1, 21),
            (30, 5, 5, 35),
            (30, 6, 6, 36),
            (50, 10, 10, 60),
            (60, 10, 10, 70),
            (70, 5, 5, 75),
            *((100, 1, 1, 101),) * 4,
        ),
    )
    yield from _of_the_most_jobs()


def _of_the_most_jobs() -> Iterator[tuple[str, tuple[Job, ...]]]:
    yield (
        "basic_input.16",
        (
            (0, 1, 10, 10),
            *((20, 1, 1, 21),) * 2,
            (30, 1, 5, 35),
            (30, 1, 6, 36),
            (32, 1, 4, 36),
            (50, 1, 10, 60),
            (60, 1, 30, 90),
            (70, 1, 10, 80),
            (70, 1, 30, 100),
            (75, 1, 2, 77),
            (73, 1, 100, 173),
            (3000, 1, 100, 3100),
        ),
    )
    yield (
        "basic_input.22",
        (
            (0, 50, 600, 600),
            (0, 10, 500, 500),
            (0, 10, 400, 400),
            (0, 10, 300, 300),
            (0, 15, 1, 1),
            (0, 5, 2, 2),
        ),
    )
    yield (
        "basic_input.23",
        tuple(
            (at, 1, run, at + run)
            for at in (1, 2, 3, 4, 5, 6, 40)
            for run in (1, 2)
            for _ in range(4)
        ),
    )
    yield "basic_input.27", ((0, 1, 100, 100),) * 10
    yield "basic_input.28", ((10, 1, 120, 130),) * 10


#: pyss writes into the id of a job when it has to end on 100 processors; its tests demand that.
PYSS = tuple(
    Published(name=f"pyss {name}", source=_PYSS, processors=100, jobs=jobs)
    for source in (_fcfs, _where_some_wait, _where_nobody_waits)
    for name, jobs in source()
)
