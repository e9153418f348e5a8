"""What a round may still give away of consumable resources.

Decides whether all that an attempt needs is there, together with what the round has given away
already (reference/compute-and-scheduling.md section 4). Refuses to know hosts and order.
"""

from collections.abc import Callable, Iterable

from batchyard.model.ids import ConsumableArn
from batchyard.model.records import ConsumableNeed


class Stock:
    """A round's account. `available_of` tells what there was when the round began."""

    def __init__(self, available_of: Callable[[ConsumableArn], int]) -> None:
        self._available_of = available_of
        self._taken: dict[ConsumableArn, int] = {}

    def has(self, needs: Iterable[ConsumableNeed]) -> bool:
        """Tell whether everything needed can be had."""
        for need in needs:
            if self._taken.get(need.arn, 0) + need.quantity > self._available_of(need.arn):
                return False
        return True

    def copy(self) -> "Stock":
        """Give an account of its own to somebody who looks ahead."""
        copied = Stock(self._available_of)
        copied._taken.update(self._taken)
        return copied

    def take(self, needs: Iterable[ConsumableNeed]) -> None:
        """Reserve what `has` said can be had."""
        for need in needs:
            self._taken[need.arn] = self._taken.get(need.arn, 0) + need.quantity
