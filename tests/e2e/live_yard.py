"""A real server in a folder of its own, with real containers: started, killed, started again.

Every container of it can write to `/ledger`, which is the folder `ledger` here: what a container
did is known even where no server was up to see it. `close` demands that nothing is left behind.
"""

import json
import os
import random
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.session
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from batchyard.compute.local.images.busybox import make_busybox_image
from batchyard.compute.local.images.image_store import ImageStore
from batchyard.compute.local.supervisor.kernel import mount, unmount
from batchyard.compute.local.supervisor.namespace import base_name_of
from batchyard.wire.models import OWN_MODELS

BATCHYARD = (sys.executable, "-m", "batchyard.cli.main")
REGION = "us-east-1"
QUEUE = "queue"
DEFINITION = "definition"
LEDGER = "/ledger"

#: The first line of every script: which attempt runs here.
MARK = 'echo "start $AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ATTEMPT" >> /ledger/runs\n'

_START_S_MAX = 30.0
_WAIT_S_MAX = 60.0
_POLL_S = 0.05
_IDS_PER_CALL = 100

#: Says that a test may go on; with a limit, because a test that hangs tells nothing.
Condition = Callable[[], object]


def require_containers() -> None:
    """Skip where containers cannot be run."""
    if os.geteuid() != 0:
        pytest.skip("starting containers needs root")
    for command in ("crun", "busybox"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")


def a_seed() -> int:
    """Draw the seed of a test's moments, and print it; CRASH_SEED sets it again."""
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))
    sys.stderr.write(f"CRASH_SEED={seed}\n")
    return seed


