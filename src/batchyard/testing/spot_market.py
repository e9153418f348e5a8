"""Spot capacity that a test may let end: at a price that no environment pays.

So a job that waits for it shows what it shows on AWS where Spot is dearer than `bidPercentage`.
"""

from dataclasses import dataclass

from batchyard.engine.catalogue import Fact, SpotMarket

#: Above the price on demand, which is the most that `bidPercentage` can allow.
_TOO_DEAR = 10
_PRICE_MICRO = 10**12


@dataclass(slots=True, kw_only=True)
class Supply:
    """Whether there is Spot capacity."""

    has_ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingMarket(SpotMarket):
    """A market whose supply may end."""

    supply: Supply

    def price_micro_of(self, fact: Fact) -> int | None:
        if self.supply.has_ended:
            return (fact.price_micro or _PRICE_MICRO) * _TOO_DEAR
        # Not `super()`: slots make the class anew, and the empty form knows the old one.
        return SpotMarket.price_micro_of(self, fact)
