"""What shares get and what is due to them, while they wait for more.

Decides the measure: at each moment, what the shares with waiting jobs use is due to these shares,
in proportion to 1 / weightFactor. A share that has all it wants is not kept from anything then, and
what it leaves to others is theirs. The weight of a prefix is shared among those of its shares that
wait, as the scheduler has it (decision 0007). Refuses to know queues: it is one for the whole yard.

Costs the same at each event, however many shares there are: what is due to a weight of one is a
clock that all groups read, and what is due to a share of a group is a clock of the group's.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class ShareGroup:
    """The shares that have one weight together: one share, or all of a prefix."""

    weight_factor: float
    #: How many of its shares wait.
    waiting_count: int = 0
    #: What is due to each share of it that waits, and the yard's clock when that was counted.
    clock: float = 0.0
    at_clock: float = 0.0


@dataclass(slots=True)
class ShareUse:
    """What one share has used."""

    identifier: str
    group: ShareGroup
    #: Its jobs that wait.
    waiting: int = 0
    cpu_milli: int = 0
    #: In thousandths of a vCPU times milliseconds, as all that follow. Of all the time.
    used: int = 0
    #: While it had jobs that waited.
    contended: int = 0
    due: float = 0.0
    #: When it was last counted, and its group's clock then.
    counted_ms: int = 0
    clock: float = 0.0


class Sharing:
    """The use of all shares. `advance` before anything changes."""

    def __init__(self, shares: Sequence[ShareUse]) -> None:
        self.shares = shares
        self._now_ms = 0
        #: What is due to a weight of one.
        self._clock = 0.0
        #: Of the groups that wait: how many, their weights, and what their waiting shares use.
        self._group_count = 0
        self._weight = 0.0
        self._cpu_milli = 0

    def advance(self, now_ms: int) -> None:
        """Let time pass in which nothing changed."""
        if self._group_count:
            self._clock += (now_ms - self._now_ms) * self._cpu_milli / self._weight
        self._now_ms = now_ms

    def change(self, share: ShareUse, *, waiting: int = 0, cpu_milli: int = 0) -> None:
        """Note that more or fewer jobs of a share wait, or that it uses more or less."""
        self.count(share)
        waited = share.waiting > 0
        self._cpu_milli -= share.cpu_milli if waited else 0
        share.waiting += waiting
        share.cpu_milli += cpu_milli
        self._cpu_milli += share.cpu_milli if share.waiting else 0
        if waited is not (share.waiting > 0):
            self._turn(share, 1 if share.waiting else -1)

    def count(self, share: ShareUse) -> None:
        """Bring the sums of a share up to now."""
        span_ms = self._now_ms - share.counted_ms
        self._count_group(share.group)
        share.used += share.cpu_milli * span_ms
        if share.waiting:
            share.contended += share.cpu_milli * span_ms
            share.due += share.group.clock - share.clock
        share.counted_ms = self._now_ms
        share.clock = share.group.clock

    def _count_group(self, group: ShareGroup) -> None:
        if group.waiting_count:
            more = (self._clock - group.at_clock) / group.weight_factor
            group.clock += more / group.waiting_count
        group.at_clock = self._clock

    def _turn(self, share: ShareUse, sign: int) -> None:
        """Let a share begin to wait, or cease to; its group has been counted."""
        group = share.group
        had_any = group.waiting_count > 0
        group.waiting_count += sign
        if had_any is (group.waiting_count > 0):
            return
        self._group_count += sign
        # Exact again whenever nobody waits: sums of fractions drift.
        weight = self._weight + sign / group.weight_factor
        self._weight = weight if self._group_count else 0.0