def until(holds: Condition, what: str = "the condition", *, timeout_s: float = _WAIT_S_MAX) -> Any:
    """Wait until `holds` returns something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout_s:g} s"
        time.sleep(_POLL_S)
    return found


class LiveYard:
    """A server process and what surrounds it. Not started yet."""

    def __init__(
        self,
        folder: Path,
        *,
        ledger_path: Path | None = None,
        more_host_paths: Sequence[str] = (),
        **settings: object,
    ) -> None:
        self.folder = folder
        self.data_path = folder / "data"
        #: Two yards of one database share a ledger, because they share definitions.
        self.ledger_path = ledger_path or folder / "ledger"
        self.log_path = folder / "server.log"
        self.data_path.mkdir(exist_ok=True)
        self.ledger_path.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._settings = {
            "data_dir": self.data_path,
            "port": self.port,
            "host_paths": ",".join([str(self.ledger_path), *more_host_paths]),
            # Of its own, as the port is: two servers of one machine cannot share addresses.
            "node_network": f"10.{128 + (self.port >> 8) % 64}.{self.port % 256}.0/24",
            "runtime": "crun",
            # Instances have more memory than test machines: containers are held to their own.
            "machine_memory_mib": 131_072,
            "memory_overcommit": 100_000,
            **({"cpu_overcommit": 100_000} if "machine_vcpus" in settings else {}),
            **settings,
        }
        #: What the server's environment has besides its settings.
        self.more_environ: dict[str, str] = {}
        self._has_queue = False
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        self._queues: list[str] = []

    # -- the process --------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        clean = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("AWS_", "BATCHYARD_"))
        }
        ours = {f"BATCHYARD_{name.upper()}": str(each) for name, each in self._settings.items()}
        return clean | self.more_environ | ours

    def start(self, *, is_ready_awaited: bool = True) -> None:
        """Start the server, and wait until it answers."""
        assert self.process is None
        ready, told = os.pipe()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*BATCHYARD, "up", "--ready-fd", str(told)],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[told],
                start_new_session=True,
            )
        os.close(told)
        try:
            if is_ready_awaited:
                assert select.select([ready], [], [], _START_S_MAX)[0], self.log()
                assert os.read(ready, 16) == b"ready", self.log()
        finally:
            os.close(ready)

    def kill(self) -> None:
        """End the server as no program can prevent."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End the server as an operator would."""
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(timeout=30) == 0, self.log()
            self.process = None

    def restart_after_kill(self) -> None:
        self.kill()
        self.start()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def close(self) -> None:
        """End the jobs that live, then the server; nothing of it may be left."""
        if self.process is None:  # The test failed while none was up: it said all there is to say.
            self.put_out()
            return
        try:
            if self.process.poll() is None and self._has_queue:
                self._end_jobs()
            self.stop()
            assert_nothing_is_left(self.data_path)
            assert "Traceback" not in self.log(), self.log()
        finally:
            self.put_out()

    def _end_jobs(self) -> None:
        there = self.batch.describe_job_queues(jobQueues=self._queues)["jobQueues"]
        live = [
            job["jobId"]
            for queue in [each["jobQueueName"] for each in there]
            for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
            for job in self.batch.list_jobs(jobQueue=queue, jobStatus=status)["jobSummaryList"]
        ]
        (self.ledger_path / "end").touch()
        for job_id in live:
            self.batch.terminate_job(jobId=job_id, reason="the test is over")
        self.ended(*live)

    def put_out(self) -> None:
        """Leave no process behind, whatever has failed."""
        for pid in pids_with(self.folder):
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    # -- clients ------------------------------------------------------------------------------

    @property
    def key(self) -> Mapping[str, str]:
        key: dict[str, str] = json.loads((self.data_path / "credentials.json").read_bytes())
        return key

    def client(self, service: str) -> Any:
        with self._clients_lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service,
                    region_name=REGION,
                    endpoint_url=self.endpoint,
                    aws_access_key_id=self.key["access_key_id"],
                    aws_secret_access_key=self.key["secret_access_key"],
                    config=botocore.config.Config(
                        retries={"total_max_attempts": 1}, read_timeout=20, max_pool_connections=16
                    ),
                )
            return self._clients[service]

    @property
    def batch(self) -> Any:
        return self.client("batch")

    @property
    def logs(self) -> Any:
        return self.client("logs")

    # -- queues and jobs ----------------------------------------------------------------------

    def make_queue(self, *, max_vcpus: int = 1000, policy_arn: str | None = None) -> None:
        """Create the environment, the queue and the definition that the helpers here use."""
        self.make_other_queue(QUEUE, max_vcpus=max_vcpus, policy_arn=policy_arn)
        self.register()

    def make_other_queue(
        self,
        name: str,
        *,
        kind: str = "EC2",
        max_vcpus: int = 1000,
        instance_types: Sequence[str] = ("optimal",),
        policy_arn: str | None = None,
    ) -> None:
        """Create an environment and a queue on it, of the same name."""
        resources: dict[str, Any] = {
            "type": kind,
            "maxvCpus": max_vcpus,
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
        }
        if kind == "EC2":
            resources |= {
                "minvCpus": 0,
                "instanceTypes": instance_types,
                "instanceRole": "ecsInstanceRole",
            }
        self.make_queue_on(
            name, {"type": "MANAGED", "computeResources": resources}, policy_arn=policy_arn
        )

    def make_queue_on(
        self, name: str, environment: Mapping[str, Any], *, policy_arn: str | None = None
    ) -> None:
        """Create an environment as it is described, and a queue on it, of the same name."""
        policy = {} if policy_arn is None else {"schedulingPolicyArn": policy_arn}
        self.batch.create_compute_environment(computeEnvironmentName=name, **environment)
        until(
            lambda: _is_valid(
                self.batch.describe_compute_environments(computeEnvironments=[name]),
                "computeEnvironments",
            ),
            "VALID environment",
        )
        self.batch.create_job_queue(
            jobQueueName=name,
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
            **policy,
        )
        until(
            lambda: _is_valid(self.batch.describe_job_queues(jobQueues=[name]), "jobQueues"),
            "VALID queue",
        )
        self._has_queue = True
        self._queues.append(name)

    def register(self, name: str = DEFINITION, **container: Any) -> None:
        self.batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={
                "image": "busybox",
                "command": ["true"],
                "resourceRequirements": [
                    {"type": "VCPU", "value": "1"},
                    {"type": "MEMORY", "value": "16"},
                ],
                "volumes": [{"name": "ledger", "host": {"sourcePath": str(self.ledger_path)}}],
                "mountPoints": [{"sourceVolume": "ledger", "containerPath": LEDGER}],
            }
            | container,
        )

    def submit(
        self,
        script: str = "",
        *,
        command: Sequence[str] | None = None,
        attempts: int = 1,
        after: Sequence[str] = (),
        name: str = "job",
        definition: str = DEFINITION,
        queue: str = QUEUE,
    ) -> str:
        """Submit a job that marks the ledger and runs a script; give its id."""
        answer = self.batch.submit_job(
            jobName=name,
            jobQueue=queue,
            jobDefinition=definition,
            containerOverrides={"command": command or ["sh", "-c", MARK + script]},
            retryStrategy={"attempts": attempts},
            dependsOn=[{"jobId": each} for each in after],
        )
        job_id: str = answer["jobId"]
        return job_id

    def jobs(self, *job_ids: str) -> list[dict[str, Any]]:
        """Describe jobs, in the order of their ids; each must be known."""
        found: dict[str, dict[str, Any]] = {}
        for at in range(0, len(job_ids), _IDS_PER_CALL):
            piece = list(job_ids[at : at + _IDS_PER_CALL])
            found |= {job["jobId"]: job for job in self.batch.describe_jobs(jobs=piece)["jobs"]}
        lost = [each for each in job_ids if each not in found]
        assert not lost, f"{len(lost)} of {len(job_ids)} jobs are lost: {lost[:3]}"
        return [found[each] for each in job_ids]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.jobs(job_id)[0]

    def statuses(self, *job_ids: str) -> Counter[str]:
        return Counter(job["status"] for job in self.jobs(*job_ids))

    def reach(self, status: str, *job_ids: str, timeout_s: float = _WAIT_S_MAX) -> None:
        """Wait until every job has the status."""
        until(
            lambda: set(self.statuses(*job_ids)) <= {status},
            f"{len(job_ids)} jobs {status}",
            timeout_s=timeout_s,
        )

    def ended(self, *job_ids: str, timeout_s: float = _WAIT_S_MAX) -> list[dict[str, Any]]:
        """Wait until every job is SUCCEEDED or FAILED."""
        until(
            lambda: set(self.statuses(*job_ids)) <= {"SUCCEEDED", "FAILED"},
            f"the end of {len(job_ids)} jobs",
            timeout_s=timeout_s,
        )
        return self.jobs(*job_ids)

    def all_job_ids(self) -> list[str]:
        """Every job of the queue that has ended, acknowledged or not."""
        pages = self.batch.get_paginator("list_jobs")
        return [
            job["jobId"]
            for status in ("SUCCEEDED", "FAILED")
            for page in pages.paginate(jobQueue=QUEUE, jobStatus=status)
            for job in page["jobSummaryList"]
        ]

    def lines(self, job_id: str) -> list[str]:
        """What the last attempt of a job printed, as `GetLogEvents` tells."""
        return self.lines_of(self.job(job_id)["container"]["logStreamName"])

    def lines_of(self, stream: str, group: str = "/aws/batch/job") -> list[str]:
        """What a log stream holds."""
        texts: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self.logs.get_log_events(
                logGroupName=group,
                logStreamName=stream,
                startFromHead=True,
                **token,
            )
            texts += [event["message"] for event in page["events"]]
            if page["nextForwardToken"] == token.get("nextToken"):
                return texts
            token = {"nextToken": page["nextForwardToken"]}

    # -- what happened ------------------------------------------------------------------------

    def release(self, name: str) -> None:
        """Make a file that containers wait for."""
        (self.ledger_path / name).touch()

    def runs(self) -> Counter[tuple[str, int]]:
        """How often each attempt of each job has really run."""
        return Counter((words[1], int(words[2])) for words in self.ledger() if words[0] == "start")

    def ledger(self) -> list[list[str]]:
        path = self.ledger_path / "runs"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def stored_statuses(self) -> Counter[str]:
        """What the store of a dead server holds, by status."""
        assert self.process is None
        with sqlite3.connect(self.data_path / "batchyard.db") as conn:
            found = conn.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall()
        conn.close()
        return Counter(dict(found))

    def live_count(self) -> int:
        """How many jobs of the queue have not ended."""
        return sum(
            len(self.batch.list_jobs(jobQueue=QUEUE, jobStatus=status)["jobSummaryList"])
            for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
        )

    def assert_each_ran_once(self, *job_ids: str) -> None:
        """Every attempt on record ran exactly once, and no other did."""
        expected = {
            (job["jobId"], number)
            for job in self.jobs(*job_ids)
            for number in range(1, len(job["attempts"]) + 1)
        }
        runs = self.runs()
        assert {run: count for run, count in runs.items() if count > 1} == {}
        assert expected - set(runs) == set(), "on record, but never ran"
        assert set(runs) - expected == set(), "ran, but not on record"


