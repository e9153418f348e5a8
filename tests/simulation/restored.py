"""What a server that starts now would know is what the one that runs knows.

Looked at right after a commit of the engine, when what it holds and what is durable must be equal,
and while nothing is in transition: what was asked for and not settled yet is known only once it was
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from sqlalchemy import create_engine, event

from batchyard.compute.port import Host
from batchyard.core.check import check
from batchyard.core.state import State
from batchyard.engine.recovery import load_state
from tests.property.world import essence_of, essence_of_quota, essence_of_shares
from tests.simulation.compiled import share_compiled
from tests.simulation.observer import demand
from tests.simulation.server import LAUNCH_TIMES


def restored(path: Path, hosts: list[Host], now_ms: int) -> State:
    """Load everything live, as a new server would."""
    engine = create_engine(f"sqlite:///{path}")
    share_compiled(engine)
    event.listen(engine, "connect", lambda raw, _entry: raw.execute("PRAGMA query_only = ON"))
    try:
        with engine.connect() as conn:
            state, _ = load_state(conn, hosts, LAUNCH_TIMES, now_ms)
    finally:
        engine.dispose()
    return state


def compare(live: State, again: State, *, is_crowded: bool) -> None:
    """Demand that nothing is known only to the one that runs."""
    if not is_crowded:
        check(again)
    _compare("jobs", _jobs(live), _jobs(again))
    for arn in live.queues:
        mine, theirs = live.queues[arn], again.queues[arn]
        demand(list(mine.line) == list(theirs.line), f"the line of {arn} is not restored")
        demand(mine.blocked_id == theirs.blocked_id, f"the head of {arn} is not restored")
        _compare(f"shares of {arn}", essence_of_shares(mine), essence_of_shares(theirs))
        _compare(f"quota shares of {arn}", essence_of_quota(mine), essence_of_quota(theirs))
    _compare("consumables", live.consumables, again.consumables)
    _compare("instances", _instances(live), _instances(again))
    used = {arn: each.used for arn, each in live.environments.items()}
    _compare("environments", used, {arn: each.used for arn, each in again.environments.items()})
    hosts = {host_id: each.used for host_id, each in live.hosts.items()}
    found = {host_id: each.used for host_id, each in again.hosts.items()}
    _compare("hosts", {key: hosts[key] for key in found}, found)


def _jobs(state: State) -> Mapping[Any, object]:
    found = {}
    for job_id, job in state.jobs.items():
        essence = essence_of(job)
        if job.progress.array is not None:  # When it was written is known to the writer alone.
            array = replace(job.progress.array, updated_ms=0)
            essence["progress"] = replace(job.progress, array=array)
        found[job_id] = essence
    return found


def _instances(state: State) -> Mapping[Any, object]:
    return {instance_id: (each.record, each.used) for instance_id, each in state.instances.items()}


def _compare(what: str, live: Mapping[Any, object], again: Mapping[Any, object]) -> None:
    demand(sorted(map(str, live)) == sorted(map(str, again)), f"{what}: not the same are restored")
    for key, value in live.items():
        demand(value == again[key], f"{what}: {key} is {value} and restored as {again[key]}")
