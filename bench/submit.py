"""Durable signed SubmitJob a second, beside a signed no-op answered by the same server.

The no-op is DescribeJobs of no job: the same transport, signature and decoding, and nothing else.
Each SubmitJob is answered after its commit (SQLite, synchronous=FULL). Rounds alternate, so that
a change of the machine's speed meets both. The jobs ask for more than the machine has: none
starts.
"""

import json
from collections.abc import Mapping
from statistics import median
from urllib.parse import urlsplit

import psutil

from bench.load import Load, measure
from bench.yard import DEFINITION, QUEUE, BenchYard, bench_yard, make_queue, register

ROUNDS = 5
SECONDS = 4.0
CONNECTIONS = 64
RATIO_GOAL = 0.5
RATE_GOAL = 5000


async def run() -> bool:
    with bench_yard() as yard:
        batch = yard.client("batch")
        make_queue(batch, max_vcpus=1000)
        register(batch, ["true"], vcpus=512)
        submit_body = {"jobName": "bench", "jobQueue": QUEUE, "jobDefinition": DEFINITION}
        nothing = _load(yard, "/v1/describejobs", {"jobs": []})
        submit = _load(yard, "/v1/submitjob", submit_body)
        server = psutil.Process(yard.server.pid)
        ratios, rates, bases = [], [], []
        for number in range(1, ROUNDS + 1):
            base, base_us = await _measure(nothing, server)
            rate, rate_us = await _measure(submit, server)
            print(
                f"  round {number}: no-op {base:7,.0f}/s ({base_us:.0f} us of CPU each)"
                f"   SubmitJob {rate:7,.0f}/s ({rate_us:.0f} us)"
            )
            ratios.append(rate / base)
            rates.append(rate)
            bases.append(base)
    ratio, rate = median(ratios), median(rates)
    print(
        f"  SubmitJob {rate:,.0f}/s = {ratio:.2f} of a no-op ({median(bases):,.0f}/s);"
        f" goals: {RATIO_GOAL} and {RATE_GOAL:,}/s"
    )
    return ratio >= RATIO_GOAL and rate >= RATE_GOAL


async def _measure(load: Load, server: psutil.Process) -> tuple[float, float]:
    """Give the answers a second, and the CPU time of the server for each, in microseconds."""
    before = server.cpu_times()
    rate = await measure(load)
    after = server.cpu_times()
    used_s = after.user - before.user + after.system - before.system
    return rate, used_s / (rate * load.seconds) * 1e6


def _load(yard: BenchYard, path: str, body: Mapping[str, object]) -> Load:
    endpoint = urlsplit(yard.server.endpoint)
    assert endpoint.hostname is not None
    assert endpoint.port is not None
    return Load(
        host=endpoint.hostname,
        port=endpoint.port,
        path=path,
        body=json.dumps(body),
        access_key_id=yard.access_key_id,
        secret_access_key=yard.secret_access_key,
        seconds=SECONDS,
        connections=CONNECTIONS,
    )
