"""Run experiments: `python -m bench [NAME …]`; all of them without a name."""

import asyncio
import importlib
import sys

#: In the order in which they run. Each module has `async def run() -> bool`: the goal was met.
EXPERIMENTS = {
    "submit": "durable signed SubmitJob a second, beside a signed no-op of the same server",
    "containers": "containers of `true` a second, beside a bare loop over the same runtime",
    "latency": "from SubmitJob's answer to the first line of the container's process",
    "memory": "memory of an idle server and its supervisor",
    "arrays": "an array of 10,000 beside a single job: time to submit, memory, bytes stored",
    "scheduling": "what a decision costs, and a job that waits, by the length of the queue",
    "engine": "jobs a second through the live engine, with a backend whose tasks end at once",
    "loading": "how long a server takes to be in charge again with a full queue",
    "inventory": "what a recording begins with in the middle: CPU and bytes for each live job",
    "rounds": "what a round costs by what lies around: environments, hosts, types, rooms, shares",
    "explaining": "what it costs to explain one of a million jobs, wherever it stands",
    "simulate": "a week of 20,000 jobs under the simulator, beside the core alone",
    "graphs": "what an edge of a graph of a million dependencies costs in the core",
    "forecast": "how often the intervals of forecasts hold, walked forward over made-up traces",
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        print(f"no such experiment: {', '.join(unknown)}")
        for name, what in EXPERIMENTS.items():
            print(f"  {name:12} {what}")
        return 2
    has_met_all = True
    for name in names or EXPERIMENTS:
        print(f"\n{name}: {EXPERIMENTS[name]}", flush=True)
        module = importlib.import_module(f"bench.{name}")
        has_met_all &= asyncio.run(module.run())
    return 0 if has_met_all else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
