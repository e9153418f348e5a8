"""Real clients read what jobs wrote: boto3 and the AWS CLI, over HTTP."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from batchyard.access.keys import KeyRing, root_key
from batchyard.api.logs import handlers
from batchyard.compute.port import LogTarget, OutputLine
from batchyard.logs import LogStore
from batchyard.model.ids import TaskId
from batchyard.store import Store
from batchyard.wire.server import Server
from tests.logs.yard import JOBS, SCOPE

KEY = root_key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SCOPE.account)
TARGET = LogTarget(
    account=SCOPE.account, region=SCOPE.region, group=JOBS, stream="train/default/0123"
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class LogServer:
    """The operations of `logs`, served; blocking clients run in threads beside it."""

    def __init__(self, server: Server, logs: LogStore) -> None:
        self.server = server
        self.logs = logs
        self._count = 0
        self._client: Any = boto3.client(
            "logs",
            region_name=SCOPE.region,
            endpoint_url=server.url,
            aws_access_key_id=KEY.id,
            aws_secret_access_key=KEY.secret,
        )

    async def ask(self, method: str, **request: Any) -> Any:
        return await asyncio.to_thread(partial(getattr(self._client, method), **request))

    async def collect(self, paginator: str, member: str, **request: Any) -> list[Any]:
        pages = self._client.get_paginator(paginator).paginate(**request)
        return await asyncio.to_thread(lambda: [each for page in pages for each in page[member]])

    async def write(self, *lines: str) -> None:
        self._count += len(lines)
        await self.logs.append(
            TaskId("0123"),
            TARGET,
            position=self._count,
            lines=[OutputLine(at_ms=now_ms(), text=text) for text in lines],
        )


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[LogServer]:
    store = Store.open(f"sqlite:///{tmp_path}/batchyard.db")
    logs = LogStore(store, clock_ms=now_ms)
    server = Server(handlers=handlers(logs), keys=KeyRing([KEY]), host="127.0.0.1", port=0)
    await server.start()
    yield LogServer(server, logs)
    await server.stop()
    await store.close()


async def test_boto3_reads_a_stream_to_its_end(served: LogServer) -> None:
    """The loop that Airflow, Nextflow and others run: until the token stays the same."""
    lines = [f"line {number}" for number in range(25)]
    await served.write(*lines)
    seen: list[str] = []
    asked: dict[str, Any] = {}
    while True:
        page = await served.ask(
            "get_log_events",
            logGroupName=JOBS,
            logStreamName=TARGET.stream,
            startFromHead=True,
            limit=10,
            **asked,
        )
        seen += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == asked.get("nextToken"):
            break
        asked["nextToken"] = page["nextForwardToken"]
    assert seen == lines


async def test_boto3_paginates_searches_and_lists(served: LogServer) -> None:
    await served.write(*(f"line {number}" for number in range(30)))
    found = await served.collect(
        "filter_log_events",
        "events",
        logGroupName=JOBS,
        filterPattern='"line 2"',
        PaginationConfig={"PageSize": 4},
    )
    assert [event["message"] for event in found] == ["line 2", *(f"line 2{n}" for n in range(10))]
    streams = await served.collect("describe_log_streams", "logStreams", logGroupName=JOBS)
    assert [stream["logStreamName"] for stream in streams] == [TARGET.stream]
    groups = await served.collect("describe_log_groups", "logGroups", logGroupNamePrefix="/aws")
    assert groups[0]["arn"] == f"arn:aws:logs:eu-west-1:{SCOPE.account}:log-group:{JOBS}:*"


async def test_boto3_sees_the_errors_of_the_model(served: LogServer) -> None:
    exceptions = served._client.exceptions
    with pytest.raises(exceptions.ResourceNotFoundException, match="log group does not exist"):
        await served.ask("get_log_events", logGroupName=JOBS, logStreamName="x")
    await served.ask("create_log_group", logGroupName="mine")
    with pytest.raises(exceptions.ResourceAlreadyExistsException):
        await served.ask("create_log_group", logGroupName="mine")
    with pytest.raises(exceptions.InvalidParameterException, match="retentionInDays"):
        await served.ask("put_retention_policy", logGroupName="mine", retentionInDays=2)


async def test_boto3_writes_events(served: LogServer) -> None:
    await served.ask("create_log_group", logGroupName="mine")
    await served.ask("create_log_stream", logGroupName="mine", logStreamName="s")
    answer = await served.ask(
        "put_log_events",
        logGroupName="mine",
        logStreamName="s",
        logEvents=[
            {"timestamp": now_ms(), "message": "now"},
            {"timestamp": now_ms() + 10**8, "message": "too new"},
        ],
    )
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    page = await served.ask("get_log_events", logGroupIdentifier="mine", logStreamName="s")
    assert [event["message"] for event in page["events"]] == ["now"]


@pytest.mark.slow
async def test_the_aws_cli_searches(served: LogServer) -> None:
    await served.write("first", "second")
    asked = ("--log-group-name", JOBS, "--query", "events[].message", "--output", "text")
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "awscli", "logs", "filter-log-events", *asked),
        stdout=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": KEY.id,
            "AWS_SECRET_ACCESS_KEY": KEY.secret,
            "AWS_DEFAULT_REGION": SCOPE.region,
            "AWS_ENDPOINT_URL": served.server.url,
        },
    )
    shown, _ = await command.communicate()
    assert (command.returncode, shown.split()) == (0, [b"first", b"second"])
