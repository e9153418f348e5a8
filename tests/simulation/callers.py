"""Those who call the API: what they asked, what they were told, and whether it was kept.

A caller who was not answered, because the server died or had trouble, does not know; what is needed
is asked again until it is answered. Whatever was answered must be true for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from batchyard.core.events import AttemptPlaced, Event, JobSucceeded
from batchyard.model.ids import JobId, is_part_id, whole_id_of
from batchyard.model.refusal import Refusal
from batchyard.store import StoreTrouble
from tests.simulation.observer import demand
from tests.simulation.schedule import Item
from tests.simulation.server import SCOPE

if TYPE_CHECKING:
    from tests.simulation.run import Run

_AGAIN_S = 0.7
#: What was refused is asked again more and more seldom.
_AGAIN_S_MAX = 10.0
_NO_RESERVATION = {"computeReservation": 0}
_TRIES_MAX = 60
#: A server may be down, or have trouble with its store, for so long.
_GRACE_S = 150.0
_GRACE_S_MIN = 3.0
_DELAYING = ("crash", "commit_trouble", "read_trouble", "slow_commit")
#: What says that something is as it was asked already, or never may be.
_DONE = ("already exists", "has ended", "cannot be connected")
#: What says that something is gone; what is to be made may wait for it, as it is made, too.
_GONE = ("does not exist", "not found", "There is no")


@dataclass(slots=True)
class _Asked:
    item: Item
    tries: int = 0
    request: Mapping[str, Any] = field(default_factory=dict)
    #: What it was asked of was there by then: children are once nothing holds up their array.
    is_there: bool = True
    task: asyncio.Task[Any] | None = None


class Callers:
    """Everybody outside."""

    def __init__(self, world: Run) -> None:
        self._world = world
        self._open: dict[int, _Asked] = {}
        self._count = 0
        #: Jobs that were acknowledged: their ids by the names of their items.
        self.ids: dict[str, JobId] = {}
        is_delayed = any(world.faults.may(each) for each in _DELAYING)
        self._grace_s = _GRACE_S if is_delayed else _GRACE_S_MIN
        #: When the end of a job was asked for and acknowledged.
        self._ended_s: dict[JobId, float] = {}
        #: The same of jobs that were to be cancelled, and had not begun then.
        self._cancelled_s: dict[JobId, float] = {}

    def ask(self, item: Item) -> None:
        """Ask for something, as soon as there is a server."""
        self._count += 1
        self._open[self._count] = _Asked(item)
        self._try(self._count)

    def note_crash(self) -> None:
        """The connections broke: nobody who waited knows what came of it."""
        for number, asked in list(self._open.items()):
            if asked.task is not None:
                asked.task = None
                self._lose_answer(number)

    def unanswered(self) -> list[str]:
        return [f"{each.item.operation} is not answered" for each in self._open.values()]

    def reclaim(self) -> None:
        """Take an instance back, if there is one."""
        faults, live = self._world.faults, self._world.records.live_instances()
        if live and faults.happens("reclaimed_instance", 0.8):
            dice = faults.dice("reclaimed_instance")
            request = {
                "instanceId": dice.choice(live),
                "noticeSeconds": dice.choice((0, 5, 120)),
                "force": True,
            }
            self.ask(Item(at_ms=0, operation="InterruptInstance", request=request))

    def give_room(self) -> None:
        """Ask for as much of everything as anybody may need."""
        records = self._world.records
        for name in records.names("environments"):
            more: dict[str, Any] = {} if name == "unmanaged" else {"maxvCpus": 64}
            resources = {"computeResources": more} if more else {}
            self._need(
                "UpdateComputeEnvironment", computeEnvironment=name, state="ENABLED", **resources
            )
            if name == "unmanaged":
                self._need(
                    "RegisterInstances", computeEnvironment=name, vcpus=2, memoryMib=4096, count=1
                )
        for name in records.names("service_environments"):
            limits = [{"capacityUnit": "NUM_INSTANCES", "maxCapacity": 8}]
            self._need("UpdateServiceEnvironment", serviceEnvironment=name, capacityLimits=limits)
        for item in self._world.schedule.items:
            if item.operation == "CreateSchedulingPolicy" and "fairsharePolicy" in item.request:
                arn = SCOPE.policy_arn(item.request["name"])
                self._need("UpdateSchedulingPolicy", arn=arn, fairsharePolicy=_NO_RESERVATION)
        for name in records.names("queues"):
            self._need("UpdateJobQueue", jobQueue=name, state="ENABLED")
        for share_arn in records.quota_shares():
            limits = [{"maxCapacity": 64, "capacityUnit": "VCPU"}]
            self._need("UpdateQuotaShare", quotaShareArn=share_arn, capacityLimits=limits)
        for name in records.names("consumables"):
            self._need(
                "UpdateConsumableResource",
                consumableResource=name,
                operation="ADD",
                quantity=1000,
            )

    def check_kept(self) -> None:
        """Whatever was acknowledged is there."""
        found = {name: job_id for job_id, name, _ in self._world.records.jobs()}
        for name, job_id in self.ids.items():
            demand(found.get(name) == job_id, f"{name} was acknowledged as {job_id} and is lost")

    def see(self, event: Event) -> None:
        """What was asked for is done, as soon as is known."""
        self._see_cancelled(event)
        self._see_ended(event)

    def _see_cancelled(self, event: Event) -> None:
        """A job that was cancelled before it began never begins."""
        if isinstance(event, AttemptPlaced):
            late_s = self._world.now_s - self._grace_s
            for each in (event.job_id, whole_id_of(event.job_id)):
                at_s = self._cancelled_s.get(each)
                is_late = at_s is not None and at_s < late_s
                demand(not is_late, f"{event.job_id} begins though it was cancelled")
            # It had begun when the engine read the wish, and may be tried again.
            self._cancelled_s.pop(event.job_id, None)

    def _see_ended(self, event: Event) -> None:
        """A job whose end was asked for begins no more and never succeeds."""
        if isinstance(event, AttemptPlaced | JobSucceeded):
            asked = [self._ended_s.get(each) for each in (event.job_id, whole_id_of(event.job_id))]
            late_s = self._world.now_s - self._grace_s
            is_late = any(at_s is not None and at_s < late_s for at_s in asked)
            accepted = self._world.observer.accepted[whole_id_of(event.job_id)]
            # How the main node ends is how its job does, though others may live on for a while.
            is_decided = accepted.nodes is not None and isinstance(event, JobSucceeded)
            demand(
                is_decided or not is_late, f"{event.job_id} goes on though its end was asked for"
            )

    def _need(self, operation: str, /, **request: Any) -> None:
        self.ask(Item(at_ms=0, operation=operation, request=request, is_needed=True))

    def _try(self, number: int) -> None:
        asked, server = self._open.get(number), self._world.server
        if asked is None:
            return
        if server is None or not server.is_ready or self._waits(asked.item.request):
            self._world.after(_AGAIN_S, partial(self._try, number))
            return
        request = self._resolved(asked.item.request)
        if request is None:
            self._world.note("not asked", asked.item.operation)
            del self._open[number]
            return
        if asked.item.job:
            self._world.observer.requests[asked.item.job] = request
        asked.tries += 1
        asked.request = request
        job_id = JobId(request.get("jobId", ""))
        spawned = self._world.observer.spawned
        asked.is_there = not is_part_id(job_id) or whole_id_of(job_id) in spawned
        asked.task = server.call(asked.item.operation, request)
        asked.task.add_done_callback(partial(self._answered, number))

    def _waits(self, value: Any) -> bool:
        """Tell whether a job is meant that was asked for and is not answered yet."""
        if isinstance(value, str) and value.startswith("@"):
            name = value[1:].partition(":")[0]
            return any(each.item.job == name for each in self._open.values())
        if isinstance(value, dict):
            return any(self._waits(each) for each in value.values())
        return isinstance(value, list) and any(self._waits(each) for each in value)

    def _resolved(self, value: Any) -> Any:
        """Put ids in the place of names. None: a job is meant that was never acknowledged.

        Of a list, only what means such a job is left out.
        """
        if isinstance(value, str) and value.startswith("@"):
            name, _, index = value[1:].partition(":")
            job_id = self.ids.get(name)
            return job_id if job_id is None or not index else f"{job_id}:{index}"
        if isinstance(value, dict):
            given = {key: self._resolved(each) for key, each in value.items()}
            return None if None in given.values() else given
        if isinstance(value, list):
            items = [self._resolved(each) for each in value]
            return [each for each in items if each is not None]
        return value

    def _answered(self, number: int, task: asyncio.Task[Any]) -> None:
        asked = self._open.get(number)
        if asked is None or asked.task is not task or task.cancelled():
            return
        asked.task = None
        item, error = asked.item, task.exception()
        if error is None:
            self._world.note("answered", item.operation, item.job)
            if asked.is_there:
                self._note_wish(item.operation, asked.request)
            if item.job:
                self._take_id(item.job, JobId(task.result()["jobId"]))
            del self._open[number]
        elif isinstance(error, Refusal):
            self._world.note("refused", item.operation, error.message)
            if item.is_needed and not _is_useless(item, error.message) and asked.tries < _TRIES_MAX:
                again_s = min(_AGAIN_S * 2 ** (asked.tries - 1), _AGAIN_S_MAX)
                self._world.after(again_s, partial(self._try, number))
            else:
                del self._open[number]
        else:
            demand(isinstance(error, StoreTrouble), f"{item.operation} raised {error!r}")
            self._world.note("no answer", item.operation, error)
            self._lose_answer(number)

    def _note_wish(self, operation: str, request: Mapping[str, Any]) -> None:
        now_s = self._world.now_s
        if operation in ("TerminateJob", "TerminateServiceJob"):
            self._ended_s.setdefault(JobId(request["jobId"]), now_s)
        elif operation == "CancelJob":
            job_id = JobId(request["jobId"])
            if not self._world.observer.has_attempt(job_id):
                self._cancelled_s.setdefault(job_id, now_s)

    def _lose_answer(self, number: int) -> None:
        if self._open[number].item.is_needed:
            self._world.after(_AGAIN_S, partial(self._try, number))
        else:
            del self._open[number]

    def _take_id(self, name: str, job_id: JobId) -> None:
        demand(name not in self.ids, f"{name} is acknowledged twice")
        self.ids[name] = job_id
        is_there = any(each == job_id for each, _, _ in self._world.records.jobs())
        demand(is_there, f"{name} is acknowledged as {job_id} before it is durable")


def _is_useless(item: Item, refusal: str) -> bool:
    """Tell whether it is of no use to ask again."""
    makes = item.operation.startswith(("Create", "Register"))
    return any(each in refusal for each in (_DONE if makes else _DONE + _GONE))