@contextmanager
def live_yard(
    *,
    disk_mib: int | None = None,
    environ: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[LiveYard]:
    """Start a server with the image `busybox`; at the end, see that nothing is left of it.

    `disk_mib` gives its data folder a disk of its own, of that size; `environ` adds to the
    server's environment.
    """
    require_containers()
    # Short: the path of a unix socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="by-live-") as name, ExitStack() as stack:
        yard = LiveYard(Path(name), **settings)
        yard.more_environ.update(environ or {})
        if disk_mib is not None:
            mount("tmpfs", str(yard.data_path), "tmpfs", options=f"size={disk_mib}m")
            stack.callback(unmount, str(yard.data_path))
        make_busybox_image(ImageStore(yard.data_path))
        try:
            yard.start()
            yield yard
        except BaseException:
            sys.stderr.write(f"--- the server's log ---\n{yard.log()[-6000:]}\n")
            yard.put_out()
            raise
        yard.close()


class Submitters:
    """Threads that submit as fast as they can, and remember what was acknowledged."""

    def __init__(self, yard: LiveYard, *, count: int, jobs_max: int, script: str = "") -> None:
        self.acknowledged: list[str] = []
        #: Set also if the server does not answer at all.
        self.first_answer = threading.Event()
        self._yard = yard
        self._script = script
        self._left = iter(range(jobs_max))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if next(self._left, None) is None:
                    return
            try:
                job_id = self._yard.submit(self._script)
            except (BotoCoreError, ClientError):
                return  # The server is gone: what was under way may have been taken, or not.
            finally:
                self.first_answer.set()
            with self._lock:
                self.acknowledged.append(job_id)


def pids_with(folder: Path) -> list[int]:
    """Processes that have the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def supervisor_pid(data_path: Path) -> int:
    """Find the supervisor of a data folder by its command line."""
    for pid in pids_with(data_path):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"batchyard.compute.local.supervisor" in words:
            return pid
    raise AssertionError("no supervisor runs")


def runtime_pids(data_path: Path) -> list[int]:
    """Find the processes of the container runtime: the supervisor's children."""
    pid = supervisor_pid(data_path)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in children]


