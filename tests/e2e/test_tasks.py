"""Tasks of several containers (`ecsProperties`) through the front door: who waits for whom, who
decides how the job ends, what they share, and what DescribeJobs tells of each. Real containers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_yard import LEDGER, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

EXITED = "Essential container in task exited"
NOT_STARTED = "Task failed to start"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
#: The first line of every container: who starts here, in which attempt.
STARTS = 'echo "start $AWS_BATCH_JOB_ID/$NAME $AWS_BATCH_JOB_ATTEMPT" >> /ledger/runs\n'
#: Runs until it is told to end, and says how it was.
HOLD = "trap 'echo told; exit 143' TERM\nwhile :; do sleep 0.05; done\n"
#: In a shell below: the first process of a container does not die of its own signal.
KILLED = "sh -c 'kill -9 $$'; exit $?"
#: What a container does that has to wait for the test.
UNTIL = "until [ -e /ledger/{} ]; do sleep 0.05; done\n"


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=64) as made:
        made.make_queue()
        yield made


def container(name: str, script: str, **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "busybox",
        "command": ["sh", "-c", STARTS + script],
        "environment": [{"name": "NAME", "value": name}],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "16"},
        ],
        "mountPoints": [{"sourceVolume": "ledger", "containerPath": LEDGER}],
        **members,
    }


def aside(name: str, script: str, **members: Any) -> dict[str, Any]:
    """A container whose end matters to nobody but those that wait for it."""
    return container(name, script, essential=False, **members)


def after(**condition_by_name: str) -> list[dict[str, str]]:
    return [
        {"containerName": name, "condition": condition}
        for name, condition in condition_by_name.items()
    ]


def register(yard: LiveYard, *containers: dict[str, Any], **task: Any) -> str:
    ledger = {"name": "ledger", "host": {"sourcePath": str(yard.ledger_path)}}
    volumes = [ledger, *task.pop("volumes", [])]
    arn: str = yard.batch.register_job_definition(
        jobDefinitionName="task",
        type="container",
        ecsProperties={
            "taskProperties": [{"containers": list(containers), "volumes": volumes, **task}]
        },
    )["jobDefinitionArn"]
    return arn


def start(yard: LiveYard, *containers: dict[str, Any], **members: Any) -> str:
    task = {
        name: members.pop(name) for name in ("volumes", "pidMode", "ipcMode") if name in members
    }
    job_id: str = yard.batch.submit_job(
        jobName="task",
        jobQueue=QUEUE,
        jobDefinition=register(yard, *containers, **task),
        **members,
    )["jobId"]
    return job_id


def run(yard: LiveYard, *containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    [job] = yard.ended(start(yard, *containers, **members))
    return job


def shown(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The containers of the latest attempt, by name, as the job itself shows them."""
    [task] = job["ecsProperties"]["taskProperties"]
    return {each["name"]: each for each in task["containers"]}


def results(job: dict[str, Any]) -> dict[str, tuple[int | None, str | None]]:
    """Exit code and reason of each container; the same in the job and in its last attempt."""
    [task] = job["attempts"][-1]["taskProperties"]
    of_attempt = {
        each["name"]: (each.get("exitCode"), each.get("reason")) for each in task["containers"]
    }
    of_job = {name: (each.get("exitCode"), each.get("reason")) for name, each in shown(job).items()}
    assert of_attempt == of_job
    assert job["statusReason"] == job["attempts"][-1]["statusReason"]
    assert "container" not in job
    return of_job


def printed(yard: LiveYard, job: dict[str, Any], name: str) -> list[str]:
    return yard.lines_of(shown(job)[name]["logStreamName"])


def order(yard: LiveYard, job: dict[str, Any]) -> list[str]:
    """The containers of a job in the order in which they started."""
    return [
        words[1].removeprefix(f"{job['jobId']}/")
        for words in yard.ledger()
        if words[0] == "start" and words[1].startswith(job["jobId"])
    ]


# -- order ------------------------------------------------------------------------------------


def test_containers_start_when_their_conditions_hold(yard: LiveYard) -> None:
    """A chain with every condition; the third fails, which is an end, too."""
    job = run(
        yard,
        container("main", "echo done", dependsOn=after(server="START", check="COMPLETE")),
        container("server", HOLD, dependsOn=after(init="SUCCESS"), stopTimeout=20),
        aside("check", "exit 7", dependsOn=after(server="START")),
        aside("init", "exit 0"),
    )
    assert job["status"] == "SUCCEEDED"
    assert order(yard, job) == ["init", "server", "check", "main"]
    found = results(job)
    assert found == {
        "main": (0, None),
        "server": (143, None),
        "check": (7, None),
        "init": (0, None),
    }
    assert printed(yard, job, "server") == ["told"]


