"""Multi-node parallel jobs through the front door, up to MPI: real containers, each with a network
of its own, that find each other by what AWS Batch tells them and nothing else."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.compute.local.images.image_store import ImageStore
from tests.e2e.distribution import (
    FOLDERS,
    folder_volumes,
    make_distribution_image,
    make_ssh_files,
)
from tests.e2e.live_yard import LEDGER, MARK, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

#: A queue that has room for four nodes and no more.
SMALL_QUEUE, SMALL_VCPUS = "small", 4
MAIN_ADDRESS = "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"

#: A first process without it does not hear that it is to end.
HEED = "trap 'exit 143' TERM\n"
#: What other nodes do: say where they are, and end when they are told to.
OTHER = (
    HEED
    + 'echo "node $AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ATTEMPT $(hostname -i) $'
    + MAIN_ADDRESS
    + '"'
    " >> /ledger/runs\nwhile :; do sleep 0.05; done\n"
)
#: The main node goes on once that many nodes of this attempt are there.
GATHER = (
    'echo "main $AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ATTEMPT $(hostname -i) ${'
    + MAIN_ADDRESS
    + '-none}"'
    " >> /ledger/runs\n"
    "id=${AWS_BATCH_JOB_ID%#*}\n"
    'until [ "$(grep -c "^node $id#. $AWS_BATCH_JOB_ATTEMPT " /ledger/runs)" -ge '
    "$((AWS_BATCH_JOB_NUM_NODES - 1)) ]; do sleep 0.05; done\n"
)
HOLD = HEED + "while :; do sleep 0.05; done\n"
#: Heeds SIGTERM at once, as the shell waits for a child of its own.
HELPER = "trap exit TERM\nwhile :; do echo hello | nc -l -p 9 & wait $!; done\n"
UNTIL_GO = "until [ -e /ledger/$AWS_BATCH_JOB_NODE_INDEX-go ]; do sleep 0.05; done\n"

#: A node of the MPI job. The main one waits until the others have told it where they are, and gives
#: their list to mpirun, which starts a daemon on each through ssh.
NODE_PROGRAM = f"""
import os, signal, socket, subprocess, sys, time
own = socket.gethostbyname(socket.gethostname())
main = os.environ.get("{MAIN_ADDRESS}")
if main is None:
    server = socket.create_server((own, 7000))
    hosts = [own]
    for _ in range(int(os.environ["AWS_BATCH_JOB_NUM_NODES"]) - 1):
        hosts.append(server.accept()[0].makefile().readline().strip())
    with open("/tmp/hosts", "w") as file:
        file.writelines(f"{{host}} slots=2\\n" for host in hosts)
    os.execvp("mpirun", ["mpirun", "--allow-run-as-root", "--hostfile", "/tmp/hosts",
        "-np", str(2 * len(hosts)), "--map-by", "node", "--oversubscribe",
        "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "eth0",
        "--mca", "oob_tcp_if_include", "eth0", "--mca", "mpi_yield_when_idle", "1",
        "/usr/bin/python3", "/opt/ranks.py"])
os.makedirs("/etc/dropbear")
ssh = subprocess.Popen(["dropbear", "-F", "-E", "-R", "-s", "-p", "22"], stderr=subprocess.PIPE)
signal.signal(signal.SIGTERM, lambda *_: (ssh.terminate(), sys.exit(143)))
while b"Not backgrounding" not in ssh.stderr.readline():
    assert ssh.poll() is None
while True:  # The main node runs, but may not listen yet.
    try:
        with socket.create_connection((main, 7000)) as told:
            told.sendall(f"{{own}}\\n".encode())
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
for line in ssh.stderr:
    print("sshd", line.decode().strip(), flush=True)
"""

#: Every rank sends to every other one; each result is checked where it arrives.
RANKS_PROGRAM = """
import json, socket
from mpi4py import MPI
world = MPI.COMM_WORLD
rank, size = world.rank, world.size
own = socket.gethostbyname(socket.gethostname())
total = world.allreduce(rank + 1, op=MPI.SUM)
assert total == size * (size + 1) // 2, total
got = world.alltoall([f"{rank}>{other}" for other in range(size)])
assert got == [f"{other}>{rank}" for other in range(size)], got
block = bytes([rank]) * 200_000
before = world.sendrecv(block, dest=(rank + 1) % size, source=(rank - 1) % size)
assert before == bytes([(rank - 1) % size]) * 200_000
places = world.gather(own, root=0)
if rank == 0:
    print(json.dumps({"size": size, "total": total, "places": places}), flush=True)
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=32, more_host_paths=FOLDERS) as made:
        made.make_queue()
        made.make_other_queue(SMALL_QUEUE, max_vcpus=SMALL_VCPUS)
        yield made


