"""Queues of equal priority take turns from round to round, however little there is to give."""

from __future__ import annotations

from batchyard.core import events as e
from tests.builders import a_host, a_job, a_queue, an_environment, job_id
from tests.unit.core.yard import Yard


def test_queues_of_equal_priority_take_turns_where_one_job_runs_at_a_time():
    queues = [a_queue("a", seq=1), a_queue("b", seq=2), a_queue("first", seq=3, priority=2)]
    yard = Yard(a_host(), an_environment(vcpus=1), *queues)
    yard.feed(*(a_job(number, queue="a") for number in (1, 2, 3)))
    yard.feed(*(a_job(number, queue="b") for number in (4, 5, 6)))
    order = []
    for _ in range(7):
        events, _ = yard.round()
        [placed] = [each.job_id for each in events if isinstance(each, e.AttemptPlaced)]
        order.append(placed)
        yard.feed(yard.started(placed), yard.ended(placed, 0))
        if len(order) == 1:
            yard.feed(a_job(7, queue="first"))
    assert order == [job_id(number) for number in (1, 7, 4, 2, 5, 3, 6)]
