"""What a server has kept of its jobs, as a trace, and its set-up as a configuration."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from batchyard.cli.simulate import simulate_command
from batchyard.compute.twin import Script
from batchyard.engine.catalogue import LaunchTimes
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.ids import HostId, JobId, TaskId, child_id
from batchyard.model.instance_wishes import Registration
from batchyard.model.node_plans import equal_nodes, whole_demand
from batchyard.model.records import WishKind
from batchyard.model.status import JobStatus, ResourceState
from batchyard.sim.history import read_history
from batchyard.sim.server_setup import server_config
from batchyard.sim.simulation import simulate
from batchyard.sim.trace import BadTrace, Run, Trace, TraceJob
from batchyard.store import instance_wishes, policies, quota_shares, service_environments
from tests.builders import SCOPE, environment_arn, job_id, policy_arn, queue_arn
from tests.engine.stage import Stage, a_new_job, insert_environment, insert_queue

DEMAND = Amount(cpu_milli=1000, memory_mib=128)


async def history(stage: Stage) -> Trace:
    return await stage.store.read(lambda conn: read_history(conn, stage.now_ms))


async def end(
    stage: Stage, number: int, exit_code: int, after_ms: int, *, attempt_number: int = 1
) -> None:
    """Let an attempt that runs end by itself."""
    while True:
        attempt = (await stage.job(number)).progress.attempt
        if attempt is not None and attempt.number == attempt_number and attempt.started_ms:
            break
        await asyncio.sleep(0)
    stage.now_ms += after_ms
    stage.machine.finish(attempt.task_id, exit_code=exit_code)


async def test_attempts_are_kept_with_their_times_and_exit_codes(stage: Stage) -> None:
    await stage.create()
    await stage.submit(1, attempts=3)
    await stage.submit(2, after=[1])
    async with stage.engine():
        await end(stage, 1, 7, 5_000)
        await end(stage, 1, 0, 3_000, attempt_number=2)
        await end(stage, 2, 0, 1_000)
        await stage.until(2, JobStatus.SUCCEEDED)

    trace = await history(stage)

    first = TraceJob(
        id=job_id(1),
        submitted_ms=0,
        run_ms=3_000,
        demand=DEMAND,
        earlier=(Run(run_ms=5_000, exit_code=7),),
        attempts_max=2,
        queue="jq",
    )
    second = replace(
        first, id=job_id(2), run_ms=1_000, earlier=(), attempts_max=1, depends_on=(job_id(1),)
    )
    assert trace == Trace(name="history", jobs=[first, second], began_ms=1_000_000)


async def test_who_never_ran_is_left_out_and_who_has_not_ended_is_guessed(stage: Stage) -> None:
    stage.machine.scripts["held"] = Script(duration_ms=None)
    await stage.create(vcpus=2)
    async with stage.engine():
        await stage.submit(1)
        await end(stage, 1, 0, 4_000)
        await stage.until(1, JobStatus.SUCCEEDED)
        await stage.submit(2, 3, image="held")
        await stage.until(2, JobStatus.RUNNING)
        await stage.until(3, JobStatus.RUNNING)
        await stage.submit(4, 5)
        await stage.until(5, JobStatus.RUNNABLE)
        await stage.wish(WishKind.CANCEL, 4, "no")
        await stage.until(4, JobStatus.FAILED)
        stage.now_ms += 9_000
        trace = await history(stage)

    assert [(job.id, job.run_ms) for job in trace.jobs] == [
        (job_id(1), 4_000),
        (job_id(2), 9_000),
        (job_id(3), 9_000),
        (job_id(5), 4_000),
    ]
    assert sorted(trace.notes) == [
        "jobs that ended without an attempt were left out: 1",
        "jobs that have not ended run as long as the median of their queue: 3",
    ]


async def test_every_child_of_an_array_runs_as_it_did(stage: Stage) -> None:
    await stage.create()
    await stage.store.append_job(replace(a_new_job(1), array_size=2))
    async with stage.engine() as engine:
        await stage.until(1, JobStatus.PENDING)
        tasks: dict[JobId | None, TaskId] = {}
        while len(tasks) < 2:
            await asyncio.sleep(0)
            tasks = {
                engine.find_task(each.task_id): each.task_id
                for each in engine.list_tasks(environment_arn())
                if each.task_id in stage.machine.tasks
                and all(part.is_running for part in stage.machine.tasks[each.task_id].containers)
            }
        stage.now_ms += 2_000
        stage.machine.finish(tasks[child_id(job_id(1), 0)], exit_code=0)
        stage.now_ms += 1_000
        stage.machine.finish(tasks[child_id(job_id(1), 1)], exit_code=3)
        await stage.until(1, JobStatus.FAILED)

    (job,) = (await history(stage)).jobs

    assert job.array_size == 2
    assert job.child_runs == (Run(run_ms=2_000), Run(run_ms=3_000, exit_code=3))


async def test_a_multi_node_job_keeps_its_nodes(stage: Stage) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create()
    plan = equal_nodes(3, DEMAND)
    assert plan is not None
    container = {"image": "image", "command": ["true"]}
    nodes = {
        "numNodes": 3,
        "mainNode": 0,
        "nodeRangeProperties": [{"targetNodes": "0:2", "container": container}],
    }
    job = replace(
        a_new_job(1),
        nodes=plan,
        demand=whole_demand(DEMAND, plan),
        spec=json.dumps({"nodeProperties": nodes}).encode(),
    )
    await stage.store.append_job(job)
    async with stage.engine():
        await stage.until(1, JobStatus.SUCCEEDED)

    trace = await history(stage)
    (found,) = trace.jobs
    config = await stage.store.read(lambda conn: server_config(conn, LaunchTimes(), trace))
    report = simulate(trace, config)

    assert (found.nodes, found.demand.cpu_milli, trace.notes) == (plan, 3000, ())
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 1}
    assert report.attempt_count == 1


async def test_service_jobs_keep_their_instances_and_shares(stage: Stage) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    arn = SCOPE.service_environment_arn("lab")

    def set_up(conn) -> None:
        service_environments.insert_service_environment(
            conn,
            arn=arn,
            scope=SCOPE,
            name="lab",
            state=ResourceState.ENABLED,
            detail={
                "serviceEnvironmentType": "SAGEMAKER_TRAINING",
                "capacityLimits": [{"capacityUnit": "ml.m5.large", "maxCapacity": 1}],
            },
            tags={},
        )
        insert_queue(conn, {"jobQueueType": "SAGEMAKER_TRAINING"}, environment=arn)
        stage.store.note_wish()

    await stage.store.write(set_up)
    payload = json.dumps(
        {
            "AlgorithmSpecification": {"TrainingImage": "image"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        }
    )
    use = (UnitQuantity(unit="ml.m5.large", quantity=1),)
    for number in (1, 2):
        await stage.store.append_job(
            replace(
                a_new_job(number),
                capacity_use=use,
                preemption_retries_max=3,
                spec=json.dumps({"serviceRequestPayload": payload}).encode(),
            )
        )
    async with stage.engine():
        for number in (1, 2):
            await stage.until(number, JobStatus.SUCCEEDED, JobStatus.FAILED)

    trace = await history(stage)
    config = await stage.store.read(lambda conn: server_config(conn, LaunchTimes(), trace))
    longer = Trace(
        name="", jobs=[replace(job, run_ms=10_000, exit_code=0, reason=None) for job in trace.jobs]
    )
    report = simulate(longer, config)

    assert [(job.capacity_use, job.preemption_retries_max) for job in trace.jobs] == [(use, 3)] * 2
    assert (trace.notes, config.notes) == ((), ())
    # One instance for both: the second waits for the first.
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 2}
    assert report.wait_ms.max == 10_000
    assert [line.instance_type for line in report.cost] == ["ml.m5.large"]


async def test_the_server_is_a_configuration_to_compare_with(stage: Stage, tmp_path) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create(vcpus=2, policy={"shareDecaySeconds": 60})
    await stage.submit(1, 2, 3, share="team")
    async with stage.engine():
        for number in (1, 2, 3):
            await stage.until(number, JobStatus.SUCCEEDED)

    trace = await history(stage)
    config = await stage.store.read(lambda conn: server_config(conn, LaunchTimes(), trace))
    run = simulate(trace, config)
    shown = CliRunner().invoke(
        simulate_command, ["--history", "--db", f"sqlite:///{tmp_path / 'store.db'}", "--json"]
    )

    assert [host.host_id for host in config.hosts] == [HostId("twin")]
    assert run.job_count_by_status["SUCCEEDED"] == 3
    assert [share.share_identifier for share in run.fairness.shares] == ["team"]
    assert shown.exit_code == 0, shown.output
    (seen,) = json.loads(shown.output)["runs"]
    assert (seen["config"], seen["job_count"]) == ("the server", 3)


async def test_quota_shares_are_served_as_they_are_now(stage: Stage) -> None:
    """Two shares of one vCPU on two: the one that does not borrow takes turns with itself."""
    stage.machine.scripts["image"] = Script(duration_ms=0)
    await stage.create(vcpus=2)

    def set_up(conn) -> None:
        policies.insert_policy(
            conn,
            arn=policy_arn(),
            scope=SCOPE,
            name="policy",
            detail={"quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}},
            tags={},
        )
        insert_queue(conn, {"schedulingPolicyArn": policy_arn()}, name="shared")
        for name in ("one", "two"):
            quota_shares.insert_quota_share(
                conn,
                arn=SCOPE.quota_share_arn("shared", name),
                queue_arn=queue_arn("shared"),
                name=name,
                state=ResourceState.ENABLED,
                detail={
                    "capacityLimits": [{"capacityUnit": "VCPU", "maxCapacity": 1}],
                    "resourceSharingConfiguration": {"strategy": "RESERVE"},
                    "preemptionConfiguration": {"inSharePreemption": "DISABLED"},
                },
                tags={},
            )
        stage.store.note_wish()

    await stage.store.write(set_up)
    for number, share in enumerate(("one", "one", "two"), start=1):
        job = replace(a_new_job(number, share=share), queue_arn=queue_arn("shared"))
        await stage.store.append_job(job)
    async with stage.engine():
        for number in (1, 2, 3):
            await stage.until(number, JobStatus.SUCCEEDED)

    trace = await history(stage)
    config = await stage.store.read(lambda conn: server_config(conn, LaunchTimes(), trace))
    longer = Trace(name="", jobs=[replace(job, run_ms=10_000) for job in trace.jobs])
    run = simulate(longer, config)

    assert [job.share_identifier for job in trace.jobs] == ["one", "one", "two"]
    assert run.job_count_by_status["SUCCEEDED"] == 3
    assert run.wait_ms.max == 10_000
    assert {each.share_identifier: each.wait_ms.max for each in run.fairness.shares} == {
        "one": 10_000,
        "two": 0,
    }


async def test_what_is_registered_is_there_from_the_beginning(stage: Stage) -> None:
    stage.machine.scripts["image"] = Script(duration_ms=0)
    asked = Registration(
        environment_arn=environment_arn("ce"),
        instance_type="custom",
        capacity=Amount(cpu_milli=2000, memory_mib=1024),
        count=2,
    )

    def set_up(conn) -> None:
        insert_environment(conn, {"type": "UNMANAGED"})
        insert_queue(conn, {})
        stage.store.note_wish()

    def register(conn) -> None:
        instance_wishes.add_instance_wish(conn, asked, at_ms=stage.now_ms)
        stage.store.note_wish()

    await stage.store.write(set_up)
    async with stage.engine():
        await stage.submit(1, 2)
        await stage.until(1, JobStatus.RUNNABLE)
        await stage.store.write(register)
        for number in (1, 2):
            await stage.until(number, JobStatus.SUCCEEDED)

    trace = await history(stage)
    config = await stage.store.read(lambda conn: server_config(conn, LaunchTimes(), trace))
    run = simulate(trace, config)

    assert [each.capacity.cpu_milli for each in config.registrations] == [2000, 2000]
    assert config.notes == ("instances that are registered now are there from the beginning: 2",)
    assert run.job_count_by_status["SUCCEEDED"] == 2
    assert run.wait_ms.max == 0


async def test_jobs_of_a_queue_that_is_gone_go_to_the_first_and_that_is_said(
    stage: Stage,
) -> None:
    await stage.create()
    job = TraceJob(id="a", submitted_ms=0, run_ms=1, demand=DEMAND, queue="gone")
    trace = Trace(name="", jobs=[job])
    config = await stage.store.read(lambda conn: server_config(conn, LaunchTimes(), trace))
    assert config.notes == ("jobs of queues that are not there any more go to jq: 1",)


async def test_a_store_without_jobs_or_queues_is_refused(stage: Stage) -> None:
    with pytest.raises(BadTrace, match=r"^the store has no jobs$"):
        await history(stage)
    with pytest.raises(BadTrace, match=r"^the store has no queue that a simulation could use$"):
        await stage.store.read(
            lambda conn: server_config(conn, LaunchTimes(), Trace(name="", jobs=[]))
        )