@pytest.fixture(scope="module")
def slow_ones(yard: LiveYard) -> dict[str, str]:
    """Jobs that run into their timeout, a minute from now, while other tests run."""
    timeout = {"attemptDurationSeconds": 60}
    alone = yard.batch.submit_job(
        jobName="alone",
        jobQueue=QUEUE,
        jobDefinition="definition",
        containerOverrides={
            "command": ["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 1; done"]
        },
        retryStrategy={"attempts": 3},
        timeout=timeout,
    )["jobId"]
    nodes = submit(yard, GATHER + HOLD, OTHER, timeout=timeout, retryStrategy={"attempts": 3})
    return {"alone": alone, "nodes": nodes}


@pytest.fixture(autouse=True)
def begun(slow_ones: dict[str, str]) -> None:
    """Whatever test comes first, the minute begins with it."""


def register(yard: LiveYard, main: str, other: str, *, count: int = 3, **members: Any) -> str:
    """Register a definition with node 0 as its main node; give its ARN."""
    arn: str = yard.batch.register_job_definition(
        jobDefinitionName="nodes",
        type="multinode",
        nodeProperties={
            "numNodes": count,
            "mainNode": 0,
            "nodeRangeProperties": [
                {"targetNodes": "0:0", "container": container(yard, main)},
                {"targetNodes": "1:", "container": container(yard, other)},
            ],
        },
        **members,
    )["jobDefinitionArn"]
    return arn


def container(yard: LiveYard, script: str) -> dict[str, Any]:
    return {
        "image": "busybox",
        "command": ["sh", "-c", MARK + script],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "16"},
        ],
        "volumes": [{"name": "ledger", "host": {"sourcePath": str(yard.ledger_path)}}],
        "mountPoints": [{"sourceVolume": "ledger", "containerPath": LEDGER}],
    }


def submit(
    yard: LiveYard, main: str, other: str, *, count: int = 3, queue: str = QUEUE, **members: Any
) -> str:
    job_id: str = yard.batch.submit_job(
        jobName="nodes",
        jobQueue=queue,
        jobDefinition=register(yard, main, other, count=count),
        **members,
    )["jobId"]
    return job_id


def nodes_of(yard: LiveYard, job_id: str, count: int = 3) -> list[dict[str, Any]]:
    return yard.jobs(*(f"{job_id}#{index}" for index in range(count)))


def listed(yard: LiveYard, job_id: str, status: str) -> list[str]:
    answer = yard.batch.list_jobs(multiNodeJobId=job_id, jobStatus=status)
    return [each["jobId"] for each in answer["jobSummaryList"]]


def told(yard: LiveYard, job_id: str, attempt: int = 1) -> dict[str, tuple[str, str]]:
    """What the nodes of an attempt wrote: their own address and the main one's, by node."""
    return {
        words[1].removeprefix(job_id): (words[3], words[4] if len(words) > 4 else "")
        for words in yard.ledger()
        if words[0] in ("main", "node") and words[1].startswith(job_id) and words[2] == str(attempt)
    }


# -- MPI --------------------------------------------------------------------------------------


def require_mpi() -> None:
    """Skip where the test set-up could not install what the job runs."""
    for program in ("mpirun", "dropbear", "ssh", "ssh-keygen"):
        if shutil.which(program, path="/usr/bin:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")
    if subprocess.run(["/usr/bin/python3", "-c", "import mpi4py"], check=False).returncode:
        pytest.skip("mpi4py is not installed")


