"""Following the output of jobs, as `aws logs tail --follow` does: each line once, and soon."""

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from tests.e2e.lab import Lab, now_ms, open_lab, register
from tests.e2e.live_yard import until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

#: How long `aws logs tail --follow` rests between two looks, and what a busy machine adds.
POLL_S = 5
SOON_S = POLL_S + 3


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with open_lab() as lab:
        yield lab


class Followed:
    """Lines of a stream as somebody who follows saw them: when, and how often."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []
        self.is_over = threading.Event()

    def see(self, text: str) -> None:
        self.seen.append((time.time(), text))


def follow_with_command(lab: Lab, followed: Followed, command: str) -> None:
    """Follow with version 2 of the AWS CLI, which takes the endpoint as an argument only."""
    words = ("logs", "tail", "/aws/batch/job", "--follow", "--format", "detailed")
    with subprocess.Popen(
        [command, "--endpoint-url", lab.yard.endpoint, *words],
        env=lab.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        stopper = threading.Thread(target=_kill_when_over, args=(process, followed))
        stopper.start()
        for line in process.stdout:
            followed.see(line.rstrip("\n"))
        stopper.join()


def _kill_when_over(process: subprocess.Popen[str], followed: Followed) -> None:
    followed.is_over.wait()
    process.kill()


def follow_with_algorithm(lab: Lab, followed: Followed) -> None:
    """Follow as version 2 of the AWS CLI does: by event id, from the newest time it has seen."""
    start_ms = now_ms() - 600_000
    seen_by_time: dict[int, set[str]] = {}
    token: dict[str, str] = {}
    while not followed.is_over.is_set():
        page = lab.yard.logs.filter_log_events(
            logGroupName="/aws/batch/job", interleaved=True, startTime=start_ms, **token
        )
        for event in page["events"]:
            seen = seen_by_time.setdefault(event["timestamp"], set())
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                followed.see(f"{event['logStreamName']} {event['message']}")
        token = {"nextToken": page["nextToken"]} if "nextToken" in page else {}
        if not token:
            followed.is_over.wait(POLL_S)
            start_ms = max(seen_by_time, default=start_ms)
            seen_by_time = {
                at_ms: seen_by_time[at_ms] for at_ms in seen_by_time if at_ms >= start_ms
            }


@cache
def command_of_version_2() -> str | None:
    """Find an `aws` of version 2: on PATH, or where distributions put it."""
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for folder in dict.fromkeys(folders):
        command = shutil.which("aws", path=folder)
        if command is None:
            continue
        said = subprocess.run([command, "--version"], capture_output=True, text=True)
        if said.stdout.startswith("aws-cli/2."):
            return command
    return None


@pytest.mark.parametrize("how", ["algorithm", "command"])
def test_following_shows_each_line_once_and_soon(lab: Lab, how: str):
    """The algorithm of the command is always tried; the command itself where it is installed."""
    command = command_of_version_2()
    if how == "command" and command is None:
        pytest.skip("no aws command of version 2; its algorithm is tested all the same")
    # The group is there, as for everybody who has run a job before.
    register(lab, "first", "echo first")
    lab.reach(lab.submit("first", "first"), "SUCCEEDED")
    followed = Followed()
    work = (
        threading.Thread(target=follow_with_algorithm, args=(lab, followed))
        if how == "algorithm"
        else threading.Thread(target=follow_with_command, args=(lab, followed, command))
    )
    work.start()
    try:
        register(lab, f"ticks-{how}", "for i in $(seq 1 8); do echo tick $i; sleep 1; done")
        ids = [lab.submit("ticks", f"ticks-{how}") for _ in range(2)]
        for job_id in ids:
            lab.reach(job_id, "SUCCEEDED")
        streams = [lab.yard.job(job_id)["container"]["logStreamName"] for job_id in ids]
        until(
            lambda: all(
                any(f"{stream} tick 8" in text for _, text in list(followed.seen))
                for stream in streams
            ),
            "the last line is seen",
            timeout_s=SOON_S,
        )
    finally:
        followed.is_over.set()
        work.join()
    assert_each_line_was_seen_once(lab, followed, streams)


def assert_each_line_was_seen_once(lab: Lab, followed: Followed, streams: list[str]) -> None:
    printed = {
        f"{stream} {event['message']}": event["timestamp"]
        for stream in streams
        for event in lab.yard.logs.get_log_events(
            logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True
        )["events"]
    }
    assert len(printed) == 16
    shown = [
        (at_s, text[text.index(stream) :])
        for at_s, text in followed.seen
        for stream in streams
        if stream in text
    ]
    assert Counter(text for _, text in shown) == Counter(list(printed))
    for stream in streams:
        numbers = [text.rpartition(" ")[2] for _, text in shown if text.startswith(stream)]
        assert numbers == [str(number) for number in range(1, 9)]
    waits_s = [at_s - printed[text] / 1000 for at_s, text in shown]
    assert max(waits_s) < SOON_S, waits_s