def groups_of(data_path: Path) -> list[str]:
    """Control groups of a data folder, in every hierarchy."""
    name = base_name_of(str(data_path))
    roots = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith(name)]
    return sorted(roots)


def mounts_below(folder: Path) -> list[str]:
    """Mounts below a folder that any process on this machine can see."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        found |= {line.split()[4] for line in lines if line.split()[4].startswith(f"{folder}/")}
    return sorted(found)


def assert_nothing_is_left(data_path: Path) -> None:
    """No process, control group or mount of a data folder is left."""
    until(lambda: not pids_with(data_path), "the end of every process", timeout_s=10)
    assert groups_of(data_path) == []
    assert mounts_below(data_path) == []


def _is_valid(answer: Mapping[str, Any], member: str) -> bool:
    return bool(answer[member]) and answer[member][0]["status"] == "VALID"


def own_client(yard: LiveYard) -> Any:
    """What anybody gets who shows botocore our model."""
    session = botocore.session.get_session()
    session.get_component("data_loader").search_paths.append(str(OWN_MODELS))
    return boto3.Session(
        aws_access_key_id=yard.key["access_key_id"],
        aws_secret_access_key=yard.key["secret_access_key"],
        region_name=REGION,
        botocore_session=session,
    ).client("batchyard", endpoint_url=yard.endpoint)