def test_mpi_over_three_nodes(yard: LiveYard) -> None:
    """Open MPI, started through ssh: six ranks on three nodes reduce, exchange and pass on."""
    require_mpi()
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, str | bytes] = {
            **make_ssh_files(Path(folder)),
            "opt/node.py": NODE_PROGRAM,
            "opt/ranks.py": RANKS_PROGRAM,
        }
        make_distribution_image(ImageStore(yard.data_path), "mpi", files)
    node = {
        "image": "mpi",
        "command": ["/usr/bin/python3", "/opt/node.py"],
        "resourceRequirements": [
            {"type": "VCPU", "value": "2"},
            {"type": "MEMORY", "value": "1024"},
        ],
        **folder_volumes(),
    }
    definition = yard.batch.register_job_definition(
        jobDefinitionName="mpi",
        type="multinode",
        nodeProperties={
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [{"targetNodes": "0:", "container": node}],
        },
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(
        jobName="mpi", jobQueue=QUEUE, jobDefinition=definition, nodeOverrides={"numNodes": 3}
    )["jobId"]
    [job] = yard.ended(job_id)
    lines = yard.lines(f"{job_id}#0")
    assert job["status"] == "SUCCEEDED", (job["statusReason"], lines, yard.lines(f"{job_id}#1"))
    found = json.loads(lines[-1])
    assert (found["size"], found["total"]) == (6, 21)
    addresses = [
        interface["privateIpv4Address"]
        for each in nodes_of(yard, job_id)
        for interface in each["container"]["networkInterfaces"]
    ]
    assert len(set(addresses)) == 3
    assert sorted(found["places"]) == sorted(addresses * 2)


# -- start ------------------------------------------------------------------------------------


def test_a_job_waits_until_all_of_its_nodes_fit(yard: LiveYard) -> None:
    holder = yard.batch.submit_job(
        jobName="holder",
        jobQueue=SMALL_QUEUE,
        jobDefinition="definition",
        containerOverrides={
            "command": ["sh", "-c", "until [ -e /ledger/free ]; do sleep 0.05; done"],
            "resourceRequirements": [{"type": "VCPU", "value": "2"}],
        },
    )["jobId"]
    yard.reach("RUNNING", holder)
    job_id = submit(yard, GATHER, OTHER, count=3, queue=SMALL_QUEUE)
    # What is submitted later and runs shows that the scheduler has looked at the job.
    behind = yard.submit()
    yard.reach("RUNNABLE", job_id)
    yard.ended(behind)
    assert yard.job(job_id)["status"] == "RUNNABLE"
    assert yard.batch.describe_jobs(jobs=[f"{job_id}#0"])["jobs"] == []
    assert not any(words[1].startswith(job_id) for words in yard.ledger())
    yard.release("free")
    assert yard.ended(job_id)[0]["status"] == "SUCCEEDED"
    assert len(told(yard, job_id)) == 3


def test_a_job_that_its_environment_can_never_hold_says_so(yard: LiveYard) -> None:
    job_id = submit(yard, GATHER, OTHER, count=SMALL_VCPUS + 1, queue=SMALL_QUEUE)
    until(lambda: "MISCONFIGURATION:" in yard.job(job_id).get("statusReason", ""), "a reason")
    assert yard.job(job_id)["status"] == "RUNNABLE"
    yard.batch.cancel_job(jobId=job_id, reason="too many")
    [job] = yard.ended(job_id)
    assert (job["statusReason"], job["attempts"]) == ("too many", [])


def test_nodes_start_after_the_main_one_and_know_where_it_is(yard: LiveYard) -> None:
    """And are shown as Metaflow, redun and TorchX want to see them."""
    show = "env | grep ^AWS_BATCH_JOB_ | grep -v ADDRESS | sort\n"
    job_id = submit(yard, show + GATHER + UNTIL_GO, show + OTHER)
    until(lambda: len(listed(yard, job_id, "RUNNING")) == 3, "three nodes")
    running = yard.job(job_id)
    assert running["status"] == "RUNNING"
    assert "container" not in running
    assert running["attempts"] == []
    yard.release("0-go")
    [job] = yard.ended(job_id)
    main, *others = nodes_of(yard, job_id)

    own = {f"#{node['nodeDetails']['nodeIndex']}": address_of(node) for node in (main, *others)}
    assert told(yard, job_id) == {
        "#0": (own["#0"], "none"),
        "#1": (own["#1"], own["#0"]),
        "#2": (own["#2"], own["#0"]),
    }
    assert all(node["createdAt"] >= main["startedAt"] for node in others)
    assert all(node["startedAt"] >= node["createdAt"] for node in others)
    starts = [words[1] for words in yard.ledger() if words[0] == "start"]
    assert next(each for each in starts if each.startswith(job_id)) == f"{job_id}#0"

    assert job["status"] == "SUCCEEDED"
    assert job["statusReason"] == "Essential container in task exited"
    assert (job["startedAt"], job["stoppedAt"]) == (main["startedAt"], main["stoppedAt"])
    assert "container" not in job
    assert "nodeDetails" not in job
    assert job["nodeProperties"]["numNodes"] == 3
    ranges = job["nodeProperties"]["nodeRangeProperties"]
    assert [each["targetNodes"] for each in ranges] == ["0:0", "1:"]
    assert all(each["container"]["image"] == "busybox" for each in ranges)
    [attempt] = job["attempts"]
    assert attempt["container"] == {
        "networkInterfaces": [],
        "exitCode": 0,
        "logStreamName": main["container"]["logStreamName"],
    }
    for index, node in enumerate((main, *others)):
        assert node["jobId"] == f"{job_id}#{index}"
        assert node["jobArn"].endswith(f":job/{job_id}#{index}")
        assert node["nodeDetails"] == {"nodeIndex": index, "isMainNode": index == 0}
        assert not {"nodeProperties", "retryStrategy"} & set(node)
        assert node["dependsOn"] == []
        assert yard.lines(node["jobId"]) == [
            "AWS_BATCH_JOB_ATTEMPT=1",
            f"AWS_BATCH_JOB_ID={job_id}#{index}",
            "AWS_BATCH_JOB_MAIN_NODE_INDEX=0",
            f"AWS_BATCH_JOB_NODE_INDEX={index}",
            "AWS_BATCH_JOB_NUM_NODES=3",
        ]
        assert "taskArn" in node["container"]
        # TorchX asks with ARNs.
        by_arn = yard.batch.describe_jobs(jobs=[f"{job['jobArn']}#{index}"])["jobs"]
        assert by_arn == [node]
    assert [each["status"] for each in others] == ["FAILED", "FAILED"]
    assert [each["container"]["exitCode"] for each in others] == [143, 143]


def address_of(node: dict[str, Any]) -> str:
    [interface] = node["container"]["networkInterfaces"]
    address: str = interface["privateIpv4Address"]
    return address


def test_what_is_listed_of_a_multi_node_job(yard: LiveYard) -> None:
    job_id = submit(yard, GATHER, OTHER)
    yard.ended(job_id)
    newest = yard.batch.list_jobs(
        jobQueue=QUEUE, filters=[{"name": "JOB_NAME", "values": ["nodes"]}]
    )["jobSummaryList"]
    assert job_id in [each["jobId"] for each in newest]
    assert not any("#" in each["jobId"] for each in newest)
    [shown] = [each for each in newest if each["jobId"] == job_id]
    assert shown["nodeProperties"] == {"numNodes": 3}
    good = yard.batch.list_jobs(multiNodeJobId=job_id, jobStatus="SUCCEEDED")["jobSummaryList"]
    assert [each["nodeProperties"] for each in good] == [{"nodeIndex": 0, "isMainNode": True}]
    pages = yard.batch.get_paginator("list_jobs").paginate(
        multiNodeJobId=job_id, jobStatus="FAILED", maxResults=1
    )
    found = [job for page in pages for job in page["jobSummaryList"]]
    assert [each["jobId"] for each in found] == [f"{job_id}#1", f"{job_id}#2"]


# -- end --------------------------------------------------------------------------------------


def test_a_failing_main_node_is_tried_again_with_all_others(yard: LiveYard) -> None:
    main = GATHER + 'test "$AWS_BATCH_JOB_ATTEMPT" = 2 || exit 3\n'
    job_id = submit(yard, main, OTHER, retryStrategy={"attempts": 3})
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    assert [each["container"]["exitCode"] for each in job["attempts"]] == [3, 0]
    nodes = nodes_of(yard, job_id)
    assert [len(each["attempts"]) for each in nodes] == [2, 2, 2]
    runs = {run: count for run, count in yard.runs().items() if run[0].startswith(job_id)}
    assert runs == {(f"{job_id}#{index}", number): 1 for index in range(3) for number in (1, 2)}
    streams = {each["container"]["logStreamName"] for each in job["attempts"]}
    assert len(streams) == 2
    first, second = told(yard, job_id), told(yard, job_id, attempt=2)
    assert set(first) == set(second) == {"#0", "#1", "#2"}
    assert second["#1"][1] == second["#0"][0]


def test_a_failing_main_node_fails_the_job(yard: LiveYard) -> None:
    job_id = submit(yard, GATHER + "exit 5", OTHER)
    after = yard.submit(after=[job_id])
    [job, never] = yard.ended(job_id, after)
    assert job["status"] == "FAILED"
    assert job["attempts"][-1]["container"]["exitCode"] == 5
    assert never["statusReason"] == "Dependent Job failed"


def test_no_other_node_starts_if_the_main_one_cannot(yard: LiveYard) -> None:
    definition = register(yard, "true", OTHER)
    broken = {"command": ["/no/such/program"]}
    job_id = yard.batch.submit_job(
        jobName="broken",
        jobQueue=QUEUE,
        jobDefinition=definition,
        nodeOverrides={
            "nodePropertyOverrides": [{"targetNodes": "0:0", "containerOverrides": broken}]
        },
        retryStrategy={"attempts": 2},
    )["jobId"]
    [job] = yard.ended(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    reasons = [attempt["container"]["reason"] for attempt in job["attempts"]]
    assert [each.partition(":")[0] for each in reasons] == ["CannotStartContainerError"] * 2
    found = yard.batch.describe_jobs(jobs=[f"{job_id}#{index}" for index in range(3)])["jobs"]
    assert all(not each["attempts"] for each in found[1:])
    assert not any(words[1].startswith(job_id) for words in yard.ledger())


def test_the_end_of_another_node_changes_nothing(yard: LiveYard) -> None:
    """One fails, one succeeds, both before the main one, which goes on and decides."""
    main = GATHER + "until [ -e /ledger/others-are-over ]; do sleep 0.05; done\n"
    other = OTHER.partition("while")[0] + "exit $(( AWS_BATCH_JOB_NODE_INDEX * 7 - 7 ))\n"
    job_id = submit(yard, main, other, retryStrategy={"attempts": 3})
    until(lambda: listed(yard, job_id, "FAILED") == [f"{job_id}#2"], "a failed node")
    until(lambda: listed(yard, job_id, "SUCCEEDED") == [f"{job_id}#1"], "a node that is done")
    assert yard.job(job_id)["status"] == "RUNNING"
    yard.release("others-are-over")
    [job] = yard.ended(job_id)
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1)
    codes = [each["container"]["exitCode"] for each in nodes_of(yard, job_id)]
    assert codes == [0, 0, 7]


def test_terminate_ends_all_nodes(yard: LiveYard) -> None:
    job_id = submit(yard, HEED + GATHER + HOLD, OTHER, retryStrategy={"attempts": 3})
    until(lambda: len(listed(yard, job_id, "RUNNING")) == 3, "three nodes")
    until(
        lambda: sum(words[1].startswith(job_id) for words in yard.ledger()) >= 3,
        "three nodes that heed signals",
    )
    # A single node cannot be stopped: asking for it is answered and has no effect.
    yard.batch.terminate_job(jobId=f"{job_id}#1", reason="one of them")
    yard.batch.cancel_job(jobId=job_id, reason="too late for that")
    yard.batch.terminate_job(jobId=job_id, reason="enough")
    [job] = yard.ended(job_id)
    assert (job["status"], job["statusReason"], job["isTerminated"]) == ("FAILED", "enough", True)
    assert len(job["attempts"]) == 1
    nodes = nodes_of(yard, job_id)
    assert [each["status"] for each in nodes] == ["FAILED"] * 3
    assert [each["statusReason"] for each in nodes] == ["enough"] * 3
    assert [each["container"]["exitCode"] for each in nodes] == [143] * 3


def test_a_killed_server_finds_its_nodes_again(yard: LiveYard) -> None:
    """It is killed while all nodes run; one and then the main one end while it is away."""
    other = OTHER.replace("while :;", "while [ ! -e /ledger/$AWS_BATCH_JOB_NODE_INDEX-gone ];")
    main = GATHER + "until [ -e /ledger/2-gone ]; do sleep 0.05; done\n"
    job_id = submit(yard, main, other, retryStrategy={"attempts": 3})
    until(lambda: len(listed(yard, job_id, "RUNNING")) == 3, "three nodes")
    before = {each["jobId"]: address_of(each) for each in nodes_of(yard, job_id)}
    yard.kill()
    yard.release("2-gone")
    yard.start()
    [job] = yard.ended(job_id)
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1)
    nodes = nodes_of(yard, job_id)
    assert {each["jobId"]: address_of(each) for each in nodes} == before
    assert [each["container"]["exitCode"] for each in nodes] == [0, 143, 0]
    runs = {run: count for run, count in yard.runs().items() if run[0].startswith(job_id)}
    assert runs == {(f"{job_id}#{index}", 1): 1 for index in range(3)}