def test_the_job_runs_once_all_essential_containers_do(yard: LiveYard) -> None:
    job_id = start(
        yard,
        container("main", UNTIL.format("main-over"), dependsOn=after(init="SUCCESS")),
        aside("init", UNTIL.format("init-over")),
    )
    until(lambda: order(yard, {"jobId": job_id}) == ["init"], "the start of the first")
    assert yard.job(job_id)["status"] == "STARTING"
    yard.release("init-over")
    yard.reach("RUNNING", job_id)
    running = yard.job(job_id)
    assert running["attempts"] == []
    assert {"logStreamName", "networkInterfaces"} <= set(shown(running)["main"])
    assert "exitCode" not in shown(running)["main"]
    yard.release("main-over")
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"


def test_a_condition_that_can_never_hold_fails_the_job(yard: LiveYard) -> None:
    job = run(
        yard,
        container("main", "echo never", dependsOn=after(init="SUCCESS")),
        aside("init", "exit 4"),
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", NOT_STARTED)
    code, reason = results(job)["main"]
    assert code is None
    assert reason is not None
    assert reason.startswith("CannotStartContainerError: dependency graph: ")
    assert results(job)["init"] == (4, None)
    assert order(yard, job) == ["init"]
    assert "startedAt" in job["attempts"][0]


def test_waiting_has_its_time_and_so_has_stopping(yard: LiveYard) -> None:
    """`startTimeout` ends the wait for a container that will not end, `stopTimeout` ends that."""
    job = run(
        yard,
        container("main", "echo never", dependsOn=after(stubborn="SUCCESS"), startTimeout=2),
        aside("stubborn", "trap '' TERM\nwhile :; do sleep 1; done", stopTimeout=2),
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", NOT_STARTED)
    found = results(job)
    assert found["stubborn"] == (137, None)
    assert "has timed out" in (found["main"][1] or "")


# -- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scripts", "status", "codes"),
    [
        pytest.param(["exit 0", HOLD], "SUCCEEDED", [0, 143], id="the first ends well"),
        pytest.param(["exit 3", HOLD], "FAILED", [3, 143], id="the first fails"),
        pytest.param([HOLD, "exit 3"], "FAILED", [143, 3], id="the second fails"),
        pytest.param([KILLED, HOLD], "FAILED", [137, 143], id="the first dies of a signal"),
    ],
)
def test_the_first_essential_container_that_ends_decides(
    yard: LiveYard, scripts: list[str], status: str, codes: list[int]
) -> None:
    first, second = scripts
    # Each waits for the other, so that both run whichever is first to end.
    gate = "touch /meet/$NAME; until [ -e /meet/one ] && [ -e /meet/two ]; do sleep 0.02; done\n"
    meet = [
        {"sourceVolume": "ledger", "containerPath": LEDGER},
        {"sourceVolume": "meet", "containerPath": "/meet"},
    ]
    job = run(
        yard,
        container("one", trapped(gate, first), mountPoints=meet),
        container("two", trapped(gate, second), mountPoints=meet),
        volumes=[{"name": "meet", "host": {}}],
    )
    assert (job["status"], job["statusReason"]) == (status, EXITED)
    assert [code for code, _ in results(job).values()] == codes


def trapped(gate: str, script: str) -> str:
    """Set the trap, if the script has one, before others know that the container runs."""
    if not script.startswith("trap"):
        return gate + script
    trap, _, rest = script.partition("\n")
    return f"{trap}\n{gate}{rest}"


def test_exit_codes_of_others_do_not_count(yard: LiveYard) -> None:
    job = run(
        yard,
        container("main", "exit 0", dependsOn=after(broken="COMPLETE", missing="COMPLETE")),
        aside("broken", "exit 9"),
        aside("missing", "exit 127"),
    )
    assert job["status"] == "SUCCEEDED"
    assert [code for code, _ in results(job).values()] == [0, 9, 127]


def test_a_container_that_cannot_start_counts_only_if_it_is_essential(yard: LiveYard) -> None:
    missing = {"command": ["/no/such/program"]}
    job = run(yard, container("main", "exit 0"), aside("spare", "", **missing))
    assert (job["status"], results(job)["main"]) == ("SUCCEEDED", (0, None))
    job = run(
        yard,
        container("main", HOLD),
        container("needed", "", dependsOn=after(main="START"), **missing),
    )
    assert job["status"] == "FAILED"
    code, reason = results(job)["needed"]
    assert code is None
    assert reason is not None
    assert reason.startswith("CannotStartContainerError: ")


@pytest.mark.parametrize("is_essential", [True, False])
def test_nothing_starts_if_one_image_cannot_be_had(yard: LiveYard, is_essential: bool) -> None:
    job = run(
        yard,
        container("main", "echo never"),
        container("absent", "", image="127.0.0.1:1/none:1", essential=is_essential),
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", NOT_STARTED)
    found = results(job)
    assert found["main"] == (None, None)
    assert (found["absent"][1] or "").startswith("CannotPullContainerError: ")
    assert order(yard, job) == []


@pytest.mark.parametrize(("is_essential", "status"), [(True, "FAILED"), (False, "SUCCEEDED")])
def test_memory_of_one_container_runs_out(yard: LiveYard, is_essential: bool, status: str) -> None:
    """Its own limit: the other one has more, and goes on if it may."""
    eat = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    large = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "160"}]
    job = run(
        yard,
        container("eater", eat, essential=is_essential),
        container(
            "main",
            trapped(f"{eat}\necho fed\n", HOLD if is_essential else ""),
            resourceRequirements=large,
        )
        | ({} if is_essential else {"dependsOn": after(eater="COMPLETE")}),
    )
    assert job["status"] == status
    found = results(job)
    assert found["eater"] == (137, OUT_OF_MEMORY)
    assert found["main"][1] is None
    if not is_essential:
        assert "fed" in printed(yard, job, "main")


