"""What shares get and what is due to them, while anybody waits.

Decides the measure: while jobs wait, what all use at a moment is due to the shares that have jobs
then (waiting or running), in proportion to 1 / weightFactor. All the rest of the time nobody is
kept from anything. Costs the same at each event, however many shares there are: what is due to a
weight of one is a clock that all shares read. Refuses to know queues: it is one for the whole yard.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class ShareUse:
    """What one share has used."""

    identifier: str
    weight_factor: float
    #: Jobs that wait or hold capacity.
    active: int = 0
    cpu_milli: int = 0
    #: In thousandths of a vCPU times milliseconds, as all that follow.
    used: int = 0
    contended: int = 0
    due: float = 0.0
    #: Up to when `used` counts; and how much of the time before was contended.
    counted_ms: int = 0
    contended_ms: int = 0
    #: The clock of what is due, when the share was last counted.
    clock: float = 0.0


class Sharing:
    """The use of all shares. `advance` before anything changes."""

    def __init__(self, shares: Sequence[ShareUse]) -> None:
        self.shares = shares
        self._now_ms = 0
        self._contended_ms = 0
        self._clock = 0.0
        self._weight = 0.0
        self._active_count = 0
        self._cpu_milli = 0

    def advance(self, now_ms: int, *, is_contended: bool) -> None:
        """Let time pass in which nothing changed."""
        span_ms = now_ms - self._now_ms
        self._now_ms = now_ms
        if is_contended:
            self._contended_ms += span_ms
            if self._active_count:
                self._clock += span_ms * self._cpu_milli / self._weight

    def change(self, share: ShareUse, *, active: int = 0, cpu_milli: int = 0) -> None:
        """Note that a share has more or fewer jobs, or uses more or less."""
        self.count(share)
        was_active = share.active > 0
        share.active += active
        share.cpu_milli += cpu_milli
        self._cpu_milli += cpu_milli
        if was_active != (share.active > 0):
            sign = 1 if share.active else -1
            self._active_count += sign
            # Exact again whenever nobody is left: sums of fractions drift.
            weight = self._weight + sign / share.weight_factor
            self._weight = weight if self._active_count else 0.0

    def count(self, share: ShareUse) -> None:
        """Bring the sums of a share up to now."""
        share.used += share.cpu_milli * (self._now_ms - share.counted_ms)
        share.contended += share.cpu_milli * (self._contended_ms - share.contended_ms)
        if share.active:
            share.due += (self._clock - share.clock) / share.weight_factor
        share.counted_ms = self._now_ms
        share.contended_ms = self._contended_ms
        share.clock = self._clock