def test_a_server_that_is_killed_again_and_again_starts_each_node_once(yard: LiveYard) -> None:
    jobs = [submit(yard, GATHER, OTHER, count=4) for _ in range(3)]
    for status in ("STARTING", "RUNNING"):
        until(
            lambda wanted=status: (
                yard.statuses(*jobs)[wanted]  # type: ignore[misc]
                or set(yard.statuses(*jobs)) <= {"SUCCEEDED"}
            ),
            "a moment",
        )
        yard.restart_after_kill()
    assert {each["status"] for each in yard.ended(*jobs)} == {"SUCCEEDED"}
    for job_id in jobs:
        runs = {run: count for run, count in yard.runs().items() if run[0].startswith(job_id)}
        assert runs == {(f"{job_id}#{index}", 1): 1 for index in range(4)}


def test_several_containers_on_each_node(yard: LiveYard) -> None:
    """`ecsProperties` of a node range: a helper beside the work, in the same network."""

    def task(script: str) -> dict[str, Any]:
        work = container(yard, script)
        volumes = work.pop("volumes")
        helper = work | {
            "name": "helper",
            "essential": False,
            "command": ["sh", "-c", HELPER],
        }
        return {
            "taskProperties": [
                {"volumes": volumes, "containers": [{**work, "name": "work"}, helper]}
            ]
        }

    ask = 'until [ "$(nc 127.0.0.1 9 </dev/null)" = hello ]; do sleep 0.05; done\n'
    definition = yard.batch.register_job_definition(
        jobDefinitionName="tasks-on-nodes",
        type="multinode",
        nodeProperties={
            "numNodes": 2,
            "mainNode": 1,
            "nodeRangeProperties": [
                {"targetNodes": "0", "ecsProperties": task(ask + OTHER)},
                {"targetNodes": "1", "ecsProperties": task(ask + GATHER)},
            ],
        },
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(jobName="both", jobQueue=QUEUE, jobDefinition=definition)[
        "jobId"
    ]
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    [task_attempt] = job["attempts"][0]["taskProperties"]
    work, _ = task_attempt["containers"]
    assert (work["name"], work["exitCode"]) == ("work", 0)
    other, main = nodes_of(yard, job_id, 2)
    assert main["nodeDetails"] == {"nodeIndex": 1, "isMainNode": True}
    [shown] = main["ecsProperties"]["taskProperties"]
    addresses = {
        interface["privateIpv4Address"]
        for each in shown["containers"]
        for interface in each["networkInterfaces"]
    }
    assert addresses == {told(yard, job_id)["#1"][0]}
    assert told(yard, job_id)["#0"][1] in addresses
    assert other["status"] == "FAILED"


def test_time_is_up_for_all_nodes(yard: LiveYard, slow_ones: dict[str, str]) -> None:
    alone, nodes = yard.ended(slow_ones["alone"], slow_ones["nodes"], timeout_s=100)
    reason = "Job attempt duration exceeded timeout"
    for job in (alone, nodes):
        assert (job["status"], job["statusReason"]) == ("FAILED", reason)
        [attempt] = job["attempts"]
        assert attempt["statusReason"] == reason
        assert attempt["stoppedAt"] - attempt["startedAt"] >= 60_000
    assert alone["container"]["exitCode"] == 9
    for node in nodes_of(yard, slow_ones["nodes"]):
        assert (node["status"], node["statusReason"]) == ("FAILED", reason)
        assert node["container"]["exitCode"] == 143