def test_terminate_stops_every_container(yard: LiveYard) -> None:
    job_id = start(
        yard,
        container("main", HOLD, dependsOn=after(server="START")),
        container("server", HOLD),
        aside("late", "echo never", dependsOn=after(slow="COMPLETE")),
        aside("slow", HOLD),
        retryStrategy={"attempts": 3},
    )
    until(lambda: set(order(yard, {"jobId": job_id})) == {"main", "server", "slow"}, "three")
    yard.batch.terminate_job(jobId=job_id, reason="enough")
    [job] = yard.ended(job_id)
    assert (job["status"], job["statusReason"], job["isTerminated"]) == ("FAILED", "enough", True)
    assert len(job["attempts"]) == 1
    found = results(job)
    assert found["late"] == (None, None)
    assert {code for name, (code, _) in found.items() if name != "late"} <= {143, 137}


# -- what they share, and what is each one's own ---------------------------------------------


def test_containers_share_the_volumes_that_they_mount(yard: LiveYard) -> None:
    def mounts(path: str, **more: Any) -> list[dict[str, Any]]:
        return [
            {"sourceVolume": "ledger", "containerPath": LEDGER},
            {"sourceVolume": "scratch", "containerPath": path, **more},
        ]

    job = run(
        yard,
        container(
            "reader",
            "cat /in/f; echo x > /in/f || echo refused; ls /scratch 2>/dev/null\ntrue",
            mountPoints=mounts("/in", readOnly=True),
            dependsOn=after(writer="SUCCESS"),
        ),
        aside("writer", "echo hello > /out/f", mountPoints=mounts("/out")),
        volumes=[{"name": "scratch", "host": {}}],
    )
    assert job["status"] == "SUCCEEDED"
    assert [line for line in printed(yard, job, "reader") if "sh:" not in line] == [
        "hello",
        "refused",
    ]


def test_processes_and_memory_are_shared_if_the_task_says_so(yard: LiveYard) -> None:
    look = "ps | grep -q '[s]leep 1234' && echo seen || echo unseen\ncat /dev/shm/f || echo none\n"
    side = aside(
        "side", "echo memory > /dev/shm/f\ntrap 'exit 0' TERM\nsleep 1234 & touch /v/up; wait $!\n"
    )
    main = container("main", "until [ -e /v/up ]; do sleep 0.02; done\n" + look)
    for each in (main, side):
        each["mountPoints"].append({"sourceVolume": "v", "containerPath": "/v"})
    volumes = [{"name": "v", "host": {}}]
    apart = run(yard, main, side, volumes=volumes)
    shared = run(yard, main, side, volumes=volumes, pidMode="task", ipcMode="task")
    assert [each["status"] for each in (apart, shared)] == ["SUCCEEDED"] * 2
    assert [line for line in printed(yard, apart, "main") if "can't open" not in line] == [
        "unseen",
        "none",
    ]
    assert printed(yard, shared, "main") == ["seen", "memory"]


@pytest.mark.parametrize("member", ["pidMode", "ipcMode"])
def test_sharing_with_the_machine_needs_the_operators_word(yard: LiveYard, member: str) -> None:
    job = run(yard, container("main", "echo never"), aside("other", ""), **{member: "host"})
    assert (job["status"], job["statusReason"]) == ("FAILED", NOT_STARTED)
    assert results(job)["main"] == (
        None,
        "CannotCreateContainerError: sharing the host's processes or IPC objects is not allowed on"
        " this host",
    )


