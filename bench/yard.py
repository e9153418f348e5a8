"""A real server for an experiment: its own process, its own data folder, removed afterwards."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.config

from batchyard.cli.background import start_server, stop_server
from batchyard.cli.server_file import RunningServer
from batchyard.cli.settings import Settings
from batchyard.compute.local.images.busybox import make_busybox_image
from batchyard.compute.local.images.image_store import ImageStore

REGION = "us-east-1"
QUEUE = "bench"
DEFINITION = "bench"


@dataclass(frozen=True)
class BenchYard:
    """A running server with the image `busybox`."""

    server: RunningServer
    data_path: Path
    access_key_id: str
    secret_access_key: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.server.endpoint,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=botocore.config.Config(
                max_pool_connections=32, retries={"total_max_attempts": 1}
            ),
        )


@contextmanager
def bench_yard(**settings: Any) -> Iterator[BenchYard]:
    """Start a server, and stop it at the end. Settings are those of `batchyard up`."""
    with tempfile.TemporaryDirectory(prefix="by-bench-") as folder:
        data_path = Path(folder)
        make_busybox_image(ImageStore(data_path))
        overcommit: dict[str, Any] = {"cpu_overcommit": 1000.0, "memory_overcommit": 1000.0}
        more = overcommit if "machine_vcpus" in settings else {}
        server = start_server(
            Settings(data_dir=folder, port=0, log_level="warning", **more, **settings)
        )
        try:
            key = json.loads((data_path / "credentials.json").read_text())
            yield BenchYard(server, data_path, key["access_key_id"], key["secret_access_key"])
        finally:
            stop_server(data_path)


def make_queue(batch: Any, *, max_vcpus: int, kind: str = "EC2") -> None:
    """Create an environment and a queue, and wait until both are VALID."""
    resources: dict[str, Any] = {
        "type": kind,
        "maxvCpus": max_vcpus,
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
    }
    if kind == "EC2":
        resources |= {
            "minvCpus": 0,
            "instanceTypes": ["optimal"],
            "instanceRole": "ecsInstanceRole",
        }
    batch.create_compute_environment(
        computeEnvironmentName=QUEUE, type="MANAGED", computeResources=resources
    )
    _wait_valid(
        lambda: batch.describe_compute_environments(computeEnvironments=[QUEUE])[
            "computeEnvironments"
        ]
    )
    batch.create_job_queue(
        jobQueueName=QUEUE,
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": QUEUE}],
    )
    _wait_valid(lambda: batch.describe_job_queues(jobQueues=[QUEUE])["jobQueues"])


def register(batch: Any, command: list[str], *, vcpus: int = 1, memory_mib: int = 64) -> None:
    batch.register_job_definition(
        jobDefinitionName=DEFINITION,
        type="container",
        containerProperties={
            "image": "busybox",
            "command": command,
            "resourceRequirements": [
                {"type": "VCPU", "value": str(vcpus)},
                {"type": "MEMORY", "value": str(memory_mib)},
            ],
        },
    )


def _wait_valid(describe: Any) -> None:
    while not (found := describe()) or found[0]["status"] != "VALID":
        time.sleep(0.01)
