"""What a scheduling policy says about shares, in numbers that the core can count with.

Decides how a `fairsharePolicy` is read (reference/compute-and-scheduling.md sections 3.2, 3.3): its
defaults, its window, weights in ten-thousandths. Refuses to know usage and order: see
`scheduler.fair_share`.
"""

from msgspec import Struct

from batchyard.model.limits import SHARE_DECAY_SECONDS_MIN
from batchyard.model.records import Json

#: A `weightFactor` of 1.0: weights have four decimals.
WEIGHT_ONE = 10_000

_PREFIX_MARK = "*"


class ShareWeight(Struct, frozen=True, kw_only=True):
    """One item of `shareDistribution`."""

    #: The identifier, or what the identifiers have in common at their beginning.
    text: str
    is_prefix: bool
    #: In ten-thousandths; less is more.
    weight_e4: int


class FairShare(Struct, frozen=True, kw_only=True):
    """A fair-share policy. Without any values: all shares are equal, and nothing is reserved."""

    #: In this time what was used comes to count half.
    window_ms: int = SHARE_DECAY_SECONDS_MIN * 1000
    #: 0..99.
    reservation_percent: int = 0
    #: At most one of them fits an identifier.
    weights: tuple[ShareWeight, ...] = ()

    def weight_of(self, identifier: str) -> ShareWeight | None:
        """Find the item that fits an identifier; None: it has the weight 1."""
        for each in self.weights:
            if identifier.startswith(each.text) and (each.is_prefix or identifier == each.text):
                return each
        return None


def fair_share_of(detail: Json) -> FairShare:
    """Read a policy as it is stored: with the members that CreateSchedulingPolicy was given."""
    policy: Json = detail.get("fairsharePolicy") or {}
    decay_seconds: int = policy.get("shareDecaySeconds") or 0
    return FairShare(
        window_ms=max(SHARE_DECAY_SECONDS_MIN, decay_seconds) * 1000,
        reservation_percent=policy.get("computeReservation") or 0,
        weights=tuple(map(_weight_of, policy.get("shareDistribution") or ())),
    )


def _weight_of(item: Json) -> ShareWeight:
    identifier: str = item["shareIdentifier"]
    factor: float = item.get("weightFactor", 1.0)
    return ShareWeight(
        text=identifier.removesuffix(_PREFIX_MARK),
        is_prefix=identifier.endswith(_PREFIX_MARK),
        weight_e4=round(factor * WEIGHT_ONE),
    )
