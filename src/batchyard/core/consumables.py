"""Consumable resources: how much there is, and what attempts hold of it.

Decides by reference/compute-and-scheduling.md section 4 and AWS's pages on resource-aware
scheduling. Refuses to know jobs: it is told what each attempt needs.

Rules that hold here: what an attempt needs it takes whole or not at all, as it enters STARTING;
REPLENISHABLE is given back at the attempt's end, NON_REPLENISHABLE never; a resource that is gone
has nothing available, and one of the same name that comes back is the same: attempts that hold
some of it hold it still.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from batchyard.core.events import ConsumableSettled
from batchyard.model.ids import ConsumableArn
from batchyard.model.records import ConsumableNeed


@dataclass(slots=True, kw_only=True)
class Consumable:
    """One resource."""

    arn: ConsumableArn
    #: The caller's version of it that was last seen.
    version: int = 0
    #: False: it was deleted, and stays known only while `held` is not 0.
    is_there: bool = False
    is_replenishable: bool = True
    #: All that callers have put in, less what they took out.
    given: int = 0
    #: What attempts took for ever, while it was there and NON_REPLENISHABLE.
    used_up: int = 0
    #: Sum of what live attempts need of it, of either kind.
    held: int = 0

    @property
    def available(self) -> int:
        """What an attempt may take now; never below 0, also where callers took out too much."""
        if not self.is_there:
            return 0
        in_use = self.held if self.is_replenishable else 0
        return max(0, self.given - self.used_up - in_use)


Consumables = dict[ConsumableArn, Consumable]


def available_of(consumables: Mapping[ConsumableArn, Consumable], arn: ConsumableArn) -> int:
    """Tell what may be taken of a resource, which need not be there."""
    found = consumables.get(arn)
    return 0 if found is None else found.available


def have_all(
    consumables: Mapping[ConsumableArn, Consumable], needs: Iterable[ConsumableNeed]
) -> bool:
    """Tell whether everything that an attempt needs is available."""
    return all(available_of(consumables, need.arn) >= need.quantity for need in needs)


def hold(consumables: Consumables, needs: Iterable[ConsumableNeed]) -> None:
    """Count what a live attempt needs as held."""
    for need in needs:
        _known(consumables, need.arn).held += need.quantity


def use_up(consumables: Consumables, needs: Iterable[ConsumableNeed]) -> None:
    """Take away for ever what an attempt that begins takes of NON_REPLENISHABLE resources."""
    for need in needs:
        found = consumables[need.arn]
        if not found.is_replenishable:
            found.used_up += need.quantity


def release(consumables: Consumables, needs: Iterable[ConsumableNeed]) -> None:
    """Count what an attempt held as held no more; forget what is neither there nor held."""
    for need in needs:
        found = consumables[need.arn]
        found.held -= need.quantity
        _forget_if_gone(consumables, found)


def settle(consumables: Consumables, event: ConsumableSettled) -> None:
    """Let a resource be there with these values."""
    found = _known(consumables, event.arn)
    if not found.is_there:
        found.used_up = event.used_up
    found.is_there = True
    found.version = event.version
    found.is_replenishable = event.is_replenishable
    found.given = event.given


def delete(consumables: Consumables, arn: ConsumableArn) -> None:
    """Let a resource be gone; what is held of it stays held."""
    found = consumables.get(arn)
    if found is None:
        return
    consumables[arn] = Consumable(arn=arn, held=found.held)
    _forget_if_gone(consumables, consumables[arn])


def _known(consumables: Consumables, arn: ConsumableArn) -> Consumable:
    found = consumables.get(arn)
    if found is None:
        found = consumables[arn] = Consumable(arn=arn)
    return found


def _forget_if_gone(consumables: Consumables, found: Consumable) -> None:
    if not found.is_there and not found.held:
        del consumables[found.arn]