def test_each_container_has_its_own_log_command_and_variables(yard: LiveYard) -> None:
    """And what a submission changes in one of them does not touch the other."""
    show = "echo $NAME $COLOUR $AWS_BATCH_JOB_ID; grep -c . /proc/self/cgroup >/dev/null"
    definition = register(yard, container("one", show), aside("two", show))
    job_id = yard.batch.submit_job(
        jobName="overridden",
        jobQueue=QUEUE,
        jobDefinition=definition,
        ecsPropertiesOverride={
            "taskProperties": [
                {
                    "containers": [
                        {
                            "name": "two",
                            "environment": [{"name": "COLOUR", "value": "blue"}],
                            "resourceRequirements": [{"type": "MEMORY", "value": "32"}],
                        },
                        {
                            "name": "one",
                            "command": [
                                "sh",
                                "-c",
                                "until [ -e /ledger/go-one ]; do sleep 0.05; done; echo replaced",
                            ],
                        },
                    ]
                }
            ]
        },
    )["jobId"]
    until(lambda: order(yard, {"jobId": job_id}) == ["two"], "the second container")
    yard.release("go-one")
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    streams = {name: each["logStreamName"] for name, each in shown(job).items()}
    task_id = job["ecsProperties"]["taskProperties"][0]["taskArn"].rpartition("/")[2]
    assert streams == {name: f"task/{name}/{task_id}" for name in ("one", "two")}
    assert printed(yard, job, "one") == ["replaced"]
    assert printed(yard, job, "two") == [f"two blue {job_id}"]
    assert {"type": "MEMORY", "value": "32"} in shown(job)["two"]["resourceRequirements"]
    assert {"type": "MEMORY", "value": "16"} in shown(job)["one"]["resourceRequirements"]


# -- again ------------------------------------------------------------------------------------


def test_rules_of_retry_look_at_the_container_that_decided(yard: LiveYard) -> None:
    rules = [
        {"onExitCode": "5", "action": "RETRY"},
        {"onReason": "OutOfMemoryError*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    script = (
        "case $AWS_BATCH_JOB_ATTEMPT in 1) exit 5;; "
        "2) dd if=/dev/zero of=/dev/null bs=100M count=1;; esac\nexit 6\n"
    )
    job = run(
        yard,
        container("main", script, dependsOn=after(init="COMPLETE")),
        aside("init", "exit 0"),
        retryStrategy={"attempts": 5, "evaluateOnExit": rules},
    )
    tasks = [attempt["taskProperties"][0] for attempt in job["attempts"]]
    codes = [task["containers"][0]["exitCode"] for task in tasks]
    assert codes[0::2] == [5, 6]
    assert (job["status"], len(codes)) == ("FAILED", 3)
    assert tasks[1]["containers"][0]["reason"] == OUT_OF_MEMORY
    assert all(task["containers"][1]["exitCode"] == 0 for task in tasks)
    assert len({task["taskArn"] for task in tasks}) == 3
    assert order(yard, job) == ["init", "main"] * 3


def test_a_killed_server_finds_its_tasks_midway(yard: LiveYard) -> None:
    """One is killed while the first container runs: the gate opens while no server is there. The
    other ends altogether meanwhile."""
    midway = start(
        yard,
        container("main", UNTIL.format("main-may-end"), dependsOn=after(init="SUCCESS")),
        aside("init", UNTIL.format("init-may-end")),
    )
    over = start(
        yard,
        container("main", UNTIL.format("init-may-end") + "exit 3", dependsOn=after(init="SUCCESS")),
        aside("init", "echo first"),
    )
    until(lambda: order(yard, {"jobId": midway}) == ["init"], "the first container")
    until(lambda: order(yard, {"jobId": over}) == ["init", "main"], "both containers")
    yard.kill()
    yard.release("init-may-end")
    until(lambda: order(yard, {"jobId": midway}) == ["init", "main"], "a start without a server")
    yard.start()
    yard.reach("RUNNING", midway)
    yard.release("main-may-end")
    first, second = yard.ended(midway, over)
    assert (first["status"], results(first)) == (
        "SUCCEEDED",
        {"main": (0, None), "init": (0, None)},
    )
    assert (second["status"], results(second)) == (
        "FAILED",
        {"main": (3, None), "init": (0, None)},
    )
    assert printed(yard, second, "init") == ["first"]
    for job in (first, second):
        assert order(yard, job) == ["init", "main"]
