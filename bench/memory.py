"""Memory of an idle server and its supervisor.

Proportional set size (PSS): what they alone use and their share of what is shared, read a moment
after the first requests of each service.
"""

import psutil

from bench.yard import bench_yard, make_queue

GOAL_MIB = 120


async def run() -> bool:
    with bench_yard() as yard:
        batch = yard.client("batch")
        make_queue(batch, max_vcpus=1)
        batch.describe_jobs(jobs=[])
        yard.client("logs").describe_log_groups()
        yard.client("sts").get_caller_identity()
        server = psutil.Process(yard.server.pid)
        folder = str(yard.data_path)
        supervisors = [
            each
            for each in psutil.process_iter(["cmdline"])
            if "batchyard.compute.local.supervisor" in (each.info["cmdline"] or [])
            and any(folder in part for part in each.info["cmdline"])
        ]
        server_mib = server.memory_full_info().pss / 2**20
        supervisor_mib = sum(each.memory_full_info().pss for each in supervisors) / 2**20
    total = server_mib + supervisor_mib
    print(f"  server {server_mib:.0f} MiB + supervisor {supervisor_mib:.0f} MiB = {total:.0f} MiB;")
    print(f"  {total / GOAL_MIB:.2f} of the limit of {GOAL_MIB} MiB")
    return total < GOAL_MIB and bool(supervisors)
