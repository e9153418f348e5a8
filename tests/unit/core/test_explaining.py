"""States that callers cannot make, or only for a moment, and what is told of jobs in them."""

from __future__ import annotations

from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.explaining import explain
from batchyard.model.explanation import Cause, Reason
from batchyard.model.ids import node_id, task_id_of
from batchyard.model.records import NodeGroup, NodePlan
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    a_service_environment,
    a_service_job,
    an_amount,
    an_environment,
    environment_arn,
    job_id,
    queue_arn,
)
from tests.unit.core.yard import Yard


def told(yard: Yard, number: int = 1) -> tuple[Reason, ...]:
    found = explain(yard.state, job_id(number), yard.now_ms)
    assert found is not None
    return found.reasons


def texts(yard: Yard, number: int = 1) -> list[tuple[Cause, str]]:
    return [(each.cause, each.text) for each in told(yard, number)]


def test_an_environment_that_is_being_created() -> None:
    yard = Yard(a_host(), a_queue())
    yard.feed(a_job(1))
    yard.round()
    text = "Compute environment ce is not there: it is being created, or was deleted."
    assert texts(yard) == [(Cause.ENVIRONMENT, text)]


def test_an_environment_that_is_being_deleted_while_a_job_runs_there() -> None:
    yard = Yard(a_host(), a_launching_environment(), a_queue())
    yard.feed(a_job(1))
    yard.round()
    yard.round()
    yard.feed(i.DeleteEnvironment(arn=environment_arn()), a_job(2))
    yard.round()
    text = "Compute environment ce is being deleted."
    assert texts(yard, 2) == [(Cause.ENVIRONMENT, text)]
    assert told(yard, 1)[0].cause is Cause.STARTING


def test_a_queue_that_is_being_deleted_while_a_job_of_it_ends() -> None:
    yard = Yard()
    yard.feed(a_job(1))
    yard.round()
    yard.feed(i.DeleteQueue(arn=queue_arn()))
    text = "It has been told to stop: its job queue is being deleted."
    assert texts(yard) == [(Cause.STOPPING, text)]


def test_a_service_job_that_is_scheduled() -> None:
    queue = a_queue("training", service_environments=("se",))
    yard = Yard(a_host(), a_service_environment(), queue)
    yard.feed(a_service_job(1))
    yard.round()
    yard.now_ms += 1500
    text = "It has its place; it is about to be started. It was placed 2 seconds ago."
    assert texts(yard) == [(Cause.STARTING, text)]


def test_a_job_whose_secrets_are_slow_to_come() -> None:
    yard = Yard(a_host(), an_environment(), a_queue())
    yard.feed(a_job(1))
    yard.round()
    yard.feed(i.TaskFetching(task_id=task_id_of(job_id(1), 1), at_ms=yard.now_ms))
    yard.now_ms += 3000
    text = "It waits for its secrets, for 3 seconds now. It was placed 3 seconds ago."
    assert texts(yard) == [(Cause.STARTING, text)]


def test_what_the_main_node_waits_for_its_job_does() -> None:
    yard = Yard(a_host(), an_environment(), a_queue())
    plan = NodePlan(main_index=0, groups=(NodeGroup(count=2, demand=an_amount()),))
    yard.feed(a_job(1, nodes=plan, cpu_milli=2000, memory_mib=1024))
    yard.round()
    main_id = node_id(job_id(1), 0)
    pull = i.TaskFetching(task_id=task_id_of(main_id, 1), at_ms=yard.now_ms, image="tool:1")
    yard.feed(pull)
    yard.now_ms += 1000
    for each in (job_id(1), main_id):
        found = explain(yard.state, each, yard.now_ms)
        assert found is not None
        assert found.summary.startswith("Its image tool:1 is being pulled, for 1 second now.")
    yard.feed(yard.started(main_id))
    assert told(yard)[0].cause is Cause.RUNNING
    check(yard.state)


def test_an_image_is_pulled_until_the_job_runs() -> None:
    """What is told twice changes nothing, and nothing is told once it runs."""
    yard = Yard(a_host(), an_environment(), a_queue())
    yard.feed(a_job(1))
    yard.round()
    pull = i.TaskFetching(task_id=task_id_of(job_id(1), 1), at_ms=yard.now_ms, image="tool:1")
    assert len(yard.feed(pull)[0]) == 1
    assert yard.feed(pull) == ([], [])
    yard.now_ms += 1000
    assert texts(yard)[0][1].startswith("Its image tool:1 is being pulled, for 1 second now.")
    yard.feed(yard.started(1))
    assert told(yard)[0].cause is Cause.RUNNING
    assert yard.feed(pull) == ([], [])
    attempt = yard.progress[job_id(1)].attempt
    assert attempt is not None
    assert attempt.fetching is None
