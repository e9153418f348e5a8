"""What it costs to explain one of a million live jobs, wherever it stands.

The core alone, without a server: three queues on one full environment of 1,000 instances; 500,000
jobs in one without shares, 300,000 in one with 500 shares, 100 arrays of 1,000 children and 100,000
jobs that wait for others in the third. Each explanation counts with the changes that are tried.
Times are CPU time, so that others on the machine disturb little::

    python -m bench.explaining [JOBS]
"""

import gc
import sys
from time import thread_time

from batchyard.core import inputs as i
from batchyard.core.explaining import explain
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.viewing import view_of
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    PolicyArn,
    QueueArn,
    child_id,
)
from batchyard.model.instances import AllocationStrategy, InstanceType, LaunchSettings
from batchyard.model.records import ConsumableNeed, JobProgress, QueuedJob
from batchyard.model.status import EnvironmentKind, ResourceState
from batchyard.scheduler.round import plan_round

#: The goal: nobody waits for an answer.
MS_MAX = 100.0
JOBS = 1_000_000
TIMES = 5
SHARES = 500
CHILDREN = 1000
_MS = 1000
_NOW_MS = 1_000_000
_ENVIRONMENT = EnvironmentArn("environment")
_PLAIN, _FAIR, _THIRD = QueueArn("plain"), QueueArn("fair"), QueueArn("third")
#: Of its jobs each needs two licenses that there are not.
_NEEDY = QueueArn("needy")
_NEEDS = tuple(ConsumableNeed(arn=ConsumableArn(each), quantity=2) for each in "ab")
_SLOT = Amount(cpu_milli=2000, memory_mib=2048)


async def run(job_count: int = JOBS) -> bool:
    state = State()
    _make_yard(state)
    made = _Jobs(state)
    plain, fair, arrays = job_count // 2, job_count * 3 // 10, job_count // 10 // CHILDREN
    made.add(_PLAIN, plain)
    made.add(_FAIR, fair)
    made.add(_THIRD, arrays, array_size=CHILDREN)
    made.add(_THIRD, job_count // 10, depends_on=(made.ids[_PLAIN][-1],))
    made.add(_NEEDY, 12, needs=_NEEDS)
    step(state, plan_round(view_of(state, _NOW_MS)), _NOW_MS)
    gc.collect()
    gc.freeze()  # As after a restart: see `engine.recovery`.
    array_ids = [each for each in made.ids[_THIRD] if state.jobs[each].array is not None]
    waiting = list(_first(state, _PLAIN, 31))
    targets = {
        "the head of a queue": waiting[0],
        "the 31st of a queue": waiting[-1],
        "the last of a queue": made.ids[_PLAIN][-1],
        "the next of 500 shares": next(iter(_first(state, _FAIR, 1))),
        "the last of 500 shares": made.ids[_FAIR][-1],
        "an array": array_ids[-1],
        "the first child of an array": child_id(array_ids[0], 0),
        "the last child of an array": child_id(array_ids[-1], CHILDREN - 1),
        "one that lacks three things": made.ids[_NEEDY][0],
        "ten behind one that does": made.ids[_NEEDY][10],
        "one that waits for another": made.ids[_THIRD][-1],
    }
    has_met_all = True
    for name, job_id in targets.items():
        times: list[float] = []
        told = None
        for _ in range(TIMES):
            began = thread_time()
            told = explain(state, job_id, _NOW_MS)
            times.append((thread_time() - began) * _MS)
        assert told is not None, job_id
        has_met_all &= max(times) < MS_MAX
        print(
            f"  {name:30}  {min(times):>6.1f} to {max(times):>6.1f} ms  {told.status.value:8}"
            f"  {len(told.changes)}+{len(told.together)} changes  {told.summary[:60]}",
            flush=True,
        )
    return has_met_all


class _Jobs:
    """Submits jobs, and knows their ids."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._number = 0
        self.ids: dict[QueueArn, list[JobId]] = {_PLAIN: [], _FAIR: [], _THIRD: [], _NEEDY: []}

    def add(
        self,
        queue_arn: QueueArn,
        count: int,
        *,
        array_size: int | None = None,
        depends_on: tuple[JobId, ...] = (),
        needs: tuple[ConsumableNeed, ...] = (),
    ) -> None:
        for _ in range(count):
            self._number += 1
            number = self._number
            share = f"share-{number % SHARES}" if queue_arn == _FAIR else None
            job = QueuedJob(
                seq=number,
                id=JobId(f"00000000-0000-4000-8000-{number:012d}"),
                queue_arn=queue_arn,
                demand=_SLOT,
                attempts_max=1,
                timeout_ms=None,
                depends_on=depends_on,
                needs=needs,
                array_size=array_size,
                share_identifier=share,
                scheduling_priority=None if share is None else 0,
                created_ms=0,
                progress=JobProgress(),
            )
            step(self._state, i.AcceptJob(job=job, finished={}), _NOW_MS)
            self.ids[queue_arn].append(job.id)


def _first(state: State, queue_arn: QueueArn, count: int) -> list[JobId]:
    """Name the first jobs of a queue in the order in which they should start."""
    found: list[JobId] = []
    view = next(each for each in view_of(state, _NOW_MS).queues if each.arn == queue_arn)
    while len(found) < count and (job := view.waiting.peek()) is not None:
        found.append(job.job_id)
        view.waiting.take()
    return found


def _make_yard(state: State) -> None:
    """Make a machine with room for 1,000 instances, and queues on one environment."""
    kind = InstanceType(name="c.large", capacity=_SLOT + _SLOT, price_micro=1)
    room = Amount(cpu_milli=kind.capacity.cpu_milli * 1000, memory_mib=2048 * 2 * 1000)
    launching = LaunchSettings(
        strategy=AllocationStrategy.BEST_FIT_PROGRESSIVE,
        is_spot=False,
        types=(kind,),
        cpu_milli_min=0,
        boot_ms=0,
        idle_ms=10**9,
    )
    environment = i.PutEnvironment(
        arn=_ENVIRONMENT,
        kind=EnvironmentKind.EC2,
        state=ResourceState.ENABLED,
        cpu_milli_max=room.cpu_milli,
        has_instances=True,
        uuid="one",
        launching=launching,
    )
    policy = FairShare(window_ms=600_000, reservation_percent=0, weights=())
    put: list[i.Input] = [i.PutHost(host_id=HostId("host"), capacity=room + room), environment]
    put += [
        i.PutConsumable(arn=each.arn, version=1, given=1, is_replenishable=True) for each in _NEEDS
    ]
    for seq, arn in enumerate((_PLAIN, _FAIR, _THIRD, _NEEDY)):
        is_fair = arn == _FAIR
        put.append(
            i.PutQueue(
                arn=arn,
                seq=seq,
                state=ResourceState.ENABLED,
                priority=1,
                environment_arns=(_ENVIRONMENT,),
                policy_arn=PolicyArn("policy") if is_fair else None,
                policy=policy if is_fair else None,
            )
        )
    for each in put:
        step(state, each, _NOW_MS)


if __name__ == "__main__":
    import asyncio

    given = [int(each) for each in sys.argv[1:]]
    sys.exit(0 if asyncio.run(run(*given)) else 1)
