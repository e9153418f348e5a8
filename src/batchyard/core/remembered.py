"""What rounds found out and may use again, because what it follows from is still the same.

Owns the rule by which each of these answers holds. Refuses to be part of the state: it says nothing
that the state does not say, nobody stores it, and a round that begins without it decides the same.

- The types that an environment may launch, and their order, follow from its `launching` and from
  what the machines have in all. Both are compared each time: types and settings by being the same
  object, for nobody changes one; machines one by one, in their order.
"""

from dataclasses import dataclass, field

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn
from batchyard.model.instances import LaunchSettings
from batchyard.scheduler.allocation import TypeOrder, types_on


@dataclass(slots=True)
class Remembered:
    """What is remembered beside one state."""

    #: What each machine has in all, in the order of the machines.
    _machines: list[Amount] = field(default_factory=list)
    #: By environment: what the order was made of, and it.
    _orders: dict[EnvironmentArn, tuple[LaunchSettings, list[Amount], TypeOrder]] = field(
        default_factory=dict
    )

    def machines_like(self, machines: list[Amount]) -> list[Amount]:
        """Give what each machine has in all: the same list for as long as it is an equal one."""
        if machines != self._machines:
            self._machines = machines
        return self._machines

    def order_of(
        self, arn: EnvironmentArn, settings: LaunchSettings, machines: list[Amount]
    ) -> TypeOrder:
        """Give the types that machines of these capacities can stand for, in their order."""
        known = self._orders.get(arn)
        if known is not None and known[0] is settings and known[1] is machines:
            return known[2]
        order = TypeOrder(settings.strategy, types_on(settings.types, machines))
        self._orders[arn] = (settings, machines, order)
        return order

    def forget(self, arn: EnvironmentArn) -> None:
        """Let go of what was found of an environment that is no more."""
        self._orders.pop(arn, None)
