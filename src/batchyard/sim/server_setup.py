"""How a server of ours is set up now, as a configuration to compare others with.

Decides what of it a simulation can have: environments, queues, quota shares, the instances that are
registered, and the machine that was offered at the last recorded start. What it cannot have is
counted and said. Changes nothing in the store.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.recording import UNREADABLE, VERSION, Contents, decode_beginning
from batchyard.engine.wishes import (
    put_environment_of,
    put_queue_of,
    put_quota_share_of,
    put_service_environment_of,
)
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, name_in_arn
from batchyard.model.status import EnvironmentKind
from batchyard.sim.config import Config, FargatePrices
from batchyard.sim.registered import refusal_of_registrations
from batchyard.sim.trace import BadTrace, Trace
from batchyard.store import Connection, environments, queues
from batchyard.store.instances import read_live_instances
from batchyard.store.quota_shares import read_all_quota_shares
from batchyard.store.recordings import read_span, read_spans
from batchyard.store.service_environments import read_all_service_environments

#: A machine that bounds nothing.
_UNBOUNDED = Amount(cpu_milli=10**12, memory_mib=10**12, gpu_count=10**9)
#: AWS's list prices for Linux on x86 in us-east-1, in millionths of a USD an hour.
_FARGATE = FargatePrices(vcpu_micro=40_480, gb_micro=4_445, spot_percent=35)

_REGISTERED = "instances that are registered now are there from the beginning: {}"
_NO_ROOM = "registered instances that the machine has no room for were left out: {}"
_MOVED = "jobs of queues that are not there any more go to {}: {}"


def server_config(conn: Connection, times: LaunchTimes, trace: Trace) -> Config:
    """Read how the server is set up now. Raises `BadTrace` if it has no queue.

    Its machine is what it offered at its last recorded start; nothing bounds it if none was.
    """
    puts = (
        *(
            # Of an environment whose instances begin anew none was launched before.
            replace(put_environment_of(each, times), launch_count=0)
            for each in environments.read_all_environments(conn)
        ),
        *map(put_service_environment_of, read_all_service_environments(conn)),
    )
    known = {each.arn for each in puts}
    lines = tuple(
        put
        for put in (put_queue_of(conn, each) for each in queues.read_all_queues(conn))
        if known.intersection(put.environment_arns)
    )
    if not lines:
        raise BadTrace("the store has no queue that a simulation could use")
    arns = {each.arn for each in lines}
    hosts = _hosts_of(conn)
    registrations = _registrations_of(conn, puts, hosts)
    unfit = refusal_of_registrations((*hosts, *puts), registrations)
    kept = tuple(each for each in registrations if each.wish_seq not in unfit)
    return Config(
        name="the server",
        hosts=hosts,
        environments=puts,
        queues=lines,
        quota_shares=tuple(
            put_quota_share_of(each)
            for each in read_all_quota_shares(conn)
            if each.queue_arn in arns
        ),
        registrations=kept,
        queue_by_name={name_in_arn(each.arn): each.arn for each in lines},
        default_queue=lines[0].arn,
        fargate_prices=_FARGATE,
        notes=(
            *_counted(_REGISTERED, len(kept)),
            *_counted(_NO_ROOM, len(unfit)),
            *_counted(_MOVED, _moved_count(trace, lines), name_in_arn(lines[0].arn)),
        ),
    )


def _hosts_of(conn: Connection) -> tuple[i.PutHost, ...]:
    for span in reversed(read_spans(conn)):
        first = next(read_span(conn, span))
        if first.version != VERSION:
            continue
        try:
            return decode_beginning(Contents().take(first.body)).hosts
        except UNREADABLE:  # Damaged; an older one says nearly the same.
            continue
    return (i.PutHost(host_id=HostId("machine"), capacity=_UNBOUNDED),)


def _registrations_of(
    conn: Connection, puts: Iterable[i.PutEnvironment], hosts: Iterable[i.PutHost]
) -> tuple[i.RegisterInstances, ...]:
    """Register again what is there now, on its machine if that is one of those."""
    unmanaged = {each.arn for each in puts if each.kind is EnvironmentKind.UNMANAGED}
    host_ids = {each.host_id for each in hosts}
    return tuple(
        i.RegisterInstances(
            wish_seq=number,
            environment_arn=each.environment_arn,
            instance_type=each.instance_type,
            capacity=each.capacity,
            count=1,
            host_id=each.host_id if each.host_id in host_ids else None,
        )
        for number, each in enumerate(read_live_instances(conn), start=1)
        if each.environment_arn in unmanaged
    )


def _moved_count(trace: Trace, lines: Iterable[i.PutQueue]) -> int:
    names = {name_in_arn(each.arn) for each in lines}
    return sum(job.queue not in names for job in trace.jobs)


def _counted(note: str, count: int, *about: str) -> Iterable[str]:
    return (note.format(*about, count),) if count else ()
