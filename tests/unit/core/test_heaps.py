"""What the heaps keep of jobs that are gone: a server runs for months."""

from __future__ import annotations

from batchyard.core.deadlines import Deadlines
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.ids import TaskId
from tests.builders import job_id

MANY = 50_000
LITTLE = 5_000


def test_deadlines_of_ended_attempts_do_not_pile_up_behind_a_live_one():
    deadlines: Deadlines[TaskId] = Deadlines()
    live = TaskId("live")
    deadlines.add(1_000, live)
    for number in range(MANY):
        deadlines.add(1_000_000 + number, TaskId(f"ended {number}"))
        assert deadlines.next_ms(live.__eq__) == 1_000
    assert len(deadlines) < LITTLE
    assert list(deadlines.pop_due(1_000)) == [live]


def test_jobs_that_left_do_not_pile_up_behind_a_blocked_head():
    line = WaitingLine()
    line.join(job_id(0), 0, is_retry=False)
    for number in range(1, MANY):
        line.join(job_id(number), number, is_retry=False)
        if number > 2:
            line.leave(job_id(number))
    assert len(line._heap) + len(line._front) < LITTLE
    assert list(line) == [job_id(0), job_id(1), job_id(2)]
