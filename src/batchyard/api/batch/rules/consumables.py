"""What jobs may need of consumable resources. Pure (reference/jobs.md section 12.7).

Decides the shape of `consumableResourceProperties` and what one attempt takes. Rules: the list of a
job, and that of each range of nodes, names a resource once; what a multi-node job takes is the sum
of its own list and of its ranges' lists, each counted once, however many nodes the range has.
Refuses to know which resources there are.
"""

from collections.abc import Iterable, Sequence

from batchyard.api.batch.rules.choices import check_count
from batchyard.api.batch.rules.names import consumable_arn_of, is_arn_in
from batchyard.model.ids import ConsumableArn, Scope
from batchyard.model.limits import CONSUMABLE_QUANTITY_MAX, CONSUMABLES_PER_JOB_MAX
from batchyard.model.records import ConsumableNeed, Json
from batchyard.model.refusal import client_exception

PROPERTIES = "consumableResourceProperties"
OVERRIDE = "consumableResourcePropertiesOverride"
_LIST = "consumableResourceList"


def listed(properties: Json | None) -> Sequence[Json]:
    """Give the items of `consumableResourceProperties`, or of what overrides them."""
    found: Sequence[Json] = (properties or {}).get(_LIST) or ()
    return found


def all_listed(of_job: Json | None, nodes: Json | None) -> list[Sequence[Json]]:
    """Give every list that a job has: its own, and those of its ranges of nodes."""
    ranges = (nodes or {}).get("nodeRangeProperties", ())
    return [listed(of_job), *(listed(item.get(PROPERTIES)) for item in ranges)]


def needs_of(scope: Scope, lists: Iterable[Sequence[Json]]) -> tuple[ConsumableNeed, ...]:
    """Say what one attempt takes in all. Refuses lists that AWS would refuse."""
    quantity_by_arn: dict[ConsumableArn, int] = {}
    for items in lists:
        check_count(items, _LIST, most=CONSUMABLES_PER_JOB_MAX)
        of_list: set[ConsumableArn] = set()
        for item in items:
            need = _need_of(scope, item)
            if need.arn in of_list:
                raise client_exception(f"{_LIST} must not repeat {need.arn}.")
            of_list.add(need.arn)
            quantity_by_arn[need.arn] = quantity_by_arn.get(need.arn, 0) + need.quantity
    return tuple(ConsumableNeed(arn=arn, quantity=each) for arn, each in quantity_by_arn.items())


def check_all_known(needs: Iterable[ConsumableNeed], known: set[ConsumableArn]) -> None:
    """Refuse resources that do not exist."""
    for need in needs:
        if need.arn not in known:
            raise client_exception(f"{need.arn} does not exist")


def _need_of(scope: Scope, item: Json) -> ConsumableNeed:
    text = item.get("consumableResource")
    if not text:
        raise client_exception("consumableResource must be provided")
    arn = consumable_arn_of(scope, text)
    if not is_arn_in(scope, arn):
        raise client_exception(f"{arn} does not exist")
    quantity = item.get("quantity")
    if quantity is None:
        raise client_exception("quantity must be provided")
    if not 1 <= quantity <= CONSUMABLE_QUANTITY_MAX:
        raise client_exception(f"quantity must be between 1 and {CONSUMABLE_QUANTITY_MAX}.")
    return ConsumableNeed(arn=arn, quantity=quantity)
