"""Where the jobs of a queue could ever be, and what would keep them out: found once, and kept.

Owns what is the same for all jobs that ask for the same. Refuses to know what runs: what is found
here follows from the environments of a queue and from what machines have in all, and holds for as
long as those stay what they are.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn
from batchyard.scheduler.obstacles import can_ever_hold, find_lasting_obstacle
from batchyard.scheduler.plan import Obstacle
from batchyard.scheduler.view import EnvironmentView, HostView, WaitingJob, is_plain

_Found = TypeVar("_Found")


class ByDemand(Generic[_Found]):
    """What is found of jobs, and is the same for all that ask for the same in one place."""

    def __init__(self) -> None:
        self._found: dict[Amount, _Found] = {}

    def of(self, job: WaitingJob, find: Callable[[WaitingJob], _Found]) -> _Found:
        """Give what was found already, or find it."""
        if not is_plain(job):
            return find(job)
        if job.demand not in self._found:
            self._found[job.demand] = find(job)
        return self._found[job.demand]

    def clear(self) -> None:
        """Let everything be found anew from now on."""
        self._found.clear()


class LastingOutlook:
    """What holds of the jobs of a queue whatever runs: see `view.Outlook`."""

    def __init__(self, environments: Sequence[EnvironmentView], hosts: Sequence[HostView]) -> None:
        self._environments, self._hosts = environments, hosts
        self._possible = ByDemand[Sequence[EnvironmentArn]]()
        self._lasting = ByDemand[Obstacle | None]()

    def possible(self, job: WaitingJob) -> Sequence[EnvironmentArn]:
        """See `view.Outlook`."""
        return self._possible.of(job, self._find_possible)

    def lasting(self, job: WaitingJob) -> Obstacle | None:
        """See `view.Outlook`."""
        return self._lasting.of(job, self._find_lasting)

    def _find_possible(self, job: WaitingJob) -> Sequence[EnvironmentArn]:
        return tuple(
            each.arn
            for each in self._environments
            if each.is_valid and each.is_enabled and can_ever_hold(each, job, self._hosts)
        )

    def _find_lasting(self, job: WaitingJob) -> Obstacle | None:
        return find_lasting_obstacle(job, self._environments, self._hosts)
